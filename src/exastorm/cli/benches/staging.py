"""`exastorm bench staging`: files brought to emulated nodes, against what the links allow."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome
from exastorm.performance.staging import StagingBenchSettings, bench_staging


@dataclass(frozen=True, kw_only=True)
class BenchStaging(Command):
    """Time and bytes of staging, beside the bounds of the links, and beside copying naively.

    Nodes and the shared store are network namespaces of this machine on links of stated rates,
    which needs root and iproute2.
    """

    example: ClassVar[str] = "exastorm bench staging --staging.store-mbit 300"

    folder: str = tempfile.gettempdir()
    """Where files lie meanwhile, those of all nodes too: 1.5 GB at the default size."""

    staging: StagingBenchSettings = StagingBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_staging(Path(self.folder), self.staging)
        staged = figures["staged"]
        line = (
            f"staged in {staged['seconds']:.1f} s, {staged['time_over_bound']:.2f} x the bound; the"
            f" shared store was read {staged['read_over_dataset']:.2f} times,"
            f" naively {figures['naive']['read_over_dataset']:.2f} times"
        )
        return Outcome(line, figures, staging_text(figures))


def staging_text(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        f"{figures['num_nodes']} nodes at {figures['node_mbit']:g} Mbit/s, shared store at"
        f" {figures['store_mbit']:g} Mbit/s; {figures['dataset_mb']:.0f} MB, of which nodes need"
        f" {figures['needed_mb']:.0f} MB in all ({figures['mode']})",
        f"read bound {figures['read_bound_s']:.2f} s, network bound"
        f" {figures['network_bound_s']:.2f} s; nodes sent one another"
        f" {figures['sent_between_nodes_mb']:.0f} MB, {figures['num_stolen']} files stolen,"
        f" {figures['num_again']} transfers made again",
        f"{'':<8}{'s':>8}{'read':>8}{'bound s':>9}{'x bound':>9}",
    ]
    for name in ("staged", "naive"):
        row = figures[name]
        lines.append(
            f"{name:<8}{row['seconds']:>8.2f}{row['read_over_dataset']:>7.2f}x"
            f"{row['bound_s']:>9.2f}{row['time_over_bound']:>9.2f}"
        )
    return "\n".join(lines)
