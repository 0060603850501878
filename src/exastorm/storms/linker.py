"""Which object of this time is which storm of the time before.

A cyclone moves by more than its own size in a few hours, so its centers are linked by distance and
speed; a river is long and drifts slowly beside its length, so it is linked by the area it shares.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.linking.overlaps import RegionLinker
from exastorm.linking.points import LinkSettings, PointLinker
from exastorm.variables import ATMOSPHERIC_RIVER, TROPICAL_CYCLONE


def hours_between(earlier: Any, later: Any) -> float:
    """Hours from one time to another, of cftime, numpy or pandas."""
    span = later - earlier
    if isinstance(span, np.timedelta64):
        return float(span / np.timedelta64(1, "h"))
    return float(span.total_seconds() / 3600.0)


class StormLinker:
    """Gives the objects of one time after the other the number of the storm they belong to.

    Fed in order of time; memory does not grow with the length of the archive.
    """

    def __init__(self, cell_areas_km2: NDArray[np.float64], settings: LinkSettings) -> None:
        self._cyclones = PointLinker(settings)
        self._rivers = RegionLinker(cell_areas_km2)
        self._max_gap_hours = settings.max_gap_hours
        self._origin: Any = None
        self._last_river_hour = -np.inf

    def link(
        self, flag: int, time: Any, labels: Any, center_lat: Any, center_lon: Any
    ) -> NDArray[np.int64]:
        """Storm numbers, from 1 in each class, of the objects of one class and time.

        Args:
            flag: Their class.
            time: Their time, after that of the call before for this class.
            labels: Their numbers from 1 on the grid (H, W).
            center_lat: Their centers' latitudes (N,), degrees.
            center_lon: Their centers' longitudes (N,), degrees.
        """
        self._origin = time if self._origin is None else self._origin
        hour = hours_between(self._origin, time)
        if flag == TROPICAL_CYCLONE:
            return self._cyclones.link(hour, center_lat, center_lon) + 1
        assert flag == ATMOSPHERIC_RIVER, flag
        if hour - self._last_river_hour > self._max_gap_hours:
            # Overlap with a river of long ago says nothing: forget it.
            self._rivers.link(np.zeros_like(labels), 0)
        self._last_river_hour = hour
        return self._rivers.link(labels, len(center_lat)) + 1
