"""`exastorm bench exchange`: sums over ranks on emulated nodes, against the wire."""

from dataclasses import dataclass
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome
from exastorm.performance.exchange import ExchangeBenchSettings, bench_exchange


@dataclass(frozen=True, kw_only=True)
class BenchExchange(Command):
    """Time and bytes of each way to sum gradients over ranks, beside the least the wire allows.

    Nodes are network namespaces of this machine on links of a stated rate or delay, which needs
    root and iproute2; with --exchange.no-emulate ranks run on this machine as it is.
    """

    example: ClassVar[str] = "exastorm bench exchange --exchange.rate-mbit 400"

    exchange: ExchangeBenchSettings = ExchangeBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_exchange(self.exchange)
        best = min(figures["sums"], key=lambda row: (-row["size_mb"], row["time_ms"]))
        line = f"fastest for {best['size_mb']:g} MB: {best['kind']}, {best['time_ms']:.4g} ms"
        if best["share_of_wire"] is not None:
            line += f", {100 * best['share_of_wire']:.1f} % of the wire"
        return Outcome(line, figures, exchange_text(figures))


def ranks_text(figures: dict[str, Any]) -> str:
    """Who took part, in a line."""
    order = figures["placement"].replace("_", " ")
    return (
        f"{figures['num_ranks']} ranks ({figures['device']}) on {figures['num_nodes']} nodes,"
        f" {order}; links: {figures['links']}"
    )


def exchange_text(figures: dict[str, Any]) -> str:
    """The figures as a table; a dash for what can't be told."""
    head = f"{'kind':<14}{'MB':>8}{'ms':>10}{'sent MB':>10}{'x least':>9}{'% of wire':>11}"
    lines = [ranks_text(figures), f"{head}{'x flat':>8}{'wrong':>7}"]
    for row in figures["sums"]:
        share = row["share_of_wire"]
        cells = (
            (row["time_ms"], 10, ".4g"),
            (row["sent_mb"], 10, ".4g"),
            (row["sent_over_least"], 9, ".3f"),
            (None if share is None else 100 * share, 11, ".1f"),
            (row["times_flat"], 8, ".2f"),
        )
        shown = "".join(f"{'-' if v is None else format(v, how):>{n}}" for v, n, how in cells)
        lines.append(f"{row['kind']:<14}{row['size_mb']:>8g}{shown}{row['num_wrong']:>7}")
    return "\n".join(lines)
