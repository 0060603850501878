"""`exastorm bench shards`: random reads of whole samples from several on-disk forms."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.performance.shard_formats import ShardBenchSettings, bench_shards


@dataclass(frozen=True, kw_only=True)
class BenchShards(Command):
    """Rate of random reads of whole samples from several on-disk forms, beside raw reads."""

    example: ClassVar[str] = "exastorm bench shards --folder /scratch --shards.num-samples 24"

    folder: str = tempfile.gettempdir()
    """Where the files go meanwhile; about 60 MB a sample at the default size."""

    shards: ShardBenchSettings = ShardBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_shards(Path(self.folder), self.shards)
        forms = figures["forms"]
        best = max(forms, key=lambda name: forms[name]["samples_per_s"])
        line = f"fastest: {best}, {forms[best]['samples_per_s']:.1f} samples/s with one thread"
        return Outcome(line, figures, figures_text(figures))
