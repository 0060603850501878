"""Opens the files of an archive, holds them to one grid and groups those that hold the same."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cftime
import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.checks import ADVICE
from exastorm.readers.coordinates import file_times, find_grid
from exastorm.readers.fields import Source
from exastorm.readers.groups import Group
from exastorm.readers.opening import open_lazily
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import check_times

MAX_LINE = 300
"""Most characters of a line on a bad file."""

MIN_CAUSE = 60
"""Characters of the cause that are kept, however long the path is."""

FOLDERS = re.compile(r"(?<!\S)\S*/(?=\S)")
"""The folders of a path within a text."""

Opener = Callable[[str], list[xr.Dataset]]

SAME_CALENDAR = {"gregorian": "standard", "proleptic_gregorian": "standard"}
"""Names of calendars that agree on every date after 1582."""

SHOW_PROGRESS_FROM = 50
"""Number of files from which opening them takes long enough for a bar."""


def open_one(path: str) -> list[xr.Dataset]:
    """A netCDF or Zarr path as the single dataset it holds."""
    return [open_lazily(path)]


@dataclass(frozen=True)
class BadFiles:
    """Files that were left out, if the user wants that; else the first of them stops the reading.

    Attributes:
        skip: Leave them out.
        problems: One line each.
    """

    skip: bool
    problems: list[str] = field(default_factory=list)

    def handle(self, error: InputError) -> None:
        """Note a bad file.

        Raises:
            InputError: The one given, unless bad files are to be left out.
        """
        if not self.skip:
            raise error
        self.problems.append(bad_line(error))


def bad_line(error: InputError) -> str:
    """A bad file in one line of at most 300 characters, unless its own path is longer than that.

    File, variable and time are kept, the cause without advice, other files without their folders.
    """
    problem = " ".join(error.problem.partition(ADVICE)[0].split())
    line = str(_with_problem(error, problem))
    if len(line) <= MAX_LINE:
        return line
    problem = FOLDERS.sub("", problem)
    line = str(_with_problem(error, problem))
    room = max(len(problem) - (len(line) - MAX_LINE), MIN_CAUSE)
    if room < len(problem):
        line = str(_with_problem(error, problem[: room - 4].rstrip() + " ..."))
    return line


def _with_problem(error: InputError, problem: str) -> InputError:
    """The same error, said in other words."""
    return InputError(problem, file=error.file, variable=error.variable, time=error.time)


def open_sources(paths: Sequence[str], opener: Opener, bad: BadFiles) -> list[Source]:
    """Open every path and check its times and its grid against the first one's.

    Raises:
        InputError: For a path that can't be read, has unsorted times or another grid.
    """
    sources: list[Source] = []
    shown = track(paths, "opening") if len(paths) >= SHOW_PROGRESS_FROM else paths
    for path in shown:
        try:
            found = [_describe(path, dataset) for dataset in opener(path)]
            first = (sources or found)[0]
            for source in found:
                _check_same_grid(source, first)
            timed = [s for s in (first, *found) if s.times.size]
            found = [_in_calendar(source, timed) for source in found]
        except InputError as error:
            bad.handle(error)
        else:
            sources += found
    return sources


def _describe(path: str, dataset: xr.Dataset) -> Source:
    """A dataset with its grid and times.

    Raises:
        InputError: If it has no latitude-longitude grid, or its times don't ascend.
    """
    grid = find_grid(dataset, path)
    time_name, times = file_times(dataset, path)
    if time_name is not None and not times.size:
        raise InputError("holds no time", file=path, variable=time_name)
    check_times(times, path)
    return Source(path=path, dataset=dataset, grid=grid, time_name=time_name, times=times)


def _check_same_grid(source: Source, first: Source) -> None:
    """Refuse a second grid in an archive."""
    if source.grid.has_same_points(first.grid):
        return
    here, there = source.grid, first.grid
    raise InputError(
        f"all files of an archive must have one grid; this one has {here.shape[0]} x"
        f" {here.shape[1]} points from {here.lat[0]:g} N {here.lon[0]:g} E, {first.path} has"
        f" {there.shape[0]} x {there.shape[1]} from {there.lat[0]:g} N {there.lon[0]:g} E",
        file=source.path,
    )


def _in_calendar(source: Source, timed: list[Source]) -> Source:
    """A source in the calendar of the first that has times, where both agree on every date.

    Raises:
        InputError: If they don't.
    """
    if not source.times.size:
        return source
    calendar, wanted = (str(s.times[0].calendar) for s in (source, timed[0]))
    if calendar == wanted:
        return source
    if SAME_CALENDAR.get(calendar, calendar) != SAME_CALENDAR.get(wanted, wanted):
        raise InputError(
            f"all files of an archive must have one calendar; this one has {calendar},"
            f" {timed[0].path} has {wanted}",
            file=source.path,
            variable=source.time_name,
        )
    dates = [cftime.datetime(*t.timetuple()[:6], calendar=wanted) for t in source.times]
    return replace(source, times=np.array(dates))


def group_sources(sources: Sequence[Source], options: ReadOptions, bad: BadFiles) -> list[Group]:
    """Put together files that hold the same variables, each group in the order of its times.

    Raises:
        InputError: If two files of a group hold the same time.
    """
    by_content: dict[object, list[Source]] = defaultdict(list)
    for source in sources:
        by_content[_content(source)].append(source)
    groups = []
    for alike in by_content.values():
        if alike[0].time_name is None or not all(s.times.size for s in alike):
            groups += [Group(sources=[s], options=options) for s in alike]
            continue
        ordered = _without_overlap(sorted(alike, key=lambda s: s.times[0]), bad)
        groups.append(Group(sources=ordered, options=options))
    return groups


def _content(source: Source) -> tuple[object, ...]:
    """What two files share that can be read as one."""
    variables = tuple(
        sorted(
            (str(name), str(a.dims), str(a.attrs.get("units")), str(a.attrs.get("standard_name")))
            for name, a in source.dataset.variables.items()
        )
    )
    grid = source.grid
    order = (grid.lat_order.tobytes(), grid.lon_order.tobytes())
    levels = tuple(
        (str(d), c.values.tobytes())
        for d, c in source.dataset.coords.items()
        if d in source.dataset.dims and d not in (grid.lat_name, grid.lon_name, source.time_name)
    )
    return variables, order, levels, source.times[0].calendar if source.times.size else ""


def _without_overlap(ordered: list[Source], bad: BadFiles) -> list[Source]:
    """Files whose times follow each other."""
    kept: list[Source] = []
    for source in ordered:
        if kept and source.times[0] <= kept[-1].times[-1]:
            bad.handle(
                InputError(
                    f"holds times again that {kept[-1].path} holds",
                    file=source.path,
                    time=source.times[0],
                )
            )
            continue
        kept.append(source)
    return kept
