"""`exastorm bench input`: samples per second, beside raw reads and the DeepCAM reference."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.performance.input import InputBenchSettings, bench_input


@dataclass(frozen=True, kw_only=True)
class BenchInput(Command):
    """Rate of samples from files to scaled tensors, beside raw reads of the same bytes."""

    example: ClassVar[str] = "exastorm bench input --input.device-rate 30"

    folder: str = tempfile.gettempdir()
    """Where the files go meanwhile; about 150 MB a sample at the default size."""

    input: InputBenchSettings = InputBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_input(Path(self.folder), self.input)
        shards = figures["sides"]["shards float32"]
        line = (
            f"{shards['samples_per_s']:.1f} samples/s from shards in float32,"
            f" {100 * shards['share_of_dd']:.0f} % of raw reads"
        )
        if "over_reference" in shards:
            line += f", {shards['over_reference']:.1f} times the DeepCAM reference at its best"
        return Outcome(line, figures, figures_text(figures))
