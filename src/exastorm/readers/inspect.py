"""Looks at an archive and says what it holds, what it is taken for, and what can be done with it.

The archive is opened as any job would open it, so what is shown is what a job gets. Values are
read at a stated number of times, evenly spread, one after another, so that the memory needed does
not grow with the archive.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, is_global_in_longitude
from exastorm.progress import track
from exastorm.readers.archives import Paths, expand_paths, open_archive
from exastorm.readers.checks import check_values
from exastorm.readers.inspect_table import inspection_text
from exastorm.readers.jobs import Job, possible_jobs
from exastorm.readers.schema import field_names, label_names
from exastorm.variables import CHANNEL_NAMES, VARIABLES

NUM_SAMPLED = 24
"""Times of which values are read unless told otherwise: a day of hourly data, or a step a month
of two years; at 0.25 degrees 1.4 GB are read, a step at a time."""


@dataclass(frozen=True, kw_only=True)
class FieldReport:
    """One field.

    Attributes:
        name: Our name.
        source_name: Its name in the archive.
        source_units: Its unit there.
        units: Our unit.
        low: Lowest value among the times read.
        mean: Mean value over time and area.
        high: Highest value.
        plausible: Lowest and highest plausible value.
        outside_share: Share of values outside these.
        missing_share: Share of values that are missing.
        note: What a reader should know.
    """

    name: str
    source_name: str
    source_units: str
    units: str
    low: float
    mean: float
    high: float
    plausible: tuple[float, float]
    outside_share: float
    missing_share: float
    note: str


@dataclass(frozen=True, kw_only=True)
class GridReport:
    """The grid: number of points, ends in degrees, spacing in degrees, whether it goes round."""

    num_lat: int
    num_lon: int
    lat: tuple[float, float]
    lon: tuple[float, float]
    lat_step: float
    lon_step: float
    is_regular: bool
    is_global: bool


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """The times: number, ends, usual step in hours, number of other steps, calendar."""

    num_times: int
    first: str
    last: str
    step_hours: float | None
    num_other_steps: int
    calendar: str


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What an archive holds.

    Attributes:
        source: Its paths.
        num_files: Number of files and stores.
        format: What it was taken for.
        grid: Its grid.
        times: Its times.
        num_sampled: Number of times of which values were read.
        fields: The fields.
        labels: Given masks.
        missing: Channels of the SC18 set that it lacks.
        left_out: Known variables that were not taken, with the reason.
        bad_files: Files left out, a line each.
        history: Remarks on how it was read.
        jobs: What can be done with it.
    """

    source: str
    num_files: int
    format: str
    grid: GridReport
    times: TimeReport
    num_sampled: int
    fields: tuple[FieldReport, ...]
    labels: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    bad_files: tuple[str, ...]
    history: str
    jobs: tuple[Job, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain types that JSON knows."""
        return asdict(self)

    def to_text(self) -> str:
        """As a table to read."""
        return inspection_text(self.to_dict())


def inspect_archive(paths: Paths, *, num_sampled: int = NUM_SAMPLED, **options: Any) -> Inspection:
    """Look at an archive.

    Args:
        paths: As for `open_archive`.
        num_sampled: Number of times, evenly spread, of which values are read.
        **options: Fields of ReadOptions.

    Raises:
        InputError: As `open_archive`, and for a time at which a field is blank, can't be read, or
            holds values that its unit excludes, naming file, variable and time.
    """
    if num_sampled < 1:
        raise InputError(f"num_sampled must be at least 1, got {num_sampled}")
    files = expand_paths(paths)
    dataset = open_archive(paths, **options)
    steps = sampled_steps(dataset.sizes["time"], num_sampled)
    names = field_names(dataset)
    attrs = dataset.attrs
    return Inspection(
        source=str(attrs.get("source", files[0])),
        num_files=len(files),
        format=str(attrs.get("source_format", "")),
        grid=_grid(dataset["lat"].values, dataset["lon"].values),
        times=_times(dataset["time"].values),
        num_sampled=len(steps),
        fields=_fields(dataset, names, steps, files, options),
        labels=tuple(label_names(dataset)),
        missing=tuple(n for n in CHANNEL_NAMES if n not in names),
        left_out=_lines(attrs, "left_out"),
        bad_files=_lines(attrs, "bad_files"),
        history=str(attrs.get("history", "")),
        jobs=possible_jobs(names),
    )


def sampled_steps(num_times: int, num_sampled: int) -> list[int]:
    """Time steps whose values are read, evenly spread, the first and the last among them."""
    count = min(num_times, num_sampled)
    return sorted({int(i) for i in np.linspace(0, num_times - 1, count).round()})


def _lines(attrs: dict[str, Any], name: str) -> tuple[str, ...]:
    """Lines of an attribute that lists."""
    return tuple(line for line in str(attrs.get(name, "")).split("\n") if line)


def _grid(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> GridReport:
    """What to say of a grid."""
    steps = np.diff(lat)
    return GridReport(
        num_lat=lat.size,
        num_lon=lon.size,
        lat=(float(lat[0]), float(lat[-1])),
        lon=(float(lon[0]), float(lon[-1])),
        lat_step=round(float(np.median(steps)), 5),
        lon_step=round(float(np.median(np.diff(lon))), 5),
        is_regular=bool(np.allclose(steps, np.median(steps), rtol=1e-3, atol=1e-4)),
        is_global=is_global_in_longitude(lon),
    )


def _times(times: NDArray[Any]) -> TimeReport:
    """What to say of the times."""
    hours = np.array([d.total_seconds() / 3600 for d in np.diff(times)])
    usual = float(np.median(hours)) if hours.size else None
    others = 0 if usual is None else int(np.sum(np.abs(hours - usual) > 1e-3))
    return TimeReport(
        num_times=times.size,
        first=str(times[0]),
        last=str(times[-1]),
        step_hours=usual,
        num_other_steps=others,
        calendar=str(times[0].calendar),
    )


@dataclass
class _Range:
    """Running extremes of one field."""

    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    area: float = 0.0
    num_finite: int = 0
    num_values: int = 0
    num_outside: int = 0

    def record(self, name: str, values: NDArray[Any], areas: NDArray[np.float64]) -> None:
        """Add one time step (H, W), of which each value stands for the area of its cell."""
        is_finite = np.isfinite(values)
        finite = values[is_finite].astype(np.float64)
        variable = VARIABLES[name]
        self.low = min(self.low, float(finite.min()))
        self.high = max(self.high, float(finite.max()))
        self.total += float(np.sum(finite * areas[is_finite]))
        self.area += float(areas[is_finite].sum())
        self.num_finite += finite.size
        self.num_values += values.size
        self.num_outside += int(np.sum((finite < variable.low) | (finite > variable.high)))


def _fields(
    dataset: xr.Dataset,
    names: list[str],
    steps: list[int],
    files: list[str],
    options: dict[str, Any],
) -> tuple[FieldReport, ...]:
    """Read the sampled steps and report on every field."""
    ranges = {name: _Range() for name in names}
    areas = cell_areas_km2(dataset["lat"].values, dataset["lon"].values)
    for step in track(steps, "reading values"):
        snapshot = dataset[names].isel(time=step).compute()
        time = dataset["time"].values[step]
        for name in names:
            values = snapshot[name].values
            try:
                check_values(name, values, dataset[name].attrs, file=None, time=time)
            except InputError as error:
                file = files[0] if len(files) == 1 else _find_file(files, name, time, options)
                raise InputError(
                    error.problem, file=file, variable=error.variable, time=time
                ) from error
            ranges[name].record(name, values, areas)
    return tuple(_field(dataset[name], ranges[name]) for name in names)


def _find_file(files: Iterable[str], name: str, time: Any, options: dict[str, Any]) -> str | None:
    """The file of an archive that holds a field at a time, found by opening one after another."""
    for file in files:
        try:
            dataset = open_archive(file, **{**options, "fields": (name,), "grid": None})
        except InputError as error:
            # The door reads the first time of a file, and refuses what is looked for.
            if error.time is not None and error.time == time:
                return file
            continue
        if time in dataset["time"].values:
            return file
    return None


def _field(array: xr.DataArray, values: _Range) -> FieldReport:
    """Report on one field."""
    name = str(array.name)
    variable = VARIABLES[name]
    source_name = str(array.attrs.get("source_name", name))
    if "source_level_hpa" in array.attrs and source_name != name:
        source_name += f" {array.attrs['source_level_hpa']:g} hPa"
    return FieldReport(
        name=name,
        source_name=source_name,
        source_units=str(array.attrs.get("source_units", "")),
        units=variable.units,
        low=values.low,
        mean=values.total / values.area,
        high=values.high,
        plausible=(variable.low, variable.high),
        outside_share=values.num_outside / values.num_finite,
        missing_share=1.0 - values.num_finite / values.num_values,
        note=str(array.attrs.get("note", "")),
    )
