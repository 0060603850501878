"""Points of one time after the other get the identity of the storm they belong to.

The linker remembers only what a storm of the next time could still join, so memory does not grow
with the length of an archive. Identities are whole numbers from 0 in order of first appearance and
are never used again.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import great_circle_km

Identities = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """How far and how long apart two sightings of one storm may be."""

    max_speed_km_per_day: float = 1600.0
    """Fastest motion, km per day (TECA, teca_tc_trajectory max_daily_distance)."""
    position_error_km: float = 200.0
    """Added to the motion at every link, km: centers jump by grid cells and by 2 degrees between
    the pressure minima of one storm (TECA, max_core_radius 2.0 degrees, about 200 km)."""
    max_distance_km: float = 890.0
    """Longest link however long the gap, km: 8 degrees (TempestExtremes StitchNodes --range)."""
    max_gap_hours: float = 24.0
    """Longest time between two sightings of one storm, h (TempestExtremes StitchNodes --maxgap)."""

    def __post_init__(self) -> None:
        for name in ("max_speed_km_per_day", "max_distance_km", "max_gap_hours"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.position_error_km < 0:
            raise ValueError(
                f"position_error_km must not be negative, got {self.position_error_km}"
            )

    def reach_km(self, hours: Any) -> Any:
        """Longest link after so many hours, km."""
        moved = self.position_error_km + self.max_speed_km_per_day * np.asarray(hours) / 24.0
        return np.minimum(moved, self.max_distance_km)


class PointLinker:
    """Gives the points of one time after the other the identity of the storm they belong to.

    Greedy: of all pairs (storm, point) within reach the closest is linked first, each storm and
    each point at most once; a point left over begins a new storm. A storm not seen for longer
    than the allowed gap is forgotten.

    Attributes:
        num_storms: Number of identities given so far.
    """

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self.num_storms = 0
        self._settings = settings or LinkSettings()
        # One row a storm that may go on: identity, hour, latitude, longitude.
        self._open = np.empty((0, 4))
        self._last_hour = -math.inf

    def link(self, hour: float, lat: Any, lon: Any) -> Identities:
        """Identities (N,) of the points of one time.

        Args:
            hour: Time in hours since any fixed instant.
            lat: Latitudes (N,), degrees.
            lon: Longitudes (N,), degrees.

        Raises:
            ValueError: If the time does not come after the one before.
        """
        if not hour > self._last_hour:
            raise ValueError(f"hour must come after {self._last_hour:g}, got {hour:g}")
        self._last_hour = hour
        lat, lon = np.asarray(lat, dtype=float), np.asarray(lon, dtype=float)
        self._open = self._open[hour - self._open[:, 1] <= self._settings.max_gap_hours]
        ids = np.full(lat.size, -1, dtype=np.int64)
        for storm, point in self._closest_pairs(hour, lat, lon):
            ids[point] = int(self._open[storm, 0])
        fresh = ids < 0
        ids[fresh] = self.num_storms + np.arange(np.count_nonzero(fresh))
        self.num_storms += int(np.count_nonzero(fresh))
        unseen = self._open[~np.isin(self._open[:, 0], ids)]
        seen = np.column_stack([ids, np.full(lat.size, hour), lat, lon])
        self._open = np.concatenate([unseen, seen])
        return ids

    def _closest_pairs(self, hour: float, lat: Any, lon: Any) -> list[tuple[int, int]]:
        """Pairs (row of an open storm, point), closest first, each used once."""
        _, hours, storm_lat, storm_lon = self._open.T
        distance = great_circle_km(storm_lat[:, None], storm_lon[:, None], lat, lon)
        storms, points = np.nonzero(distance <= self._settings.reach_km(hour - hours)[:, None])
        order = np.argsort(distance[storms, points], kind="stable")
        pairs: list[tuple[int, int]] = []
        used_storms: set[int] = set()
        used_points: set[int] = set()
        for storm, point in zip(storms[order].tolist(), points[order].tolist(), strict=True):
            if storm not in used_storms and point not in used_points:
                used_storms.add(storm)
                used_points.add(point)
                pairs.append((storm, point))
        return pairs
