"""`exastorm bench control`: messages and time of the control plane, tree beside one coordinator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome
from exastorm.performance.control import ControlBenchSettings, bench_control

_HEAD = (
    f"{'':30} {'packets a step, in/out':^33}  {'messages a step, in/out':^33}  "
    f"{'busy, ms a step':^15} {'agreement':>9}",
    f"{'ranks':>6} {'radix':>6} {'depth':>5} {'order':<10} {'root':>16} {'most':>16}  "
    f"{'root':>16} {'most':>16}  {'root':>7} {'most':>7} {'ms':>9}",
)


@dataclass(frozen=True, kw_only=True)
class BenchControl(Command):
    """Packets, messages and time with which ranks agree on a step's order, tree beside flat.

    Real processes on this machine first, then simulated ranks, for which a packet takes as long as
    it took the processes. By default that takes two cores about two minutes.
    """

    example: ClassVar[str] = "exastorm bench control --control.num-processes 16"

    control: ControlBenchSettings = ControlBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_control(self.control)
        parts = [f"{figures['num_buckets']} buckets over {figures['step_ms']:g} ms"]
        if figures["processes"]:
            parts += ["", "real processes", *_table(figures["processes"])]
        if figures["simulated"]:
            costs = f"{figures['handling_us']:.3g} us a packet, {figures['latency_us']:g} us away"
            parts += ["", f"simulated: {costs}", *_table(figures["simulated"])]
        return Outcome("", figures, "\n".join(parts))


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [*_HEAD, *map(_line, rows)]


def _line(row: dict[str, Any]) -> str:
    both = [f"{place}_{kind}" for kind in ("packets", "messages") for place in ("root", "max")]
    cells = [f"{_number(row[f'{n}_received'])}/{_number(row[f'{n}_sent'])}" for n in both]
    return (
        f"{row['num_ranks']:>6} {row['radix'] or 'flat':>6} {row['depth']:>5} {row['order']:<10} "
        f"{cells[0]:>16} {cells[1]:>16}  {cells[2]:>16} {cells[3]:>16}  "
        f"{row['root_busy_ms']:>7.3g} {row['max_busy_ms']:>7.3g} {row['agreement_ms']:>9.3g}"
    )


def _number(count: float) -> str:
    """A mean count, whole where it is."""
    return f"{count:.1f}".removesuffix(".0")
