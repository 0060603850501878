"""What a climatology (`exastorm.labels.climatology`) looks like as a dataset and as a file.

Such files are kept for years and may be made by hand, so whatever is amiss is told in one line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import exastorm
from exastorm.errors import InputError
from exastorm.labels.month_histograms import NUM_MONTHS
from exastorm.labels.transport import Moisture
from exastorm.readers.schema import coordinate_attrs
from exastorm.variables import VARIABLES

HALF_WINDOW_MONTHS = 2
"""Months before and after that belong to the season of a month (Guan and Waliser 2015)."""

GRID_TOLERANCE_DEG = 1e-3
"""Grids are the same if no point is farther off: single-precision files round."""


def described(
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


@contextmanager
def opened(path: str | Path) -> Iterator[xr.Dataset]:
    """The open file of a climatology; what can't be read is told in one line."""
    try:
        with xr.open_dataset(path, engine="netcdf4", cache=False) as dataset:
            yield dataset
    except InputError:
        raise
    # netCDF4 raises a RuntimeError for damaged data.
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"can't be read as a climatology ({error})", file=path) from error


def check_layout(dataset: xr.Dataset, path: str | Path) -> None:
    """Whether a file has all that `Climatology.save` writes, numbers where they must be.

    Raises:
        InputError: If not.
    """
    dims = dict.fromkeys(("percentile", "month", "lat", "lon"))
    needed = {"threshold": tuple(dims), "num_snapshots": ("month",)}
    needed |= {name: (name,) for name in dims}
    for name, wanted in needed.items():
        if name not in dataset.variables:
            raise InputError(f"must be a climatology of exastorm, lacks {name}", file=path)
        got = dataset[name]
        if got.dims != wanted or got.dtype.kind not in "iuf":
            raise InputError(
                f"must hold numbers along {', '.join(wanted)}, got {got.dtype} along"
                f" {', '.join(map(str, got.dims)) or 'nothing'}",
                file=path,
                variable=name,
            )
    for name in ("moisture", "first_time", "last_time"):
        if name not in dataset.attrs:
            raise InputError(
                f"must be a climatology of exastorm, lacks the attribute {name}", file=path
            )
    months = dataset["month"].values.tolist()
    if months != list(range(1, NUM_MONTHS + 1)):
        raise InputError(f"must hold months 1 to {NUM_MONTHS}, got {months}", file=path)


def check_points(points: NDArray[Any], wanted: NDArray[Any], name: str, path: str | Path) -> None:
    """Whether the points of an axis are those of the archive.

    Raises:
        InputError: If not.
    """
    if points.shape != wanted.shape or not np.abs(points - wanted).max() <= GRID_TOLERANCE_DEG:
        ends = f" from {points[0]:g} to {points[-1]:g}" if points.size else ""
        raise InputError(
            f"must be on the grid of the archive, {wanted.size} points from {wanted[0]:g} to"
            f" {wanted[-1]:g}, got {points.size}{ends}",
            file=path,
            variable=name,
        )
