"""`exastorm bench overlap`: how much of the exchange of gradients a training step hides."""

from dataclasses import dataclass
from typing import Any, ClassVar

from exastorm.cli.benches.exchange import ranks_text
from exastorm.cli.command import Command, Outcome
from exastorm.performance.overlap import OverlapBenchSettings, bench_overlap


@dataclass(frozen=True, kw_only=True)
class BenchOverlap(Command):
    """Time of a step without an exchange of gradients, with one at lag 0, and with one at lag 1.

    Nodes are network namespaces of this machine on links of a stated rate or delay, which needs
    root and iproute2; with --overlap.no-emulate ranks run on this machine as it is.
    """

    example: ClassVar[str] = "exastorm bench overlap --overlap.rate-mbit 400"

    overlap: OverlapBenchSettings = OverlapBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_overlap(self.overlap)
        hidden = figures["hidden_lag1"]
        line = "one rank: nothing to exchange"
        if hidden is not None:
            line = f"lag 1 hides {100 * hidden:.1f} % of the exchange"
            line += f", lag 0 {100 * figures['hidden_lag0']:.1f} %"
        return Outcome(line, figures, overlap_text(figures))


def overlap_text(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    work = figures["work"]
    if work == "sleep":
        work = f"sleeps {figures['sleep_s']:g} s"
    lines = [
        ranks_text(figures),
        f"{figures['exchange_mb']:.1f} MB of gradients; a step: {work}; wrong sums:"
        f" {figures['num_wrong']}",
        f"{'':<28}{'ms':>9}{'hidden':>10}{'of sleep' if 'sleep_s' in figures else '':>10}".rstrip(),
    ]
    for name, words in (
        ("exchange", "exchange alone"),
        ("step_alone", "step without exchange"),
        ("step_lag0", "step, lag 0"),
        ("step_lag1", "step, lag 1"),
    ):
        lag = name.removeprefix("step_")
        shares = (figures.get(f"hidden_{lag}"), figures.get(f"hidden_{lag}_of_sleep"))
        shown = "".join("" if s is None else f"{100 * s:8.1f} %" for s in shares)
        lines.append(f"{words:<28}{1e3 * figures[f'{name}_s']:9.0f}{shown}")
    return "\n".join(lines)
