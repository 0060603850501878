"""What TECA's detector sees in one snapshot, with all its peculiarities, for comparison.

Kept of teca_tc_candidates (gfdl_tc_candidates, teca_vorticity):

- Everything is cut at the search latitudes first. Vorticity is made of plain differences without
  the curvature of the parallels, and its edge rows are copies. Windows that reach beyond are filled
  with the first row in the south, but with a row half a window inside in the north.
- The window of the vorticity maximum has as many columns as rows, so it is narrower in kilometers
  toward the poles. Of equal maxima the southernmost counts, then the westernmost.
- Distances are sqrt(dlon^2 + dlat^2) in degrees.
- The pressure minimum is looked for from the vorticity maximum on, the warm core from there on,
  the thickest place from the warm core on (`exastorm.labels.cyclones.teca_shape`).

Not kept: TECA computes splines in the precision of the file, here it is double precision; and its
longitudes may leave [0, 360) by up to the core radius, which lets some tracks cross 0/360 that here
end there.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import nearest_index, wrap_longitude
from exastorm.labels.cyclones.teca_peaks import sieve
from exastorm.labels.cyclones.teca_search import NEITHER, Falls, Low, TecaSearch
from exastorm.labels.cyclones.teca_shape import MARGIN, Place, Surface, descend, stepped_rise
from exastorm.physics.warm_core import core_temperature, thickness

Index = NDArray[np.intp]

LEAST_PRESSURE_PA = 50000.0
"""Minima below are taken for errors (gfdl_tc_candidates)."""
EARTH_RADIUS_M = 6371.0e3
"""TECA's radius of the Earth, m (teca_vorticity)."""


class ExactSearch(TecaSearch):
    """TECA's search as its program makes it."""

    @cached_property
    def first_row(self) -> int:
        """The southernmost row inside the search latitudes."""
        return int(np.searchsorted(self.grid.lat, self.reach.lowest_lat_deg))

    @cached_property
    def lat(self) -> NDArray[np.float64]:
        """Latitudes inside the search latitudes (N,), degrees."""
        stop = int(np.searchsorted(self.grid.lat, self.reach.highest_lat_deg, side="right"))
        return self.grid.lat[self.first_row : stop]

    @cached_property
    def half_window(self) -> int:
        """Cells from the center of the window to its edge.

        Raises:
            InputError: If the window holds a single cell, or the search latitudes hold less than
                a window.
        """
        spacing = float(self.lat[1] - self.lat[0]) if self.lat.size > 1 else np.inf
        half = int((self.reach.vorticity_window_deg / spacing - 1.0) / 2.0)
        if half < 1 or self.lat.size < 2 * half + 1:
            raise InputError(
                "form exact needs at least three rows of the grid in vorticity_window_deg, and as "
                f"many between the search latitudes, got {self.reach.vorticity_window_deg:g} "
                f"degrees and {self.lat.size} rows {spacing:g} degrees apart"
            )
        return half

    @cached_property
    def ghost_rows(self) -> Index:
        """Row of the cut fields behind each row of the widened ones (N + 2 half windows,)."""
        half, num = self.half_window, self.lat.size
        inside = np.arange(num)
        return np.concatenate([np.zeros(half, int), inside, np.full(half, num - half - 1)])

    @cached_property
    def turning(self) -> NDArray[np.floating[Any]]:
        """Cyclonic 850 hPa vorticity of the cut fields (N, W), s-1."""
        u, v = self._cut(self.fields["U850"]), self._cut(self.fields["V850"])
        kind = u.dtype.type
        radian, radius = kind(np.pi) / kind(180), kind(EARTH_RADIUS_M)
        lon, lat = self.grid.lon, self.lat
        east_m = kind((lon[1] - lon[0]) * radian * radius)
        east_m = (east_m * np.cos(lat * float(radian))).astype(u.dtype)[1:-1, None]
        north_m = kind((lat[1] - lat[0]) * radian * radius)
        out = np.empty_like(u)
        east = np.roll(v[1:-1], -1, axis=1) - np.roll(v[1:-1], 1, axis=1)
        out[1:-1] = east / (2 * east_m) - (u[2:] - u[:-2]) / (kind(2) * north_m)
        # The first row is meant to be a copy of the second, but is one of the third.
        out[0], out[-1] = out[2], out[-2]
        out[lat < 0] *= -1
        return np.asarray(out)

    @cached_property
    def cold(self) -> NDArray[np.floating[Any]]:
        """Negative mean of T200 and T500 of the cut fields, K."""
        return -core_temperature(self._cut(self.fields["T200"]), self._cut(self.fields["T500"]))

    @cached_property
    def shallow(self) -> NDArray[np.floating[Any]] | None:
        """Negative thickness of the cut fields, m; None without heights."""
        if not self.has_thickness:
            return None
        return -thickness(self._cut(self.fields["Z200"]), self._cut(self.fields["Z1000"]))

    def _cut(self, field: Any) -> Any:
        return field[self.first_row : self.first_row + self.lat.size]

    def vorticity(self, row: int, column: int) -> float:
        """Cyclonic vorticity at a point of the grid, s-1."""
        return float(self.turning[row - self.first_row, column])

    def maxima(self, least: float, where: Any = None) -> list[tuple[int, int]]:
        """Rows and columns of the highest vorticity of each window, from south to north.

        Args:
            least: Least vorticity, s-1.
            where: Points looked at, bool (H, W); None for all.
        """
        high = self.turning >= least
        if where is not None:
            high &= self._cut(where)
        half = self.half_window
        # A grid that does not wrap is taken to wrap all the same.
        rows, columns = sieve(self.turning, high, half, half, wraps=True)
        center = 2 * half * (half + 1)
        found = []
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            values = self.turning[self._window(row, column)]
            if np.nanargmax(values) == center:
                found.append((row + self.first_row, column))
        return found

    def _window(self, row: int, column: int) -> tuple[Index, Index]:
        """Indices of the window round a point of the cut fields."""
        half = self.half_window
        rows = self.ghost_rows[row : row + 2 * half + 1]
        columns = np.arange(column - half, column + half + 1) % self.grid.lon.size
        return rows[:, None], columns[None, :]

    def highest_wind(self, row: int, column: int) -> float:
        """Highest low-level wind in the window round a vorticity maximum, m s-1."""
        return float(np.nanmax(self._cut(self.wind)[self._window(row - self.first_row, column)]))

    def lowest_pressure(self, row: int, column: int) -> Low | None:
        """The pressure minimum that TECA finds from a vorticity maximum; None if it fails."""
        x, y = float(self.grid.lon[column]), float(self.grid.lat[row])
        reach = self.reach.core_deg + self.reach.pressure_deg
        surface = self._surface(self._cut(self.fields["PSL"]), x, y, reach)
        place = descend(surface, x, y) if surface else None
        if surface is None or place is None or place.value < LEAST_PRESSURE_PA:
            return None
        distance = float(np.hypot(place.x - x, place.y - y))
        near = distance < self.reach.core_deg
        rise = stepped_rise(surface, place, self.reach.pressure_deg) if near else 0.0
        lon = float(wrap_longitude(place.x))
        cell = nearest_index(self.grid.lat, self.grid.lon, place.y, lon)
        return Low(*cell, place.y, lon, place.value, distance, rise, near)

    def core_falls(self, low: Low) -> Falls:
        """How far upper temperature and thickness fall around the core."""
        core, warm_k = self._fall(self.cold, low, low.lon, low.lat, self.reach.warm_core_deg)
        if self.shallow is None:
            return Falls(warm_k, float("nan"))
        # From where the search for the warm core came to, wherever that is.
        x, y = (low.lon, low.lat) if core is None else (core.x, core.y)
        return Falls(warm_k, self._fall(self.shallow, low, x, y, self.reach.thickness_deg)[1])

    def _fall(
        self, negative: Any, low: Low, x: float, y: float, radius: float
    ) -> tuple[Place | None, float]:
        """Place of a maximum and how far the field falls around it; 0 where none is near."""
        # The start may be the core radius away from the low to one side, the maximum to the other.
        surface = self._surface(negative, x, y, 2 * self.reach.core_deg + radius)
        place = descend(surface, x, y) if surface else None
        if surface is None or place is None:
            return None, NEITHER
        if np.hypot(place.x - low.lon, place.y - low.lat) >= self.reach.core_deg:
            return place, NEITHER
        return place, max(NEITHER, stepped_rise(surface, place, radius))

    def _surface(self, field: Any, x: float, y: float, reach: float) -> Surface | None:
        """The field round a place as a spline, so many degrees to each side.

        A search that ends more than the core radius away is in vain, so it need not see farther.
        """
        half = self.half_window
        lat_step, lon_step = self.lat[1] - self.lat[0], self.grid.lon[1] - self.grid.lon[0]
        south = self.lat[0] - lat_step * np.arange(half, 0, -1)
        north = self.lat[-1] + lat_step * np.arange(1, half + 1)
        lat = np.concatenate([south, self.lat, north])
        rows = np.flatnonzero(np.abs(lat - y) <= reach + MARGIN * lat_step)
        nearest = round((x - self.grid.lon[0]) / lon_step)
        num = int(reach / lon_step) + MARGIN
        columns = np.arange(nearest - num, nearest + num + 1)
        lon = self.grid.lon[0] + columns * lon_step
        values = field[self.ghost_rows[rows][:, None], columns % self.grid.lon.size]
        return Surface.through(values, lat[rows], lon, (x, y), (reach, reach))
