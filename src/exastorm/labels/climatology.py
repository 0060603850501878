"""Local percentiles of moisture transport for each season, which `guan_waliser` compares with.

For each calendar month and grid point, percentiles over the five months centered on it, of all
years of the archive (Guan and Waliser 2015, Journal of Geophysical Research: Atmospheres 120).
They come from the archive itself in one pass over it
(`exastorm.labels.month_histograms`), or from a file made before, best from a longer archive: of one
year an 85th percentile holds little more than that year's weather.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import exastorm
from exastorm.errors import InputError, writing
from exastorm.labels.month_histograms import NUM_MONTHS, MonthHistograms
from exastorm.labels.transport import Moisture, moisture_array
from exastorm.progress import ProgressBar
from exastorm.readers.schema import coordinate_attrs
from exastorm.variables import VARIABLES

HALF_WINDOW_MONTHS = 2
"""Months before and after that belong to the season of a month (Guan and Waliser 2015)."""

TOP_EXPONENTS: dict[Moisture, int] = {"IVT": 12, "TMQV850": 13, "QV850": 2}
"""Values from 2 to this power on are too high for the bins: 4096 kg m-1 s-1, 8192 kg m-1 s-1 (80 kg
m-2 at 100 m s-1) and 4 m s-1, past what `exastorm.variables` calls plausible or what a season
brings. The bins reach down to 1/256 of that, well below the floor of the rule in each unit."""

BLOCK_BYTES = 32 * 2**20
"""Values read at once; a larger chunk is read in parts."""

GRID_TOLERANCE_DEG = 1e-3
"""Grids are the same if no point is farther off: single-precision files round."""


@dataclass(frozen=True, kw_only=True)
class ClimatologyRequest:
    """Which percentiles a rule set compares with.

    Attributes:
        moisture: What is looked at.
        percentiles: Percentiles, percent.
        file: A climatology made before; None to make it from the archive.
    """

    moisture: Moisture
    percentiles: tuple[float, ...]
    file: str | None = None

    def field_name(self, percentile: float) -> str:
        """Name under which a rule set finds the percentiles of a snapshot's month."""
        return percentile_field(self.moisture, percentile)


def percentile_field(moisture: Moisture, percentile: float) -> str:
    """Name of a local percentile as a field, such as IVT_P85."""
    return f"{moisture}_P{percentile:g}"


class Climatology:
    """Local percentiles by calendar month.

    Attributes:
        dataset: `threshold` (percentile, month, lat, lon), float32, NaN where no snapshot was;
            `num_snapshots` (month) of each month alone; attributes that tell where it is from.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self.dataset = dataset

    def at(self, month: int, percentile: float) -> NDArray[np.float32]:
        """Percentiles (H, W) of the season of a month, 1 to 12."""
        index = self.dataset["percentile"].values.tolist().index(percentile)
        chosen = self.dataset["threshold"].isel(percentile=index, month=month - 1)
        return np.asarray(chosen.values, dtype=np.float32)

    def fields(self, request: ClimatologyRequest, month: int) -> dict[str, NDArray[np.float32]]:
        """What a rule set needs of a month, by field name, (H, W) each."""
        return {request.field_name(p): self.at(month, p) for p in request.percentiles}

    def notes(self) -> dict[str, str]:
        """What a reader of the labels should know, by topic."""
        counts = self.dataset["num_snapshots"].values
        empty = [str(n + 1) for n in np.flatnonzero(counts == 0)]
        told = f"{counts.sum()} snapshots from {self.dataset.attrs['first_time']}"
        told += f" to {self.dataset.attrs['last_time']}"
        if empty:
            told += f"; none of months {', '.join(empty)}, so that seasons are cut"
        return {"river_climatology": f"percentiles of {told}"}

    def save(self, path: str | Path) -> None:
        """Write as netCDF, from where `open_climatology` takes it.

        Raises:
            InputError: If netCDF can't write it, as on a full disk.
        """
        path = Path(path)
        partial = path.with_name(f".{path.name}.writing")
        encoding = {"threshold": {"zlib": True, "complevel": 1, "chunksizes": self._chunks()}}
        with writing(path):
            self.dataset.to_netcdf(partial, engine="netcdf4", encoding=encoding)
        partial.replace(path)

    def _chunks(self) -> tuple[int, ...]:
        """Chunks of one month."""
        return (1, 1, self.dataset.sizes["lat"], self.dataset.sizes["lon"])


def seasonal_percentiles(
    dataset: xr.Dataset,
    moisture: Moisture,
    percentiles: tuple[float, ...],
    scratch: Path | None = None,
) -> Climatology:
    """Make a climatology from an archive.

    The archive is read once, chunk by chunk; what is in memory does not grow with its length
    (0.5 GB at 768 x 1152), the scratch file is 0.3 kB times 12 months for a
    grid point (2.8 GB at 768 x 1152). The result does not depend on chunks.

    Args:
        dataset: An archive in the package schema.
        moisture: What to look at; made from the fields there are.
        percentiles: Percentiles, percent.
        scratch: Folder for the scratch file; unset: that of the system.

    Raises:
        InputError: If the archive lacks the fields, or a percentile is implausibly high.
    """
    array = moisture_array(dataset, moisture)
    months = np.asarray(dataset["time"].dt.month.values)
    counts = np.bincount(months, minlength=NUM_MONTHS + 1)[1:]
    num_cells = array[0].size
    bins = (num_cells, TOP_EXPONENTS[moisture], int(counts.max()))
    with MonthHistograms(*bins, scratch) as histograms:
        with ProgressBar("climatology", months.size) as bar:
            for block in _blocks(array):
                values = array[block].values.reshape(-1, num_cells)
                # A chunk may hold the end of a month and the beginning of the next.
                here = months[block]
                cuts = [0, *(np.flatnonzero(np.diff(here)) + 1).tolist(), len(here)]
                for start, stop in itertools.pairwise(cuts):
                    histograms.add(int(here[start]), values[start:stop])
                bar.advance(len(values))
        thresholds = histograms.percentiles(percentiles, HALF_WINDOW_MONTHS)
    if np.isposinf(thresholds.max(initial=0.0, where=~np.isnan(thresholds))):
        raise InputError(
            f"must have percentiles below {2.0 ** TOP_EXPONENTS[moisture]:g}"
            f" {VARIABLES[moisture].units}; is the unit right?",
            file=dataset.attrs.get("source"),
            variable=moisture,
        )
    thresholds = thresholds.reshape(len(percentiles), NUM_MONTHS, *array.shape[1:])
    return Climatology(_described(dataset, moisture, percentiles, thresholds, counts))


def _blocks(array: xr.DataArray) -> Iterator[slice]:
    """Parts of the time axis: whole chunks, as many as make a block, or parts of a larger one."""
    num_times = array.sizes["time"]
    snapshot_bytes = 4 * array[0].size
    chunk = max([1, *array.chunksizes.get("time", ())])
    fitting = max(1, BLOCK_BYTES // snapshot_bytes)
    step = chunk * (fitting // chunk) if chunk <= fitting else fitting
    for start in range(0, num_times, step):
        yield slice(start, min(start + step, num_times))


def _described(
    dataset: xr.Dataset,
    moisture: Moisture,
    percentiles: tuple[float, ...],
    thresholds: NDArray[np.float32],
    counts: Any,
) -> xr.Dataset:
    """Thresholds (P, 12, H, W) with what they are and where they are from."""
    times = dataset["time"].values
    attrs = {
        "units": VARIABLES[moisture].units,
        "long_name": f"local seasonal percentile of {VARIABLES[moisture].long_name}",
    }
    return xr.Dataset(
        {
            "threshold": (("percentile", "month", "lat", "lon"), thresholds, attrs),
            "num_snapshots": ("month", counts.astype(np.int32), {"long_name": "snapshots used"}),
        },
        coords={
            "percentile": ("percentile", np.asarray(percentiles, dtype=np.float64)),
            "month": ("month", np.arange(1, NUM_MONTHS + 1), {"long_name": "calendar month"}),
            "lat": ("lat", dataset["lat"].values, coordinate_attrs("lat")),
            "lon": ("lon", dataset["lon"].values, coordinate_attrs("lon")),
        },
        attrs={
            "Conventions": "CF-1.11",
            "title": "local seasonal percentiles of moisture transport",
            "source": str(dataset.attrs.get("source", "")),
            "exastorm_version": exastorm.__version__,
            "moisture": moisture,
            "window_months": 2 * HALF_WINDOW_MONTHS + 1,
            "first_time": times[0].isoformat(),
            "last_time": times[-1].isoformat(),
            "calendar": dataset["time"].dt.calendar,
        },
    )


def open_climatology(
    path: str | Path, lat: Any, lon: Any, request: ClimatologyRequest
) -> Climatology:
    """Open a climatology made before, lazily, and check that it is the one asked for.

    Args:
        path: The file, as `Climatology.save` wrote it.
        lat: Latitudes (H,) that it must be on, degrees.
        lon: Longitudes (W,), degrees.
        request: What it must hold.

    Raises:
        InputError: If it can't be read, is of another grid or moisture, or lacks a percentile.
    """
    try:
        dataset = xr.open_dataset(path, engine="netcdf4", cache=False)
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read as a climatology ({error})", file=path) from error
    if "threshold" not in dataset or "moisture" not in dataset.attrs:
        raise InputError("must be a climatology of exastorm, got another netCDF file", file=path)
    if dataset.attrs["moisture"] != request.moisture:
        got = dataset.attrs["moisture"]
        raise InputError(f"must be a climatology of {request.moisture}, got {got}", file=path)
    for name, wanted in (("lat", np.asarray(lat)), ("lon", np.asarray(lon))):
        points = dataset[name].values
        if points.shape != wanted.shape or np.abs(points - wanted).max() > GRID_TOLERANCE_DEG:
            raise InputError(
                f"must be on the grid of the archive, {wanted.size} points from {wanted[0]:g} to"
                f" {wanted[-1]:g}, got {points.size} from {points[0]:g} to {points[-1]:g}",
                file=path,
                variable=name,
            )
    there = dataset["percentile"].values.tolist()
    for percentile in request.percentiles:
        if percentile not in there:
            have = ", ".join(f"{p:g}" for p in there)
            raise InputError(f"must hold percentile {percentile:g}, has {have}", file=path)
    return Climatology(dataset)


class Seasons:
    """Local percentiles of one snapshot after the other, each month read once while it lasts."""

    def __init__(self, lat: Any, lon: Any, request: ClimatologyRequest | None) -> None:
        self._request = request
        self._month = 0
        self._fields: dict[str, NDArray[np.floating[Any]]] = {}
        self._climatology = (
            None
            if request is None or request.file is None
            else open_climatology(request.file, lat, lon, request)
        )

    def fields(self, month: int) -> dict[str, NDArray[np.floating[Any]]]:
        """Percentiles (H, W) of the season of a month, by name; none without a request."""
        if self._climatology is not None and self._request is not None and month != self._month:
            self._fields = dict(self._climatology.fields(self._request, month))
            self._month = month
        return self._fields


def climatology_of(
    dataset: xr.Dataset, request: ClimatologyRequest, scratch: Path | None = None
) -> Climatology:
    """The climatology that a rule set asks for: from its file, or made from the archive.

    Raises:
        InputError: As `open_climatology` and `seasonal_percentiles` do.
    """
    if request.file is None:
        return seasonal_percentiles(dataset, request.moisture, request.percentiles, scratch)
    return open_climatology(request.file, dataset["lat"].values, dataset["lon"].values, request)
