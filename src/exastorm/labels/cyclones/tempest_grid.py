"""A latitude-longitude grid as TempestExtremes walks over it: who touches whom, how far is far.

Its verdicts depend on the last digit of a distance wherever a radius is a whole number of grid
spacings (4 degrees on a 0.25-degree grid), so sines and cosines are those of the C library, and
products are taken in its order. Cells touch over edges only, never over a pole; a grid that does
not wrap has no way out of its first and last column but north and south.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.tempest_disc import Disc, Mask
from exastorm.physics.surroundings import Surroundings

FloatArray = NDArray[np.float64]
Values = NDArray[np.float32]
"""A field (H, W), in the precision of TempestExtremes."""
Places = NDArray[np.intp]
"""Rows and columns (2, N)."""

ROUNDING = 1e-13
"""Cosines of distances nearer than this to that of a radius are worked out cell by cell: some
hundred times the rounding of a sum of two products of cosines in double precision."""


def contour_distance_deg(cosine: float) -> float:
    """Distance as the closed-contour test rounds it, degrees."""
    return 180.0 / math.pi * math.acos(cosine)


@lru_cache(maxsize=64)
def least_cosine(radius_deg: float, distance: Callable[[float], float]) -> float:
    """The smallest number whose arc cosine, as `distance` rounds it, is within a radius."""
    if radius_deg >= 180.0:
        return -1.0
    low, high = -1.0, 1.0  # low is too far, high is near
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return high
        if distance(middle) <= radius_deg:
            high = middle
        else:
            low = middle


@dataclass(frozen=True, eq=False)
class TempestGrid:
    """Sines and cosines of a grid, and its discs, which are kept.

    Attributes:
        wraps: Whether the longitudes go round the globe.
        lon: Longitudes (W,), radians.
        sin_lat: Sines of the latitudes (H,).
        cos_lat: Their cosines.
        sin_lon: Sines of the longitudes (W,).
        cos_lon: Their cosines.
        unevenness: Largest departure of a longitude from even spacing, radians.
    """

    wraps: bool
    lat: FloatArray
    lon: FloatArray
    sin_lat: FloatArray
    cos_lat: FloatArray
    sin_lon: FloatArray
    cos_lon: FloatArray
    unevenness: float
    _discs: dict[tuple[int, float], Disc | None] = field(default_factory=dict)

    @classmethod
    def of(cls, grid: Surroundings) -> "TempestGrid":
        """The same grid; the last ones asked for are kept."""
        return _tempest_grid(grid)

    def vectors(self, rows: Any, columns: Any) -> FloatArray:
        """Unit vectors (3, N) of grid points."""
        cos_lat = self.cos_lat[rows]
        return np.stack(
            [self.cos_lon[columns] * cos_lat, self.sin_lon[columns] * cos_lat, self.sin_lat[rows]]
        )

    def disc(
        self,
        place: tuple[int, int],
        radius_deg: float,
        distance: Callable[[float], float] = contour_distance_deg,
    ) -> Disc:
        """The cells within a radius of a grid point, as TempestExtremes tells near from far."""
        row, column = place
        least = least_cosine(radius_deg, distance)
        if not self.wraps:
            return self._make_disc(place, radius_deg, least)
        key = row, least
        if key not in self._discs:
            self._discs[key] = self._even_disc(row, radius_deg, least)
        disc = self._discs[key]
        if disc is None:
            return self._make_disc(place, radius_deg, least)
        return disc._replace(columns=self._columns(column, disc.near.shape[1]))

    def _columns(self, column: int, num: int) -> slice | NDArray[np.intp]:
        """Columns of a window whose middle (right of it, if even) is a column."""
        first = column - num // 2
        if first >= 0 and first + num <= self.lon.size:
            return slice(first, first + num)
        return np.arange(first, first + num) % self.lon.size

    def _even_disc(self, row: int, radius_deg: float, least: float) -> Disc | None:
        """The disc around every point of a row; None where it may differ between them."""
        rows, num = self._extent(row, radius_deg)
        steps = np.arange(num) - num // 2
        cosine = self._cosines(row, rows, np.cos(steps * (2.0 * np.pi / self.lon.size)))
        if np.any(np.abs(cosine - least) <= ROUNDING + 2.0 * self.unevenness):
            return None
        return self._assemble(rows, slice(0, num), cosine >= least, row, num // 2)

    def _make_disc(self, place: tuple[int, int], radius_deg: float, least: float) -> Disc:
        """The disc around one point."""
        row, column = place
        rows, num = self._extent(row, radius_deg)
        if self.wraps:
            columns, middle = self._columns(column, num), num // 2
        else:
            half = num // 2
            start, stop = max(0, column - half), min(self.lon.size, column + half + 1)
            columns, middle = slice(start, stop), column - start
        away = (self.lon[columns] - self.lon[column]).tolist()
        cosine = self._cosines(row, rows, np.array([math.cos(angle) for angle in away]))
        return self._assemble(rows, columns, cosine >= least, row, middle)

    def _extent(self, row: int, radius_deg: float) -> tuple[slice, int]:
        """Rows and number of columns of a window that holds a disc and the cells touching it."""
        radius = math.radians(radius_deg) + 1e-6
        close = np.flatnonzero(np.abs(self.lat - self.lat[row]) <= radius)
        rows = slice(max(0, int(close[0]) - 1), min(self.lat.size, int(close[-1]) + 2))
        reach = math.sin(min(radius, 0.5 * math.pi)) / max(float(self.cos_lat[row]), 1e-12)
        half_lon = math.asin(reach) if reach < 1.0 else math.pi
        half = int(half_lon / float(np.diff(self.lon).min())) + 2
        if self.wraps:
            return rows, min(2 * half + 1, self.lon.size)
        return rows, 2 * min(half, self.lon.size) + 1

    def _cosines(self, row: int, rows: slice, cos_away: FloatArray) -> FloatArray:
        """Cosines (H', W') of the distances from a point of a row."""
        along = self.sin_lat[row] * self.sin_lat[rows]
        across = self.cos_lat[row] * self.cos_lat[rows]
        return np.asarray(along[:, None] + across[:, None] * cos_away)

    def _assemble(self, rows: slice, columns: Any, near: Mask, row: int, middle: int) -> Disc:
        """A disc from which cells are near."""
        near[row - rows.start, middle] = True
        ring = self.wraps and near.shape[1] == self.lon.size
        walls = (False, False)
        if not self.wraps:
            walls = columns.start == 0, columns.stop == self.lon.size
        far = ~near
        exits = np.zeros_like(near)
        exits[1:] |= far[:-1]
        exits[:-1] |= far[1:]
        sideways = np.zeros_like(near)
        sideways[:, 1:] |= far[:, :-1]
        sideways[:, :-1] |= far[:, 1:]
        if ring:
            sideways[:, 0] |= far[:, -1]
            sideways[:, -1] |= far[:, 0]
        for column, wall in zip((0, -1), walls, strict=True):
            if wall:
                sideways[:, column] = False
        origin = row - rows.start, middle
        way_out = np.flatnonzero(near & (exits | sideways))
        return Disc(rows, columns, near, way_out, origin, ring, walls)


@lru_cache(maxsize=4)
def _tempest_grid(grid: Surroundings) -> TempestGrid:
    """The grid with sines and cosines of the C library."""
    lat, lon = grid.lat * (math.pi / 180.0), grid.lon * (math.pi / 180.0)
    even = lon[0] + np.arange(lon.size) * (2.0 * np.pi / lon.size)
    return TempestGrid(
        wraps=grid.wraps,
        lat=lat,
        lon=lon,
        sin_lat=_each(math.sin, lat),
        cos_lat=_each(math.cos, lat),
        sin_lon=_each(math.sin, lon),
        cos_lon=_each(math.cos, lon),
        unevenness=float(np.abs(lon - even).max()) if grid.wraps else 0.0,
    )


def _each(function: Callable[[float], float], values: FloatArray) -> FloatArray:
    """A function of the C library, value by value (numpy's own may differ in the last digit)."""
    return np.array([function(value) for value in values.tolist()])
