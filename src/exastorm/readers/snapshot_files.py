"""Archives that keep one snapshot a file, as SC18, DeepCAM and ClimateNet do.

Their names hold what the files lack: `data-YYYY-MM-DD-TT-R[-ANOMALY].h5`, where TT counts the
three-hourly outputs of a CAM day (0 is 00 UTC, 7 is 21 UTC) and R is the run of the ensemble;
ClimateNet adds `_N`, the number of the annotation. CAM's calendar has no leap days.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.sources import BadFiles

STEP_HOURS = 3
"""Time between the outputs that TT counts, hours (CAM `h2` files of the SC18 runs: 8 a day)."""

NAME_PATTERN = re.compile(
    r"data-(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)-(?P<step>\d\d?)-(?P<run>[^-_.]+)"
    r"(?:_(?P<annotation>\d+))?(?:-ANOMALY)?\.\w+"
)
"""File names of the data sets (published label maker; ClimateNet archive)."""

Layout = TypeVar("Layout")


@dataclass(frozen=True, kw_only=True)
class SnapshotName:
    """What a file name says.

    Attributes:
        time: Date and time, calendar noleap.
        run: Run of the ensemble.
        annotation: Number of the annotation, ClimateNet only.
    """

    time: cftime.DatetimeNoLeap
    run: str
    annotation: int | None = None


def base_name(path: str) -> str:
    """Last part of a path or address."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def parse_snapshot_name(path: str) -> SnapshotName:
    """Date, run and annotation of a file.

    Raises:
        InputError: If the name is not of the pattern, or its date is none of the noleap calendar.
    """
    match = NAME_PATTERN.fullmatch(base_name(path))
    if match is None:
        raise InputError("the name must be data-YYYY-MM-DD-TT-R, which dates the file", file=path)
    year, month, day, step = (int(match[k]) for k in ("year", "month", "day", "step"))
    if step * STEP_HOURS >= 24:
        raise InputError(
            f"the name's time index must be 0 to 7 (three-hourly), got {step}", file=path
        )
    try:
        time = cftime.DatetimeNoLeap(year, month, day, step * STEP_HOURS)
    except ValueError:
        date = f"{year:04d}-{month:02d}-{day:02d}"
        raise InputError(
            f"the name's date {date} is not in the noleap calendar", file=path
        ) from None
    annotation = None if match["annotation"] is None else int(match["annotation"])
    return SnapshotName(time=time, run=match["run"], annotation=annotation)


def snapshot_stem(time: Any, run: str) -> str:
    """File name without ending for one time: `data-YYYY-MM-DD-TT-R`.

    Args:
        time: A cftime time of any calendar.
        run: Run of the ensemble.

    Raises:
        InputError: If the time is not three-hourly or not in the noleap calendar.
    """
    odd_minutes = time.minute or time.second or time.microsecond
    if time.hour % STEP_HOURS or odd_minutes:
        raise InputError("the name of the file can only hold three-hourly times", time=time)
    try:
        cftime.DatetimeNoLeap(time.year, time.month, time.day)
    except ValueError:
        raise InputError("the name of the file can only hold noleap dates", time=time) from None
    step = time.hour // STEP_HOURS
    return f"data-{time.year:04d}-{time.month:02d}-{time.day:02d}-{step:02d}-{run}"


@dataclass(frozen=True, kw_only=True)
class SnapshotFile(Generic[Layout]):
    """One file that was looked at.

    Attributes:
        path: Path or address.
        time: Its time.
        run: Run of the ensemble.
        layout: What the format needs to read it.
    """

    path: str
    time: Any
    run: str
    layout: Layout


def look_at_files(
    paths: Sequence[str], look: Callable[[str], SnapshotFile[Layout] | None], bad: BadFiles
) -> list[SnapshotFile[Layout]]:
    """Look at every file's header.

    Args:
        paths: Files.
        look: Returns None for a file to leave out silently; raises InputError for a bad one.
        bad: Takes the bad ones.

    Raises:
        InputError: If no file is left, or for a bad file that is not to be skipped.
    """
    found = []
    for path in track(paths, "Looking at files"):
        try:
            file = look(path)
        except InputError as error:
            bad.handle(error)
            continue
        if file is not None:
            found.append(file)
    if not found:
        hint = f"; the first: {bad.problems[0]}" if bad.problems else ""
        raise InputError(f"none of {len(paths)} file(s) can be read{hint}", file=paths[0])
    return found


def choose_run(
    files: Iterable[SnapshotFile[Layout]], run: str | None
) -> list[SnapshotFile[Layout]]:
    """The files of one run, sorted by time.

    Raises:
        InputError: If the archive holds several runs and none is named, or not the named one.
    """
    by_run = defaultdict(list)
    for file in files:
        by_run[file.run].append(file)
    runs = ", ".join(sorted(by_run))
    if run is None and len(by_run) > 1:
        paths = [by_run[r][0].path for r in sorted(by_run)]
        raise InputError(
            f"the archive holds the runs {runs}, whose times repeat; choose one with the option"
            f" run (as run={min(by_run)!r})",
            file=paths[0],
        )
    if run is not None and run not in by_run:
        raise InputError(f"run must be one of {runs}, got {run!r}")
    chosen = by_run[run] if run is not None else next(iter(by_run.values()))
    return sorted(chosen, key=lambda f: f.time)


def refuse_repeats(
    files: Sequence[SnapshotFile[Layout]], bad: BadFiles
) -> list[SnapshotFile[Layout]]:
    """Files sorted by time without those that repeat the time of the one before."""
    kept: list[SnapshotFile[Layout]] = []
    for file in files:
        if kept and file.time == kept[-1].time:
            problem = f"is given twice, also by {kept[-1].path}"
            bad.handle(InputError(problem, file=file.path, time=file.time))
        else:
            kept.append(file)
    return kept


def keep_sound(
    files: Sequence[SnapshotFile[Layout]],
    check: Callable[[SnapshotFile[Layout]], None],
    bad: BadFiles,
) -> list[SnapshotFile[Layout]]:
    """Files whose values are sound, where bad files are to be left out; else all, unread.

    Args:
        files: Files with good headers.
        check: Reads one file and raises InputError for values that can't be.
        bad: Takes the bad ones.

    Raises:
        InputError: If no file is left.
    """
    if not bad.skip:
        return list(files)
    kept = []
    for file in track(files, "Checking files"):
        try:
            check(file)
        except InputError as error:
            bad.handle(error)
        else:
            kept.append(file)
    if not kept:
        raise InputError(f"no file is sound; the first: {bad.problems[0]}")
    return kept


def refuse_blank(values: NDArray[Any], variable: str, file: SnapshotFile[Any]) -> None:
    """Refuse a map without any number, at no cost for others.

    Raises:
        InputError: As said.
    """
    if not np.isfinite(values.flat[0]) and not np.isfinite(values).any():
        raise InputError(
            "holds no number at all", file=file.path, variable=variable, time=file.time
        )


def with_bad_files(dataset: xr.Dataset, bad: BadFiles) -> xr.Dataset:
    """The dataset with its attribute `bad_files`, where there are any."""
    if bad.problems:
        dataset.attrs["bad_files"] = "\n".join(bad.problems)
    return dataset


def source_of(paths: Sequence[str]) -> str:
    """Short text for `attrs["source"]`: the path, or the folder and how many files."""
    if len(paths) == 1:
        return paths[0]
    return f"{Path(paths[0]).parent} ({len(paths)} files)"
