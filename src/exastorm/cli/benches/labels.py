"""`exastorm bench labels`: seconds per snapshot of every rule set and of complete labels."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome
from exastorm.performance.label_speed import LabelSpeedSettings, bench_labels


@dataclass(frozen=True, kw_only=True)
class BenchLabels(Command):
    """Seconds per snapshot of every rule set and of complete labels, beside reading the bytes."""

    example: ClassVar[str] = "exastorm bench labels --labels.num-snapshots 4 --labels.rivers sc18"

    folder: str = tempfile.gettempdir()
    """Where the files go meanwhile; about 65 MB a snapshot at the default size."""

    archive: str | None = None
    """Label a few snapshots of your own instead of a made-up climate: a file, folder or glob."""

    tempest: str | None = None
    """Folder with TempestExtremes' programs DetectNodes and DetectBlobs, to run on the same files
    (the set-up of DetectBlobs takes minutes at the default size)."""

    labels: LabelSpeedSettings = LabelSpeedSettings()

    def run(self) -> Outcome:
        """Measure."""
        tempest = None if self.tempest is None else Path(self.tempest)
        figures = bench_labels(self.labels, Path(self.folder), self.archive, tempest)
        complete = figures["complete sc18"]
        line = (
            f"complete sc18 labels: {1e3 * complete['cpu_s']:.0f} ms of CPU time a snapshot,"
            f" {complete['times_reading_bytes']:.1f} times reading the bytes alone"
        )
        return Outcome(line, figures, speed_text(figures))


def speed_text(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    rows = {n: row for n, row in figures.items() if isinstance(row, dict) and "cpu_s" in row}
    grid = " x ".join(str(n) for n in figures["grid"])
    lines = [
        f"{figures['num_snapshots']} snapshots of {grid}, {figures['mb_per_snapshot']:.0f} MB each",
        f"{'':<24}{'CPU ms':>9}{'wall ms':>9}{'x bytes':>9}{'set-up ms':>11}",
    ]
    for name, row in rows.items():
        setup = f"{1e3 * row['setup_cpu_s']:11.0f}" if "setup_cpu_s" in row else ""
        lines.append(
            f"{name:<24}{1e3 * row['cpu_s']:9.1f}{1e3 * row['wall_s']:9.1f}"
            f"{row['times_reading_bytes']:9.1f}{setup}"
        )
    for name, row in figures.get("tempest", {}).items():
        lines.append(
            f"{row['program']} as {name}: {1e3 * row['cpu_s']:.0f} ms of CPU time a step after"
            f" {row['setup_cpu_s']:.2f} s of set-up, {row['times_ours']:.1f} times ours,"
            f" {row['times_ours_with_reading']:.1f} times with reading"
        )
    lines += [f"{name} left out: {why}" for name, why in figures["left_out"].items()]
    return "\n".join(lines)
