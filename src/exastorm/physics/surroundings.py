"""What lies around a grid point: discs, boxes, rays and azimuthal means, by great-circle distance.

All places are kept as whole columns from the center plus a fraction, never as absolute
longitudes, so that a field rolled in longitude gives exactly the same values around the rolled
point. Distances are angles at the center of the Earth in degrees, the unit of the published
criteria (1 degree is 111.195 km).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import is_global_in_longitude

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]


TOLERANCE_DEG = 1e-6
"""Added to radii (a tenth of a meter): rounding must not choose differently north and south."""


class Cells(NamedTuple):
    """Cells of a window: index a field with `field[cells.rows, cells.columns]`.

    Attributes:
        rows: Row numbers (N, 1).
        columns: Column numbers (1, M), wrapped.
        distance_deg: Great-circle distance from the center (N, M), degrees.
    """

    rows: Index
    columns: Index
    distance_deg: FloatArray

    def within(self, radius_deg: float) -> NDArray[np.bool_]:
        """Which cells (N, M) lie within a radius."""
        return self.distance_deg <= radius_deg + TOLERANCE_DEG


class Points(NamedTuple):
    """Places between grid points, for bilinear values.

    Attributes:
        rows: Row south of each place, (2, ...): that row and the one north of it.
        columns: Column west of each place, (2, ...): that column and the one east of it.
        north: Share of the northern row, (...).
        east: Share of the eastern column, (...).
    """

    rows: Index
    columns: Index
    north: FloatArray
    east: FloatArray

    def values(self, field: Any) -> FloatArray:
        """Bilinear values (...) of a field (H, W)."""
        south, north = (
            field[row, self.columns[0]] * (1 - self.east) + field[row, self.columns[1]] * self.east
            for row in self.rows
        )
        return np.asarray(south * (1 - self.north) + north * self.north, dtype=np.float64)


@lru_cache(maxsize=32)
def bearings(num: int) -> tuple[FloatArray, FloatArray]:
    """Sine and cosine (num,) of evenly spaced bearings, clockwise from north.

    Rounded to 15 digits, so that opposite bearings have exactly opposite numbers and a mirrored
    field gives mirrored values.
    """
    angles = 2 * np.pi * np.arange(num, dtype=np.float64) / num
    sine, cosine = np.sin(angles), np.cos(angles)
    return sine.round(15), cosine.round(15)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The neighborhoods of the points of one grid.

    Attributes:
        lat: Ascending latitudes (H,), degrees.
        lon: Ascending longitudes (W,), degrees.
        wraps: Whether the longitudes go round the globe.
    """

    lat: FloatArray
    lon: FloatArray
    wraps: bool

    @classmethod
    def of(cls, lat: Any, lon: Any) -> "Surroundings":
        """The neighborhoods of a grid in the package schema; of the same grid, the same object.

        So what is computed once for a grid can be kept with it.
        """
        lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
        return _surroundings(lat.tobytes(), lon.tobytes())

    @property
    def spacing_deg(self) -> float:
        """Side of a square with the area (at the equator) of one cell, degrees."""
        return float(np.sqrt(np.diff(self.lat).mean() * np.diff(self.lon).mean()))

    def box(self, row: int, column: int, half_width_deg: float) -> Cells:
        """Cells within a half-width north-south and east-west of a point.

        East-west the half-width is measured along the parallel of the center: in degrees of
        longitude it is wider by 1 / cos(lat).
        """
        widening = max(np.cos(np.deg2rad(self.lat[row])), 1e-6)
        return self._window(row, column, half_width_deg, half_width_deg / widening)

    def disc(self, row: int, column: int, radius_deg: float) -> Cells:
        """Smallest window of cells that holds every cell within a radius.

        Its corners lie farther away: compare `distance_deg` with the radius.
        """
        reach = np.sin(np.deg2rad(radius_deg)) / max(np.cos(np.deg2rad(self.lat[row])), 1e-6)
        half_lon = np.degrees(np.arcsin(reach)) if reach < 1 else 180.0
        return self._window(row, column, radius_deg, half_lon)

    def _window(self, row: int, column: int, half_lat: float, half_lon: float) -> Cells:
        near = np.abs(self.lat - self.lat[row]) <= half_lat + TOLERANCE_DEG
        rows = np.flatnonzero(near)
        if self.wraps:
            step = 360.0 / self.lon.size
            half = int((half_lon + TOLERANCE_DEG) / step)
            offsets = np.arange(-half, half + 1)
            if offsets.size > self.lon.size:
                offsets = np.arange(self.lon.size) - self.lon.size // 2
            columns = (column + offsets) % self.lon.size
            dlon: FloatArray = np.asarray(offsets * step, dtype=np.float64)
        else:
            dlon = self.lon - self.lon[column]
            columns = np.flatnonzero(np.abs(dlon) <= half_lon + TOLERANCE_DEG)
            dlon = dlon[columns]
        distance = _distance_deg(self.lat[row], self.lat[rows][:, None], dlon[None, :])
        return Cells(rows[:, None], columns[None, :], distance)

    def rings(self, row: int, column: int, distances_deg: FloatArray, num_bearings: int) -> Points:
        """Places at distances (N,) along great circles in evenly spread bearings (M,), (N, M)."""
        sin_bearing, cos_bearing = bearings(num_bearings)
        away = np.deg2rad(distances_deg)[:, None]
        sin0, cos0 = np.sin(np.deg2rad(self.lat[row])), np.cos(np.deg2rad(self.lat[row]))
        sine = np.clip(sin0 * np.cos(away) + cos0 * np.sin(away) * cos_bearing, -1.0, 1.0)
        dlon = np.arctan2(sin_bearing * np.sin(away) * cos0, np.cos(away) - sin0 * sine)
        return self._between(column, np.degrees(np.arcsin(sine)), np.degrees(dlon))

    def _between(self, column: int, lat: FloatArray, dlon: FloatArray) -> Points:
        """Bilinear places; beyond the edge of the grid the nearest edge point counts."""
        row_position = np.interp(lat, self.lat, np.arange(self.lat.size, dtype=float))
        south = np.minimum(row_position.astype(np.intp), self.lat.size - 2)
        if self.wraps:
            offset = dlon * (self.lon.size / 360.0)
            whole = np.floor(offset)
            west = (column + whole.astype(np.intp)) % self.lon.size
            east = (west + 1) % self.lon.size
            share = offset - whole
        else:
            position = np.interp(
                self.lon[column] + dlon, self.lon, np.arange(self.lon.size, dtype=float)
            )
            west = np.minimum(position.astype(np.intp), self.lon.size - 2)
            east, share = west + 1, position - west
        return Points(
            np.stack([south, south + 1]), np.stack([west, east]), row_position - south, share
        )

    def touching(self, row: Any, column: Any) -> tuple[Index, Index]:
        """Rows and columns (..., 9) of points and the 8 that touch them.

        At an edge of the grid the edge itself stands for what is beyond.
        """
        rows = np.asarray(row)[..., None] + np.repeat([-1, 0, 1], 3)
        columns = np.asarray(column)[..., None] + np.tile([-1, 0, 1], 3)
        num_lon = self.lon.size
        columns = columns % num_lon if self.wraps else np.clip(columns, 0, num_lon - 1)
        return np.clip(rows, 0, self.lat.size - 1), columns

    def lowest_within(
        self, field: Any, row: int, column: int, radius_deg: float
    ) -> tuple[int, int]:
        """Row and column of the lowest value within a radius; of equal ones, the nearest.

        A missing value is never the lowest, unless all are missing: then the point itself.
        """
        cells = self.disc(row, column, radius_deg)
        values = np.asarray(field[cells.rows, cells.columns], dtype=np.float64)
        outside = ~cells.within(radius_deg) | np.isnan(values)
        values = np.where(outside, np.inf, values)
        distance = np.where(values == values.min(), cells.distance_deg, np.inf)
        i, j = np.unravel_index(distance.argmin(), values.shape)
        return int(cells.rows[i, 0]), int(cells.columns[0, j])

    def highest_value(self, field: Any, row: int, column: int, radius_deg: float) -> float:
        """Highest value within a radius, missing ones left out."""
        cells = self.disc(row, column, radius_deg)
        values = field[cells.rows, cells.columns][cells.within(radius_deg)]
        return float(np.fmax.reduce(values))

    def weakest_rise(
        self, field: Any, row: int, column: int, radius_deg: float, num_bearings: int = 8
    ) -> float:
        """How far a field rises above its value at a point within a radius, in every direction.

        Along each of `num_bearings` great circles the highest value within the radius counts;
        the least of these rises is returned, in the field's unit (TECA's form of a closed
        contour). Pass the negative of a field for how far it falls.
        """
        # Half a spacing apart no grid point between center and radius is stepped over.
        num_steps = max(2, int(np.ceil(2 * radius_deg / self.spacing_deg)))
        distances = np.linspace(0.0, radius_deg, num_steps + 1)[1:]
        values = self.rings(row, column, distances, num_bearings).values(field)
        # A missing value is never the highest; a ray with none but those rises by no known amount.
        return float((np.fmax.reduce(values, axis=0) - float(field[row, column])).min())

    def azimuthal_mean(
        self, field: Any, row: int, column: int, radius_deg: float, num_bins: int
    ) -> tuple[FloatArray, FloatArray]:
        """Mean of a field over circles round a point.

        Circles rather than bins of cells: a bin narrower than the grid spacing is never empty.

        Returns:
            Distances (num_bins,) of the bin centers, degrees, and the means (num_bins,) of what is
            known there, NaN where nothing is.
        """
        distances: FloatArray = np.asarray(
            (np.arange(num_bins) + 0.5) * (radius_deg / num_bins), dtype=np.float64
        )
        circles = self.rings(row, column, distances, 32).values(field)
        known = np.isfinite(circles)
        sums = np.where(known, circles, 0.0).sum(axis=1, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return distances, np.asarray(sums / known.sum(axis=1), dtype=np.float64)


@lru_cache(maxsize=8)
def _surroundings(lat: bytes, lon: bytes) -> Surroundings:
    """The neighborhoods of a grid given by the bytes of its points."""
    points = np.frombuffer(lat, dtype=np.float64), np.frombuffer(lon, dtype=np.float64)
    return Surroundings(*points, is_global_in_longitude(points[1]))


def _distance_deg(lat0: float, lat: FloatArray, dlon: FloatArray) -> FloatArray:
    """Great-circle distance by the haversine formula, degrees."""
    phi0, phi = np.deg2rad(lat0), np.deg2rad(lat)
    h = (
        np.sin((phi - phi0) / 2) ** 2
        + np.cos(phi0) * np.cos(phi) * np.sin(np.deg2rad(dlon) / 2) ** 2
    )
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))))
