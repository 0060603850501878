"""Points that point to the nearest one of the next time, and the tracks along these pointers.

This is how TempestExtremes' StitchNodes links (Ullrich et al. 2021, Geosci. Model Dev. 14, 5023).
Every point points to the nearest point of the next time that has any within reach; times without
are passed over, up to the longest gap. Tracks follow the pointers from the earliest point on. Where
two points point to the same one, the track begun first goes on from it and the other ends there.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Pointers = NDArray[np.int64]

SECOND = 1.0 / 3600.0
"""Hours; times in hours since the first snapshot are compared to within a second."""


def angle_deg(cosine: float) -> float:
    """Angle of a cosine, degrees, rounded as StitchNodes rounds it."""
    return math.acos(cosine) * 180.0 / math.pi


class Positions:
    """Where the points are, to the six decimals that DetectNodes writes.

    Attributes:
        vectors: Unit vectors (N, 3).
    """

    def __init__(self, lat: FloatArray, lon: FloatArray) -> None:
        self._lat, self._lon = (
            [float(f"{value:.6f}") * math.pi / 180.0 for value in values.tolist()]
            for values in (lat, lon)
        )
        self.vectors = np.array(
            [
                (math.cos(x) * math.cos(y), math.sin(x) * math.cos(y), math.sin(y))
                for y, x in zip(self._lat, self._lon, strict=True)
            ]
        ).reshape(-1, 3)

    def distance_deg(self, one: int, other: int) -> float:
        """Great-circle distance between two points, degrees."""
        lat1, lat2 = self._lat[one], self._lat[other]
        cosine = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(
            self._lon[other] - self._lon[one]
        )
        return angle_deg(min(1.0, max(-1.0, cosine)))

    def nearest(self, one: int, first: int, last: int) -> int:
        """Of the points from `first` up to `last` the nearest to another one."""
        x, y, z = (self.vectors[first:last] - self.vectors[one]).T
        squares = x * x + y * y + z * z
        tied = np.flatnonzero(squares == squares.min())
        if tied.size == 1 or tied[0] == 0:
            return first + int(tied[0])
        ties = set(tied.tolist())
        order = _search_order(self.vectors[first:last], self.vectors[one], list(range(x.size)), 0)
        return first + next(number for number in order if number in ties)


def _search_order(points: Any, place: Any, members: list[int], axis: int) -> Iterator[int]:
    """The order in which a k-d tree, filled one point after the other, is searched from a place.

    Only the first of equally near points counts, and the root before all.
    """
    if not members:
        return
    root, *others = members
    split = points[root, axis]
    low = [n for n in others if points[n, axis] < split]
    high = [n for n in others if not points[n, axis] < split]
    nearer, farther = (low, high) if place[axis] <= split else (high, low)
    yield from _search_order(points, place, nearer, (axis + 1) % 3)
    yield root
    yield from _search_order(points, place, farther, (axis + 1) % 3)


def nearest_later(
    hours: FloatArray,
    steps: NDArray[np.int64],
    positions: Positions,
    *,
    range_deg: float,
    max_gap_hours: float,
) -> Pointers:
    """Which point each one points to (N,), -1 of those that point to none.

    Args:
        hours: Hours of all times (T,).
        steps: Number of the time of each point (N,), ascending.
        positions: Where the points are.
        range_deg: Farthest next point, degrees of a great circle.
        max_gap_hours: Longest time to the next point, h.
    """
    starts = np.searchsorted(steps, np.arange(hours.size + 1)).tolist()
    pointers = np.full(steps.size, -1, dtype=np.int64)
    for one, step in enumerate(steps.tolist()):
        for later in range(step + 1, hours.size):
            if hours[later] - hours[step] > max_gap_hours + SECOND:
                break
            if starts[later] == starts[later + 1]:
                continue
            nearest = positions.nearest(one, starts[later], starts[later + 1])
            if positions.distance_deg(one, nearest) <= range_deg:
                pointers[one] = nearest
                break
    return pointers


def follow(pointers: Pointers) -> list[NDArray[np.intp]]:
    """Tracks along the pointers, each pointer used once, from the earliest point on."""
    left = pointers.tolist()
    tracks = []
    for start in range(len(left)):
        track, point = [start], start
        while left[point] >= 0:
            following = left[point]
            left[point], point = -1, following
            track.append(point)
        if len(track) > 1:
            tracks.append(np.array(track, dtype=np.intp))
    return tracks


def track_numbers(tracks: list[NDArray[np.intp]], num: int) -> NDArray[np.int64]:
    """The track that each of so many points belongs to, -1 of those in none.

    A last point that tracks share belongs to the one that goes on from it, else to the first.
    """
    numbers = np.full(num, -1, dtype=np.int64)
    for number, track in enumerate(tracks):
        numbers[track[:-1]] = number
    for number, track in enumerate(tracks):
        if numbers[track[-1]] < 0:
            numbers[track[-1]] = number
    return numbers
