"""`exastorm bench overhead`: the training loop against a plain one."""

from dataclasses import dataclass
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.performance.overhead import OverheadSettings, bench_overhead


@dataclass(frozen=True, kw_only=True)
class BenchOverhead(Command):
    """A step of exastorm train at one process, beside a plain PyTorch loop of the same network."""

    example: ClassVar[str] = "exastorm bench overhead --overhead.height 192 --overhead.width 288"

    overhead: OverheadSettings = OverheadSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_overhead(self.overhead)
        rows = figures["loops"].items()
        told = ", ".join(f"{100 * row['overhead']:+.1f} % {name}" for name, row in rows)
        line = f"a plain step takes {figures['plain_ms']:.1f} ms; over it: {told}"
        return Outcome(line, figures, figures_text(figures))
