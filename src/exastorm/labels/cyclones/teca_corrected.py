"""What TECA's criteria ask of one snapshot, measured on the sphere.

All distances are along great circles, everything wraps in longitude, and both hemispheres and the
grid's own directions are treated alike. The pressure minimum is the lowest place within the core
radius of the vorticity maximum, if the pressure rises to all sides of it; it is placed between
grid points (`exastorm.labels.cyclones.subgrid`). A field rises by what it gains within the radius
along the weakest of eight great circles, so that a threshold of 400 Pa means 400 Pa.
"""

from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.subgrid import subgrid_minimum
from exastorm.labels.cyclones.teca_peaks import sieve
from exastorm.labels.cyclones.teca_search import NEITHER, Falls, Low, TecaSearch
from exastorm.physics.surroundings import TOLERANCE_DEG
from exastorm.physics.warm_core import core_temperature, thickness
from exastorm.physics.wind import vorticity


class CorrectedSearch(TecaSearch):
    """TECA's criteria on the sphere."""

    @cached_property
    def turning(self) -> NDArray[np.floating[Any]]:
        """Cyclonic 850 hPa vorticity (H, W), s-1."""
        turning = vorticity(self.fields["U850"], self.fields["V850"], self.grid.lat, self.grid.lon)
        turning *= np.sign(self.grid.lat)[:, None].astype(turning.dtype)
        return turning

    @cached_property
    def cold(self) -> NDArray[np.floating[Any]]:
        """Negative mean of T200 and T500 (H, W), K."""
        return -core_temperature(self.fields["T200"], self.fields["T500"])

    @cached_property
    def shallow(self) -> NDArray[np.floating[Any]] | None:
        """Negative thickness (H, W), m; None without heights."""
        if not self.has_thickness:
            return None
        return -thickness(self.fields["Z200"], self.fields["Z1000"])

    def vorticity(self, row: int, column: int) -> float:
        """Cyclonic vorticity at a point of the grid, s-1."""
        return float(self.turning[row, column])

    def maxima(self, least: float, where: Any = None) -> list[tuple[int, int]]:
        """Rows and columns of vorticity exceeded nowhere within half a window, highest first.

        Args:
            least: Least vorticity, s-1.
            where: Points looked at, bool (H, W); None for all within the search latitudes.
        """
        if where is None:
            lat = self.grid.lat
            south, north = self.reach.lowest_lat_deg, self.reach.highest_lat_deg
            where = ((lat >= south) & (lat <= north))[:, None]
        looked_at = (self.turning >= least) & where
        # A box inside the disc at every latitude: degrees of longitude only get shorter poleward.
        inside = self._radius_deg / np.sqrt(2.0)
        half_rows = int(inside / np.diff(self.grid.lat).max())
        half_columns = int(inside / np.diff(self.grid.lon).max())
        box = max(half_rows, 1), max(half_columns, 1)
        rows, columns = sieve(self.turning, looked_at, *box, wraps=self.grid.wraps)
        order = np.argsort(-self.turning[rows, columns], kind="stable")
        found: list[tuple[int, int]] = []
        for place in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if self._is_highest(place, found):
                found.append(place)
        return found

    @property
    def _radius_deg(self) -> float:
        return self.reach.vorticity_window_deg / 2

    def _is_highest(self, place: tuple[int, int], found: list[tuple[int, int]]) -> bool:
        """Whether no vorticity in the disc round a point is higher; of equal ones one counts."""
        here = self.turning[place]
        rows, columns = self._box(place)
        higher = np.nonzero(self.turning[rows, columns] > here)
        if higher[0].size and self._any_near(place, (rows[higher[0], 0], columns[0, higher[1]])):
            return False
        # Highest first, so equal ones come last in what was found.
        equals = list(takewhile(lambda other: self.turning[other] == here, reversed(found)))
        return not equals or not self._any_near(place, np.array(equals).T)

    def _box(self, place: tuple[int, int]) -> tuple[Any, Any]:
        """Rows (N, 1) and columns (1, M) that hold the disc round a point."""
        row, column = place
        lat, num_lon = self.grid.lat, self.grid.lon.size
        radius = self._radius_deg + TOLERANCE_DEG
        first, last = np.searchsorted(lat, [lat[row] - radius, lat[row] + radius])
        sine = np.sin(np.deg2rad(radius)) / max(np.cos(np.deg2rad(lat[row])), 1e-6)
        half_deg = np.degrees(np.arcsin(sine)) if sine < 1 else 180.0
        half = min(int(half_deg / np.diff(self.grid.lon).min()) + 1, num_lon // 2)
        columns = column + np.arange(-half, half + 1)
        if self.grid.wraps:
            return np.arange(first, last)[:, None], (columns % num_lon)[None, :]
        columns = columns[(columns >= 0) & (columns < num_lon)]
        return np.arange(first, last)[:, None], columns[None, :]

    def _any_near(self, place: tuple[int, int], others: Any) -> bool:
        """Whether any of other points (rows, columns) lies in the disc round a point."""
        lat, lon = self.grid.lat, self.grid.lon
        km = great_circle_km(lat[place[0]], lon[place[1]], lat[others[0]], lon[others[1]])
        degrees = km / KM_PER_DEGREE
        return bool(np.any(degrees <= self._radius_deg + TOLERANCE_DEG))

    def highest_wind(self, row: int, column: int) -> float:
        """Highest low-level wind within half a window of a vorticity maximum, m s-1."""
        return self.grid.highest_value(self.wind, row, column, self._radius_deg)

    def lowest_pressure(self, row: int, column: int) -> Low:
        """The lowest pressure near a vorticity maximum."""
        pressure = self.fields["PSL"]
        place = self._lowest(pressure, row, column)
        if place is None:
            lat, lon = float(self.grid.lat[row]), float(self.grid.lon[column])
            value = float(pressure[row, column])
            return Low(row, column, lat, lon, value, float("nan"), 0.0, False)
        lat, lon, value = subgrid_minimum(pressure, self.grid, *place)
        here, there = (self.grid.lat[row], self.grid.lon[column]), (lat, lon)
        distance = float(great_circle_km(*here, *there) / KM_PER_DEGREE)
        rise = self.grid.weakest_rise(pressure, *place, self.reach.pressure_deg)
        return Low(*place, lat, lon, value, distance, rise, True)

    def core_falls(self, low: Low) -> Falls:
        """How far upper temperature and thickness fall around the core."""
        warm_k = self._fall(self.cold, low, self.reach.warm_core_deg)
        if self.shallow is None:
            return Falls(warm_k, float("nan"))
        return Falls(warm_k, self._fall(self.shallow, low, self.reach.thickness_deg))

    def _fall(self, negative: Any, low: Low, radius: float) -> float:
        place = self._lowest(negative, low.row, low.column)
        if place is None:
            return NEITHER
        fall = self.grid.weakest_rise(negative, *place, radius)
        return fall if fall > NEITHER else NEITHER

    def _lowest(self, field: Any, row: int, column: int) -> tuple[int, int] | None:
        """The lowest point within the core radius; None if the field goes on falling beyond."""
        place = self.grid.lowest_within(field, row, column, self.reach.core_deg)
        # A missing value beside it is none that is lower.
        lower = field[self.grid.touching(*place)] < field[place]
        return None if np.any(lower) else place
