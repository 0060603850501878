"""How strongly a closed contour holds a minimum, as TempestExtremes has it.

A minimum has a closed contour of some strength within a radius if every walk from it to a cell
farther than the radius meets a cell that is higher by that strength (Ullrich and Zarzycki 2017,
Geosci. Model Dev. 10, 1069, section 2.6; Ullrich et al. 2021, Geosci. Model Dev. 14, 5023).
TempestExtremes answers with yes or no; here the strength itself is found, the lowest of the
highest steps of all such walks. It is one of the differences of single-precision values that
TempestExtremes compares with its threshold in double precision, so that `strength >= threshold`
is its very answer. A cell without value stops no walk.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.tempest_disc import Disc
from exastorm.labels.cyclones.tempest_grid import Places, TempestGrid, Values
from exastorm.linking.pointers import angle_deg


def has_easy_way_out(
    values: Values, grid: TempestGrid, places: Places, radius_deg: float, threshold: float
) -> NDArray[np.bool_]:
    """Whether a walk straight north, south, east or west leaves the radius below a threshold.

    A quick look at all places (2, N) at once: where True there is no closed contour; where False
    there may be one.
    """
    easy = np.zeros(places.shape[1], dtype=bool)
    high = in_single(threshold)
    for along in (_north_south, _east_west):
        left = np.flatnonzero(~easy)
        for part in np.array_split(left, 1 + left.size // 4096):
            easy[part] = along(values, grid, places[:, part], radius_deg, high)
    return easy


def _north_south(
    values: Values, grid: TempestGrid, places: Places, radius_deg: float, high: np.float32
) -> NDArray[np.bool_]:
    """Whether a walk along the meridian leaves the radius."""
    (rows, columns), num_rows = places, values.shape[0]
    level = values[rows, columns]
    num = min(num_rows, int(radius_deg / np.degrees(np.diff(grid.lat).min())) + 2)
    easy = np.zeros(rows.size, dtype=bool)
    for sign in (-1, 1):
        path = rows[:, None] + sign * np.arange(1, num + 1)
        # A walk that ends at a pole, or at the edge of the grid, has not left.
        leaves = (path[:, -1] >= 0) & (path[:, -1] < num_rows)
        met = values[np.clip(path, 0, num_rows - 1), columns[:, None]]
        easy |= leaves & ~np.any(met - level[:, None] >= high, axis=1)
    return easy


def _east_west(
    values: Values, grid: TempestGrid, places: Places, radius_deg: float, high: np.float32
) -> NDArray[np.bool_]:
    """Whether a walk along the parallel leaves the radius; not looked at close to the poles."""
    (rows, columns), num_lon = places, values.shape[1]
    if not grid.wraps:
        return np.zeros(rows.size, dtype=bool)
    level = values[rows, columns]
    reach = np.sin(np.radians(radius_deg)) / np.maximum(grid.cos_lat[rows], 1e-12)
    half = np.arcsin(np.minimum(reach, 1.0)) / (2.0 * np.pi / num_lon) + 2
    # At 60 degrees the walk is twice as long as on the equator.
    num = min(num_lon, int(2.0 * radius_deg * num_lon / 360.0) + 4)
    inside = np.arange(1, num + 1) <= half[:, None]
    easy = np.zeros(rows.size, dtype=bool)
    for sign in (-1, 1):
        path = (columns[:, None] + sign * np.arange(1, num + 1)) % num_lon
        met = values[rows[:, None], path] - level[:, None]
        easy |= (reach < 1.0) & (half <= num) & ~np.any(inside & (met >= high), axis=1)
    return easy


def in_single(threshold: float) -> np.float32:
    """The least single-precision number that is not below a threshold in double precision.

    `x >= in_single(t)` for x in single precision is what `x >= t` is in C, where x is widened.
    """
    rounded = np.float32(threshold)
    return rounded if float(rounded) >= threshold else np.nextafter(rounded, np.float32(np.inf))


def lowest_near(
    values: Values, grid: TempestGrid, place: tuple[int, int], search_deg: float
) -> tuple[int, int]:
    """Row and column of the lowest value within a distance, of equal ones the first met."""
    if search_deg == 0.0:
        return place
    disc = grid.disc(place, search_deg, angle_deg)
    window = np.where(disc.searched(), disc.window(values), np.float32(np.nan))
    if np.isnan(window).all():
        return place
    lowest = window == np.nanmin(window)
    inside = (
        disc.origin
        if lowest[disc.origin]
        else divmod(int(lowest.argmax()), lowest.shape[1])
        if np.count_nonzero(lowest) == 1
        else disc.first_met(lowest)
    )
    columns = disc.columns
    column = columns.start + inside[1] if isinstance(columns, slice) else columns[inside[1]]
    return disc.rows.start + inside[0], int(column)


def one_of_a_pole(values: Values, grid: TempestGrid, place: tuple[int, int]) -> tuple[int, int]:
    """The same place for all points on a pole, where they have the same value; else the place.

    They are one point, and walks from one to the other climb nothing: what holds one holds all.
    """
    row, column = place
    if grid.cos_lat[row] < 1e-12 and np.all(values[row] == values[row, 0]):
        return row, 0
    return row, column


def highest_value(values: NDArray[Any], disc: Disc) -> float:
    """Highest value (H', W') in a disc, missing ones left out; NaN where all are missing."""
    return float(np.fmax.reduce(values[disc.searched()], initial=np.nan))


class Climb:
    """The walks from one point of a field to beyond a radius.

    Attributes:
        rise: How much higher than the point each cell of the window is (H', W'), single
            precision; minus infinity where it has no value.
    """

    def __init__(
        self, values: Values, grid: TempestGrid, place: tuple[int, int], radius_deg: float
    ) -> None:
        self._disc = grid.disc(place, radius_deg)
        window = self._disc.window(values)
        self._level = window[self._disc.origin]
        rise = window - self._level
        self.rise = np.where(np.isnan(rise), np.float32(-np.inf), rise)
        self.rise[self._disc.origin] = 0.0

    def is_closed(self, strength: float) -> bool:
        """Whether every walk meets a cell that is higher by a strength, which must be positive."""
        return not self._disc.leads_out(self._disc.near & (self.rise < in_single(strength)))

    def strength(self, at_least: float = 0.0) -> float:
        """The greatest strength for which `is_closed`; infinite where no walk leads out.

        NaN where the point has no value.

        Args:
            at_least: A strength already known to be closed.
        """
        if np.isnan(self._level):
            return float("nan")
        rise, near = self.rise, self._disc.near
        straight = self._straight_way_out()
        steps = np.unique(rise[near & (rise >= in_single(at_least)) & (rise <= straight)])
        low, high = 0, steps.size
        while low < high:
            middle = (low + high) // 2
            if self._disc.leads_out(near & (rise <= steps[middle])):
                high = middle
            else:
                low = middle + 1
        return float(steps[low]) if low < steps.size else float("inf")

    def _straight_way_out(self) -> np.float32:
        """The highest step of the easiest walk straight north, south, east or west.

        No closed contour is stronger; infinite where none of the four leaves.
        """
        row, column = self._disc.origin
        near, rise = self._disc.near, self.rise
        easiest = np.float32(np.inf)
        ways: list[Any] = [(slice(row, None), column), (slice(row, None, -1), column)]
        if not self._disc.is_wall(column):
            ways += [(row, slice(column, None)), (row, slice(column, None, -1))]
        for walk in ways:
            inside = near[walk]
            if not inside[-1]:
                easiest = min(easiest, rise[walk][inside].max())
        return easiest
