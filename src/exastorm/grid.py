"""Latitude-longitude grids: checks, cell areas, great-circle distances, wrapping in longitude."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.errors import InputError

FloatArray = NDArray[np.float64]

MAX_GAP = 3.0
"""A step in longitude of more than this many usual ones is a hole, as that of a region that crosses
0 degrees. Grids that are finer in one part than in another have smaller ones."""

LONGITUDE_TOLERANCE = 1e-3
"""Largest departure from even spacing, as a share of the spacing (single-precision files round)."""


def regular_grid(num_lat: int, num_lon: int) -> tuple[FloatArray, FloatArray]:
    """Latitudes with both poles and longitudes from 0, as CAM's finite-volume grid has them.

    768 x 1152 gives the SC18 grid: 0.23468 by 0.3125 degrees.

    Args:
        num_lat: Number of latitudes, at least 2.
        num_lon: Number of longitudes, at least 1.

    Returns:
        lat (num_lat,) from -90 to 90, lon (num_lon,) from 0 to below 360, degrees.
    """
    if num_lat < 2 or num_lon < 1:
        raise ValueError(f"a grid must have at least 2 x 1 points, got {num_lat} x {num_lon}")
    lon = np.arange(num_lon, dtype=np.float64) * (360.0 / num_lon)
    return np.linspace(-90.0, 90.0, num_lat), lon


def wrap_longitude(lon: Any) -> Any:
    """Longitudes in [0, 360), any shape; degrees."""
    wrapped = np.mod(lon, 360.0)
    return np.where(wrapped >= 360.0, 0.0, wrapped)


def longitude_difference(lon1: Any, lon2: Any) -> Any:
    """Shortest signed way from lon2 to lon1, in [-180, 180), degrees."""
    return np.mod(np.asarray(lon1) - np.asarray(lon2) + 180.0, 360.0) - 180.0


def check_grid(lat: Any, lon: Any, file: str | None = None) -> None:
    """Refuse a grid that the package does not work on.

    Args:
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
        file: Where they come from, for the message.

    Raises:
        InputError: Unless latitudes ascend within [-90, 90] and longitudes ascend within [0, 360).
    """
    lat, lon = np.asarray(lat), np.asarray(lon)
    for name, values, low, high in (("lat", lat, -90.0, 90.0), ("lon", lon, 0.0, 360.0)):
        if values.ndim != 1 or values.size < 2:
            raise InputError(
                f"must have one dimension of at least 2 points, got shape {values.shape}",
                file=file,
                variable=name,
            )
        if not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
            raise InputError("must ascend without gaps or repeats", file=file, variable=name)
        # 1e-4 degrees is the rounding of single precision near 360.
        if values[0] < low - 1e-4 or values[-1] > high + 1e-4:
            raise InputError(
                f"must lie in [{low:g}, {high:g}], got {values[0]:g} to {values[-1]:g}",
                file=file,
                variable=name,
            )
    if lon[-1] >= 360.0:
        raise InputError(f"must lie in [0, 360), got {lon[-1]:g}", file=file, variable="lon")


def check_without_gap(lon: Any, file: str | None = None) -> None:
    """Refuse longitudes with a hole, whose sides are no neighbors.

    Args:
        lon: Longitudes (W,), degrees, ascending.
        file: Where they come from, for the message.

    Raises:
        InputError: As for a region that crosses 0 degrees: in [0, 360) it is two parts.
    """
    gaps = np.diff(np.asarray(lon))
    if gaps.max() > MAX_GAP * np.median(gaps):
        here = int(gaps.argmax())
        raise InputError(
            f"must have no gap, got one from {lon[here]:g} to {lon[here + 1]:g} degrees: a region"
            " that crosses 0 degrees must be cut there, or put on a whole grid (--read.grid H W)",
            file=file,
            variable="lon",
        )


def is_global_in_longitude(lon: Any) -> bool:
    """True where the longitudes go evenly round the globe, so that fields wrap."""
    lon = np.asarray(lon, dtype=np.float64)
    step = 360.0 / lon.size
    gaps = np.diff(np.append(lon, lon[0] + 360.0))
    return bool(np.all(np.abs(gaps - step) <= LONGITUDE_TOLERANCE * step + 1e-4))


def is_symmetric_in_latitude(lat: Any) -> bool:
    """True where each latitude has its opposite, so that hemispheres can be swapped row by row."""
    lat = np.asarray(lat, dtype=np.float64)
    # 1e-4 degrees is the rounding of single precision.
    return bool(np.all(np.abs(lat + lat[::-1]) <= 1e-4))


def edges(values: Any, low: float | None = None, high: float | None = None) -> FloatArray:
    """Cell edges half way between points, the outer ones extrapolated, then clipped.

    Args:
        values: Ascending points (N,).
        low: Lower clip, as -90 for latitudes.
        high: Upper clip.

    Returns:
        Edges (N + 1,).
    """
    values = np.asarray(values, dtype=np.float64)
    mid = 0.5 * (values[1:] + values[:-1])
    out = np.concatenate([[2 * values[0] - mid[0]], mid, [2 * values[-1] - mid[-1]]])
    return np.asarray(np.clip(out, low, high))


def cell_areas_km2(lat: Any, lon: Any) -> FloatArray:
    """Area of each grid cell on the sphere, km2, shape (H, W).

    A cell spans half way to its neighbors; cells at the poles end there, so that the areas of a
    global grid sum to 4 pi R^2.
    """
    lat_edges = np.deg2rad(edges(lat, -90.0, 90.0))
    lon = np.asarray(lon, dtype=np.float64)
    if is_global_in_longitude(lon):
        widths = np.full(lon.size, 2 * np.pi / lon.size)
    else:
        widths = np.deg2rad(np.diff(edges(lon)))
    bands = np.sin(lat_edges[1:]) - np.sin(lat_edges[:-1])
    return np.asarray(EARTH_RADIUS_KM**2 * bands[:, None] * widths[None, :])


def area_weights(lat: Any) -> NDArray[np.float32]:
    """Share of the globe that a cell of each row covers, relative to the mean row: (H,) float32.

    The cosine of latitude over its mean, all rows counted alike, so that the weights have mean 1;
    at the poles it is 0.

    Args:
        lat: Latitudes (H,), degrees.
    """
    # Files round 90 degrees up, where the cosine is below 0.
    cosine = np.clip(np.cos(np.deg2rad(np.asarray(lat, dtype=np.float64))), 0.0, None)
    return np.asarray(cosine / cosine.mean(), dtype=np.float32)


def great_circle_km(lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Any:
    """Great-circle distance, km, by the haversine formula (Sinnott 1984), broadcasting.

    Args:
        lat1: Latitudes of the first points, degrees.
        lon1: Longitudes of the first points, degrees.
        lat2: Latitudes of the second points, degrees.
        lon2: Longitudes of the second points, degrees.
    """
    phi1, phi2 = np.deg2rad(lat1), np.deg2rad(lat2)
    dphi = phi2 - phi1
    dlam = np.deg2rad(np.asarray(lon2) - np.asarray(lon1))
    h = np.sin(dphi / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin(dlam / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))


def nearest_index(lat: Any, lon: Any, at_lat: float, at_lon: float) -> tuple[int, int]:
    """Row and column of the grid point nearest to a place (longitudes wrap)."""
    row = int(np.argmin(np.abs(np.asarray(lat) - at_lat)))
    column = int(np.argmin(np.abs(longitude_difference(lon, at_lon))))
    return row, column
