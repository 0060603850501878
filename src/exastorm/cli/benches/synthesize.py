"""`exastorm bench synthesize`: how fast the made-up climate is made."""

from dataclasses import dataclass
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.performance.synthesis import SynthesizeBenchSettings, bench_synthesize


@dataclass(frozen=True, kw_only=True)
class BenchSynthesize(Command):
    """Rate at which one core makes the made-up climate, beside copying the same bytes."""

    example: ClassVar[str] = "exastorm bench synthesize --climate.num-snapshots 48"

    climate: SynthesizeBenchSettings = SynthesizeBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_synthesize(self.climate)
        rate = figures["snapshots_per_s_per_core"]
        return Outcome(f"{rate:.1f} snapshots/s on one core", figures, figures_text(figures))
