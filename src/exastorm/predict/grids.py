"""On which grid the network works, and the way back to the archive's own.

A convolution sees cells, not kilometers. An archive much coarser or finer than the training grid
is therefore brought to the training grid's spacing first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import FloatArray, is_global_in_longitude, longitude_difference
from exastorm.predict.settings import SegmentSettings
from exastorm.readers.regrid import is_same_grid


@dataclass(frozen=True)
class Detour:
    """A grid to work on instead of the archive's own.

    Attributes:
        lat: Its latitudes (h,), degrees.
        lon: Its longitudes (w,), degrees.
        rows: For each row of the archive the nearest one of this grid (H,).
        columns: For each column of the archive the nearest one of this grid (W,).
    """

    lat: FloatArray
    lon: FloatArray
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def back(self, values: Any) -> Any:
        """Values (..., h, w) at the nearest points of the archive's grid, (..., H, W)."""
        return values[..., self.rows[:, None], self.columns[None, :]]


def spacing_ratio(points: Any, other: Any) -> float:
    """How many times coarser or finer one axis is than another, at least 1."""
    ratio = float(np.median(np.diff(points)) / np.median(np.diff(other)))
    return max(ratio, 1.0 / ratio)


def plan_detour(
    lat: Any, lon: Any, trained_lat: Any, trained_lon: Any, settings: SegmentSettings
) -> Detour | None:
    """The part of the training grid that an archive covers, where the network should work on it.

    Args:
        lat: The archive's latitudes (H,), degrees.
        lon: The archive's longitudes (W,), degrees.
        trained_lat: The training grid's latitudes.
        trained_lon: The training grid's longitudes.
        settings: When to leave the archive's grid.

    Returns:
        None where the network works on the archive's own grid.

    Raises:
        InputError: If the archive covers less than 2 x 2 points of the training grid.
    """
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    trained_lat, trained_lon = np.asarray(trained_lat), np.asarray(trained_lon)
    if settings.regrid == "never" or is_same_grid((lat, lon), (trained_lat, trained_lon)):
        return None
    ratio = max(spacing_ratio(lat, trained_lat), spacing_ratio(lon, trained_lon))
    if settings.regrid == "auto" and ratio <= settings.regrid_factor:
        return None
    half = 0.5 * float(np.median(np.diff(lat)))
    new_lat = trained_lat[(trained_lat >= lat[0] - half) & (trained_lat <= lat[-1] + half)]
    new_lon = trained_lon
    if not is_global_in_longitude(lon):
        new_lon = trained_lon[(trained_lon >= lon[0]) & (trained_lon <= lon[-1])]
    if new_lat.size < 2 or new_lon.size < 2:
        raise InputError(
            "an archive must cover at least 2 x 2 points of the network's training grid, got "
            f"{new_lat.size} x {new_lon.size}; --segment.regrid never works on its own grid"
        )
    rows = np.argmin(np.abs(lat[:, None] - new_lat[None, :]), axis=1)
    columns = np.argmin(np.abs(longitude_difference(lon[:, None], new_lon[None, :])), axis=1)
    return Detour(new_lat, new_lon, rows, columns)
