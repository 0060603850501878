"""What TECA's criteria ask of one snapshot, in either form of the rule set."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.low_wind import low_wind
from exastorm.labels.rule_sets import Fields
from exastorm.physics.surroundings import Surroundings

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
class TecaSearch(ABC):
    """A search in one snapshot.

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
    def wind(self) -> NDArray[np.floating[Any]]:
        """Low-level wind (H, W), m s-1."""
        return low_wind(self.fields, "lowest", convert=self.convert_wind)

    @property
    def has_thickness(self) -> bool:
        """Whether there are heights to make the thickness of."""
        return {"Z200", "Z1000"} <= set(self.fields)

    @abstractmethod
    def maxima(self, least: float, where: Any = None) -> list[tuple[int, int]]:
        """Rows and columns of the maxima of cyclonic vorticity.

        Args:
            least: Least vorticity, s-1.
            where: Points looked at, bool (H, W); None for all within the search latitudes.
        """

    @abstractmethod
    def vorticity(self, row: int, column: int) -> float:
        """Cyclonic 850 hPa vorticity at a point of the grid, s-1."""

    @abstractmethod
    def highest_wind(self, row: int, column: int) -> float:
        """Highest low-level wind in the window of a vorticity maximum, m s-1."""

    @abstractmethod
    def lowest_pressure(self, row: int, column: int) -> Low | None:
        """The pressure minimum of a vorticity maximum; None where the search fails."""

    @abstractmethod
    def core_falls(self, low: Low) -> Falls:
        """How far upper temperature and thickness fall around the core."""
