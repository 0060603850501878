"""Where between the grid points a minimum lies, and how low it is there.

A quadratic surface is fitted to the nine values around the lowest grid point, on the plane that
touches the sphere there (gnomonic coordinates, in which great circles are straight); the point
itself is met exactly, the eight others as well as possible. Its lowest point is the center. Where
the surface has none, or it lies more than half a grid spacing away, where one of the nine values
is missing or lower, and on the first and last row or an edge of the grid, the grid point stays.
"""

from typing import Any, NamedTuple

import numpy as np

from exastorm.grid import wrap_longitude
from exastorm.physics.surroundings import Surroundings


class SubGridMinimum(NamedTuple):
    """A minimum between grid points.

    Attributes:
        lat: Its latitude, degrees.
        lon: Its longitude in [0, 360), degrees.
        value: The field there, in the field's unit.
    """

    lat: float
    lon: float
    value: float


def subgrid_minimum(values: Any, grid: Surroundings, row: int, column: int) -> SubGridMinimum:
    """The minimum near a grid point that no cell touching it is lower than.

    Args:
        values: Field (H, W).
        grid: Its grid.
        row: Row of the grid point.
        column: Its column.
    """
    lat, lon = float(grid.lat[row]), float(grid.lon[column])
    stay = SubGridMinimum(lat, lon, float(values[row, column]))
    num_lat, num_lon = grid.lat.size, grid.lon.size
    beside_edge = not grid.wraps and not 0 < column < num_lon - 1
    if not 0 < row < num_lat - 1 or beside_edge:
        return stay
    columns = (column + np.arange(-1, 2)) % num_lon
    around = np.asarray(values[row - 1 : row + 2][:, columns], dtype=np.float64)
    rise = around.ravel() - around[1, 1]
    if not np.all(rise >= 0.0) or not np.any(rise > 0.0):
        return stay
    east, north = _on_plane(lat, lon, grid.lat[row - 1 : row + 2], grid.lon[columns])
    offset = _lowest_of_quadratic(east.ravel(), north.ravel(), rise)
    if offset is None:
        return stay
    x, y, deeper = offset
    reach = 0.5 * np.abs(np.diff(north[:, 1])).max(), 0.5 * np.abs(np.diff(east[1])).max()
    if abs(y) > reach[0] or abs(x) > reach[1]:
        return stay
    new_lat, new_lon = _from_plane(lat, lon, x, y)
    return SubGridMinimum(new_lat, new_lon, stay.value + deeper)


def _lowest_of_quadratic(x: Any, y: Any, rise: Any) -> tuple[float, float, float] | None:
    """Place and depth of the lowest point of ax + by + cx^2 + dxy + ey^2; None without one."""
    scale = np.abs(x).max(), np.abs(y).max()
    x, y = x / scale[0], y / scale[1]
    a, b, c, d, e = np.linalg.lstsq(np.stack([x, y, x * x, x * y, y * y], axis=1), rise)[0]
    determinant = 4.0 * c * e - d * d
    if not (determinant > 0.0 and c > 0.0):
        return None
    east, north = (d * b - 2.0 * e * a) / determinant, (d * a - 2.0 * c * b) / determinant
    depth = 0.5 * (a * east + b * north)
    return float(east * scale[0]), float(north * scale[1]), float(depth)


def _on_plane(lat0: float, lon0: float, lat: Any, lon: Any) -> tuple[Any, Any]:
    """Gnomonic coordinates east and north (3, 3) of latitudes (3,) and longitudes (3,), radians."""
    phi0, phi = np.radians(lat0), np.radians(np.asarray(lat, dtype=float))[:, None]
    away = np.radians(np.asarray(lon, dtype=float) - lon0)[None, :]
    up = np.sin(phi0) * np.sin(phi) + np.cos(phi0) * np.cos(phi) * np.cos(away)
    east = np.cos(phi) * np.sin(away)
    north = np.cos(phi0) * np.sin(phi) - np.sin(phi0) * np.cos(phi) * np.cos(away)
    return east / up, north / up


def _from_plane(lat0: float, lon0: float, east: float, north: float) -> tuple[float, float]:
    """Latitude and longitude in [0, 360) of a place on the plane, degrees."""
    phi0 = np.radians(lat0)
    length = np.sqrt(1.0 + east * east + north * north)
    lat = np.degrees(np.arcsin((np.sin(phi0) + north * np.cos(phi0)) / length))
    away = np.degrees(np.arctan2(east, np.cos(phi0) - north * np.sin(phi0)))
    return float(lat), float(wrap_longitude(lon0 + away))
