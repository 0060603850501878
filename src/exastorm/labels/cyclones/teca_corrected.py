"""What TECA's criteria ask of one snapshot, measured on the sphere.

All distances are along great circles, everything wraps in longitude, and both hemispheres and the
grid's own directions are treated alike. The pressure minimum is the lowest place within the core
radius of the vorticity maximum, if the pressure rises to all sides of it; it is placed between grid
points by a bicubic spline. A field rises by what it gains within the radius along the weakest
of eight great circles, so that a threshold of 400 Pa means 400 Pa.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import wrap_longitude
from exastorm.labels.cyclones.low_wind import low_wind
from exastorm.labels.cyclones.teca_shape import MARGIN, Surface, lowest_near
from exastorm.labels.rule_sets import Fields
from exastorm.physics.surroundings import Surroundings
from exastorm.physics.warm_core import core_temperature, thickness
from exastorm.physics.wind import vorticity

NEITHER = 0.0
"""Fall of a field where no maximum is near the center, or where values are missing."""


class TecaReach(NamedTuple):
    """How far each criterion looks; fields of `TecaRules`."""

    vorticity_window_deg: float
    core_deg: float
    pressure_deg: float
    warm_core_deg: float
    thickness_deg: float
    lowest_lat_deg: float
    highest_lat_deg: float


class Low(NamedTuple):
    """The pressure minimum that belongs to a vorticity maximum.

    Attributes:
        row: Row of the grid point nearest to it.
        column: Its column.
        lat: Latitude, degrees.
        lon: Longitude in [0, 360), degrees.
        pressure_pa: Pressure there.
        distance_deg: Distance from the vorticity maximum, degrees.
        rise_pa: Rise of pressure around it.
        near: Whether it is a minimum, and near enough.
    """

    row: int
    column: int
    lat: float
    lon: float
    pressure_pa: float
    distance_deg: float
    rise_pa: float
    near: bool


class Falls(NamedTuple):
    """How far two fields fall around the core.

    Attributes:
        warm_core_k: Fall of the mean of T200 and T500.
        thickness_m: Fall of Z200 - Z1000; NaN where the archive lacks them.
    """

    warm_core_k: float
    thickness_m: float


@dataclass(frozen=True, eq=False)
class CorrectedSearch:
    """TECA's criteria on the sphere, in one snapshot.

    Attributes:
        fields: The fields of the snapshot (H, W).
        grid: Their grid.
        reach: How far each criterion looks.
        convert_wind: Whether a wind of another height is converted.
    """

    fields: Fields
    grid: Surroundings
    reach: TecaReach
    convert_wind: bool

    @cached_property
    def turning(self) -> NDArray[np.floating[Any]]:
        """Cyclonic 850 hPa vorticity (H, W), s-1."""
        turning = vorticity(self.fields["U850"], self.fields["V850"], self.grid.lat, self.grid.lon)
        turning *= np.sign(self.grid.lat)[:, None].astype(turning.dtype)
        return turning

    @cached_property
    def wind(self) -> NDArray[np.floating[Any]]:
        """Low-level wind (H, W), m s-1."""
        return low_wind(self.fields, "lowest", convert=self.convert_wind)

    @cached_property
    def cold(self) -> NDArray[np.floating[Any]]:
        """Negative mean of T200 and T500 (H, W), K."""
        return -core_temperature(self.fields["T200"], self.fields["T500"])

    @cached_property
    def shallow(self) -> NDArray[np.floating[Any]] | None:
        """Negative thickness (H, W), m; None without heights."""
        if not {"Z200", "Z1000"} <= set(self.fields):
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
        rows, columns = np.nonzero((self.turning >= least) & where)
        values = self.turning[rows, columns]
        # Most cells fall to one that touches them; only the rest are compared with a whole disc.
        near = np.fmax.reduce(self.turning[self.grid.touching(rows, columns)], axis=1)
        peaks = np.flatnonzero(values >= near)
        peaks = peaks[np.argsort(-values[peaks], kind="stable")]
        radius = self.reach.vorticity_window_deg / 2
        return [
            (row, column)
            for row, column in zip(rows[peaks].tolist(), columns[peaks].tolist(), strict=True)
            if self.turning[row, column] >= self.grid.highest_value(self.turning, row, column, radius)
        ]

    def highest_wind(self, row: int, column: int) -> float:
        """Highest low-level wind within half a window of a vorticity maximum, m s-1."""
        return self.grid.highest_value(self.wind, row, column, self.reach.vorticity_window_deg / 2)

    def lowest_pressure(self, row: int, column: int) -> Low:
        """The lowest pressure near a vorticity maximum."""
        pressure = self.fields["PSL"]
        place = self._lowest(pressure, row, column)
        if place is None:
            lat, lon = float(self.grid.lat[row]), float(self.grid.lon[column])
            value = float(pressure[row, column])
            return Low(row, column, lat, lon, value, float("nan"), 0.0, False)
        lat, lon, value = self._between(pressure, place)
        distance = self.grid.distance_deg((row, column), place)
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
        touching = field[self.grid.touching(*place)]
        return place if np.all(touching >= field[place]) else None

    def _between(self, field: Any, place: tuple[int, int]) -> tuple[float, float, float]:
        """Latitude, longitude and value of a minimum between grid points.

        The rows are taken poleward in both hemispheres, so that mirrored fields give mirrored
        places to the last digit.
        """
        row, column = place
        lat, lon, num_lon = self.grid.lat, self.grid.lon, self.grid.lon.size
        here = float(lat[row]), float(lon[column]), float(field[place])
        rows = np.arange(max(row - MARGIN, 0), min(row + MARGIN + 1, lat.size))
        offsets = np.arange(-MARGIN, MARGIN + 1)
        if not self.grid.wraps:
            offsets = offsets[(column + offsets >= 0) & (column + offsets < num_lon)]
        if min(rows.size, offsets.size) < 4 or row in (0, lat.size - 1):
            return here
        values = field[rows[:, None], (column + offsets) % num_lon]
        sign = -1.0 if here[0] < 0 else 1.0
        step = float(np.diff(lon).mean())
        order = slice(None, None, int(sign))
        poleward = (sign * (lat[rows] - lat[row]))[order]
        surface = Surface.through(values[order], poleward, offsets * step, (0.0, 0.0), (step, 90.0))
        if surface is None:
            return here
        half_row = 0.5 * float(min(lat[row + 1] - lat[row], lat[row] - lat[row - 1]))
        found = lowest_near(surface, 0.5 * step, half_row)
        return here[0] + sign * found.y, float(wrap_longitude(here[1] + found.x)), found.value
