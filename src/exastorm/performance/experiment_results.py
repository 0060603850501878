"""The table of results that all experiments in a folder share: one row a trained and scored arm.

A row is on the disk before the next training begins. It is known again by the hash of its settings.
"""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from exastorm.config import from_dict
from exastorm.errors import InputError

RESULTS_NAME = "results.csv"

DONE, DIVERGED = "done", "diverged"


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One arm of one experiment with one seed.

    Attributes:
        experiment: Name of the experiment.
        arm: Name of the arm.
        seed: Of the weights, the order of samples, and the rolls.
        grid: Latitudes x longitudes.
        network: Name of the network.
        variant: modern or paper.
        parameters: Number of weights.
        batch: Samples of a step.
        steps: Steps trained.
        samples_seen: Steps times batch.
        minutes: Time trained with validation, minutes.
        samples_per_s: Median speed of training alone.
        mean_iou: On the test split, pooled over all pixels.
        iou_tc: The same of tropical cyclones.
        iou_ar: The same of atmospheric rivers.
        mean_iou_per_image: By MLPerf DeepCAM's rule.
        validation_mean_iou: Best on the validation split.
        num_bad_steps: Steps that were skipped, as they were not finite.
        status: done, or diverged.
        version: Of exastorm.
        settings: Hash of all settings on which the result hangs.
        run: The run folder, from the folder of the results.
    """

    experiment: str
    arm: str
    seed: int
    grid: str
    network: str
    variant: str
    parameters: int | None
    batch: int
    steps: int | None
    samples_seen: int | None
    minutes: float | None
    samples_per_s: float | None
    mean_iou: float | None
    iou_tc: float | None
    iou_ar: float | None
    mean_iou_per_image: float | None
    validation_mean_iou: float | None
    num_bad_steps: int | None
    status: str
    version: str
    settings: str
    run: str


COLUMNS = tuple(f.name for f in fields(ResultRow))
OPTIONAL = tuple(f.name for f in fields(ResultRow) if "None" in str(f.type))


def read_results(out: Path) -> list[ResultRow]:
    """All rows of a folder, in the order in which they were made; none if there is no table.

    Raises:
        InputError: If the table has other columns, or a value that is none.
    """
    path = out / RESULTS_NAME
    if not path.is_file():
        return []
    # Each row was written in one piece; a torn last one is none.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    reader = csv.DictReader(io.StringIO(whole))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"columns must be {', '.join(COLUMNS)}; remove the file", file=path)
    rows = []
    for values in reader:
        given = {k: None if v == "" and k in OPTIONAL else v for k, v in values.items()}
        rows.append(from_dict(ResultRow, given, path))
    return rows


def append_results(out: Path, rows: list[ResultRow]) -> None:
    """Add rows to the table of a folder, on the disk when this returns."""
    path = out / RESULTS_NAME
    known = path.read_text(encoding="utf-8") if path.is_file() else ""
    box = io.StringIO()
    writer = csv.DictWriter(box, COLUMNS, lineterminator="\n")
    if "\n" not in known:
        writer.writeheader()
    for row in rows:
        writer.writerow({k: _text(v) for k, v in asdict(row).items()})
    whole = known[: known.rfind("\n") + 1]
    if whole != known:
        path.write_text(whole, encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(box.getvalue())


def _text(value: object) -> object:
    """A value as the table has it: floats to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else value
