"""Local percentiles of moisture transport for each season, which `guan_waliser` compares with.

For each calendar month and grid point, percentiles over the five months centered on it, of all
years of the archive (Guan and Waliser 2015, Journal of Geophysical Research: Atmospheres 120).
They come from the archive itself in one pass over it
(`exastorm.labels.month_histograms`), or from a file made before, best from a longer archive: of one
year an 85th percentile holds little more than that year's weather.
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError, writing
from exastorm.labels.climatology_file import (
    HALF_WINDOW_MONTHS,
    check_layout,
    check_points,
    described,
    opened,
)
from exastorm.labels.month_histograms import NUM_MONTHS, MonthHistograms
from exastorm.labels.transport import Moisture, moisture_array
from exastorm.progress import ProgressBar
from exastorm.variables import VARIABLES

TOP_EXPONENTS: dict[Moisture, int] = {"IVT": 12, "TMQV850": 13, "QV850": 2}
"""Values from 2 to this power on are too high for the bins: 4096 kg m-1 s-1, 8192 kg m-1 s-1 (80 kg
m-2 at 100 m s-1) and 4 m s-1, past what `exastorm.variables` calls plausible or what a season
brings. The bins reach down to 1/256 of that, well below the floor of the rule in each unit."""

BLOCK_BYTES = 32 * 2**20
"""Values read at once; a larger chunk is read in parts."""


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
        dataset: `num_snapshots` (month) of each month alone, attributes that tell where it is from,
            and, unless they are in a file, `threshold` (percentile, month, lat, lon), float32, NaN
            where no snapshot was.
        file: Where the thresholds are read from when they are asked for; None: `dataset` has them.
    """

    def __init__(self, dataset: xr.Dataset, file: str | Path | None = None) -> None:
        self.dataset = dataset
        self.file = file

    def at(self, month: int, percentile: float) -> NDArray[np.float32]:
        """Percentiles (H, W) of the season of a month, 1 to 12."""
        return self._read(month, (percentile,))[0]

    def fields(self, request: ClimatologyRequest, month: int) -> dict[str, NDArray[np.float32]]:
        """What a rule set needs of a month, by field name, (H, W) each.

        Raises:
            InputError: If the file it is read from has gone.
        """
        names = [request.field_name(percentile) for percentile in request.percentiles]
        return dict(zip(names, self._read(month, request.percentiles), strict=True))

    def _read(self, month: int, percentiles: tuple[float, ...]) -> list[NDArray[np.float32]]:
        """Percentiles (H, W) each of a month; a file is open no longer than that."""
        there = self.dataset["percentile"].values.tolist()
        with self._whole() as whole:
            months = whole["threshold"].isel(month=month - 1)
            chosen = [months.isel(percentile=there.index(p)).values for p in percentiles]
        return [np.asarray(values, dtype=np.float32) for values in chosen]

    @contextmanager
    def _whole(self) -> Iterator[xr.Dataset]:
        """The dataset with the thresholds, which are in memory or in an open file."""
        if self.file is None:
            yield self.dataset
        else:
            with opened(self.file) as dataset:
                yield dataset

    def notes(self) -> dict[str, str]:
        """What a reader of the labels should know, by topic."""
        counts = self.dataset["num_snapshots"].values
        empty = [str(n + 1) for n in np.flatnonzero(counts == 0)]
        told = f"{counts.sum()} snapshots from {self.dataset.attrs['first_time']}"
        told += f" to {self.dataset.attrs['last_time']}"
        if empty:
            told += f"; none of months {', '.join(empty)}, so that seasons are cut"
        return {"river_climatology": f"percentiles of {told}"}

    def check_enough(self, request: ClimatologyRequest, months: set[int]) -> None:
        """Refuse percentiles of so few snapshots that the highest of them is above all others.

        Args:
            request: The percentiles.
            months: Calendar months, 1 to 12, that are compared with them.

        Raises:
            InputError: Where a season has fewer than 1 / (1 - p) snapshots.
        """
        counts = self.dataset["num_snapshots"].values
        share = 1.0 - max(request.percentiles) / 100.0
        least = math.ceil(1.0 / share - 1e-9)
        window = np.arange(-HALF_WINDOW_MONTHS, HALF_WINDOW_MONTHS + 1)
        for month in sorted(months):
            num = int(counts[(month - 1 + window) % NUM_MONTHS].sum())
            if num < least:
                raise InputError(
                    f"local percentiles need at least {least} snapshots of a season, month {month}"
                    f" has {num}; give a file of more as --label.guan-waliser.climatology",
                    file=request.file,
                )

    def save(self, path: str | Path) -> None:
        """Write as netCDF, from where `open_climatology` takes it.

        Raises:
            InputError: If netCDF can't write it, as on a full disk.
        """
        path = Path(path)
        partial = path.with_name(f".{path.name}.writing")
        encoding = {"threshold": {"zlib": True, "complevel": 1, "chunksizes": self._chunks()}}
        with self._whole() as whole:
            whole.load()
        with writing(path):
            whole.to_netcdf(partial, engine="netcdf4", encoding=encoding)
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
    return Climatology(described(dataset, moisture, percentiles, thresholds, counts))


def _blocks(array: xr.DataArray) -> Iterator[slice]:
    """Parts of the time axis: whole chunks, as many as make a block, or parts of a larger one."""
    num_times = array.sizes["time"]
    snapshot_bytes = 4 * array[0].size
    chunk = max([1, *array.chunksizes.get("time", ())])
    fitting = max(1, BLOCK_BYTES // snapshot_bytes)
    step = chunk * (fitting // chunk) if chunk <= fitting else fitting
    for start in range(0, num_times, step):
        yield slice(start, min(start + step, num_times))


def open_climatology(
    path: str | Path, lat: Any, lon: Any, request: ClimatologyRequest
) -> Climatology:
    """Check that a climatology made before is the one asked for; its file is closed again.

    Its thresholds are read from the file a month at a time, when they are asked for.

    Args:
        path: The file, as `Climatology.save` wrote it.
        lat: Latitudes (H,) that it must be on, degrees.
        lon: Longitudes (W,), degrees.
        request: What it must hold.

    Raises:
        InputError: If it can't be read, lacks something that `Climatology.save` writes, is of
            another grid or moisture, or lacks a percentile.
    """
    with opened(path) as dataset:
        check_layout(dataset, path)
        if dataset.attrs["moisture"] != request.moisture:
            got = dataset.attrs["moisture"]
            raise InputError(f"must be a climatology of {request.moisture}, got {got}", file=path)
        for name, wanted in (("lat", np.asarray(lat)), ("lon", np.asarray(lon))):
            check_points(dataset[name].values, wanted, name, path)
        there = dataset["percentile"].values.tolist()
        for percentile in request.percentiles:
            if percentile not in there:
                have = ", ".join(f"{p:g}" for p in there)
                raise InputError(f"must hold percentile {percentile:g}, has {have}", file=path)
        return Climatology(dataset.drop_vars("threshold").load(), path)


class Seasons:
    """Local percentiles of one snapshot after the other, each month read once while it lasts.

    The file is open while a month is read, no longer.
    """

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
