"""Minima of a field, and how strongly a closed contour holds them, as TempestExtremes has it.

A minimum has a closed contour of some strength within a radius if every walk from it to a cell
farther than the radius meets a cell that is higher by that strength (Ullrich and Zarzycki 2017,
Geosci. Model Dev. 10, 1069, section 2.6; Ullrich et al. 2021, Geosci. Model Dev. 14, 5023).
TempestExtremes answers with yes or no; here the strength itself is found, the lowest of the
highest steps of all such walks. It is one of the differences of single-precision values that
TempestExtremes compares with its threshold in double precision, so that `strength >= threshold`
is its very answer. A cell without value stops no walk.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from exastorm.labels.cyclones.tempest_grid import Disc, FloatArray, TempestGrid, search_distance_deg

Values = NDArray[np.float32]
Places = NDArray[np.intp]


class ClosedContour(NamedTuple):
    """What a closed-contour test asks.

    Attributes:
        radius_deg: How far out the contour may lie, degrees.
        search_deg: The walk begins at the lowest value within this distance, degrees; 0 for the
            point itself.
    """

    radius_deg: float
    search_deg: float = 0.0


def local_minima(values: Values, wraps: bool) -> Places:
    """Rows and columns (2, N) of the cells that no cell touching them over an edge is lower than.

    A plateau gives all its cells. In the first and the last column of a grid that does not wrap,
    only the cells north and south count, as in TempestExtremes.

    Args:
        values: Field (H, W); missing values are no minima and make no other cell one less.
        wraps: Whether the last column touches the first.
    """
    beaten = np.empty(values.shape, dtype=bool)
    beaten[:, :-1] = values[:, 1:] < values[:, :-1]
    beaten[:, -1] = values[:, 0] < values[:, -1]
    beaten[:, 1:] |= values[:, :-1] < values[:, 1:]
    beaten[:, 0] |= values[:, -1] < values[:, 0]
    if not wraps:
        beaten[:, [0, -1]] = False
    beaten[:-1] |= values[1:] < values[:-1]
    beaten[1:] |= values[:-1] < values[1:]
    found = np.flatnonzero(~beaten)
    found = found[~np.isnan(values.ravel()[found])]
    return np.stack(np.divmod(found, values.shape[1])).astype(np.intp)


def merge_minima(
    values: Values, grid: TempestGrid, minima: Places, merge_deg: float, *, merge_equal: bool
) -> Places:
    """The minima (2, N) that have no lower one within a distance.

    Lower minima count whether or not they are kept themselves. Of equal ones all are kept, unless
    `merge_equal`, which keeps the first from the south-west.

    Args:
        values: Field (H, W).
        grid: Its grid.
        minima: Rows and columns (2, M), in the order of rows.
        merge_deg: Distance, degrees; 0 keeps all.
        merge_equal: Whether equal minima merge (DetectNodes --mergeequal).
    """
    if merge_deg == 0.0 or minima.shape[1] == 0:
        return minima
    depth = values[minima[0], minima[1]]
    vectors = grid.vectors(*minima)
    keep = _not_surely_merged(grid, minima, vectors, depth, merge_deg)
    left = np.flatnonzero(keep)
    chord = 2.0 * np.sin(0.5 * merge_deg / 180.0 * np.pi)
    # A little wider than asked for: which pairs count is decided below, by the sum of squares.
    pairs = cKDTree(vectors[:, left].T).sparse_distance_matrix(
        cKDTree(vectors.T), chord * (1.0 + 1e-9), output_type="ndarray"
    )
    one, other = left[pairs["i"]], pairs["j"]
    x, y, z = vectors[:, one] - vectors[:, other]
    near = x * x + y * y + z * z <= chord * chord
    one, other = one[near], other[near]
    keep[one[depth[other] < depth[one]]] = False
    if merge_equal:
        equal = (depth[one] == depth[other]) & (other < one)
        order = np.lexsort((other[equal], one[equal]))
        for later, earlier in zip(one[equal][order], other[equal][order], strict=True):
            keep[later] &= not keep[earlier]
    return minima[:, keep]


def _not_surely_merged(
    grid: TempestGrid, minima: Places, vectors: FloatArray, depth: Values, merge_deg: float
) -> NDArray[np.bool_]:
    """Which minima (N,) a quick look leaves: most have a lower one close by.

    Each is compared with the lowest of its box, a box being less across than `merge_deg`, then
    with the lowest ones of all boxes.
    """
    side = np.radians(0.5 * merge_deg)
    lat, lon = grid.lat[minima[0]], grid.lon[minima[1]]
    band = np.floor((lat + 0.5 * np.pi) / side).astype(np.int64)
    south = band * side - 0.5 * np.pi
    nearest_equator = np.maximum(0.0, np.maximum(south, -(south + side)))
    num_boxes = np.ceil(2.0 * np.pi * np.cos(nearest_equator) / side)
    box = np.floor(lon / (2.0 * np.pi) * num_boxes).astype(np.int64) + band * 100_000
    order = np.lexsort((depth, box))
    heads = np.append(True, np.diff(box[order]) > 0)
    lowest = order[heads][np.cumsum(heads) - 1]
    keep = np.empty(depth.size, dtype=bool)
    keep[order] = depth[order] == depth[lowest]
    left, lowest = np.flatnonzero(keep), order[heads]
    near = vectors[:, left].T @ vectors[:, lowest] >= np.cos(np.radians(merge_deg)) + 1e-9
    keep[left] = ~np.any(near & (depth[lowest] < depth[left][:, None]), axis=1)
    return keep


def nearest_lower_deg(values: Values, grid: TempestGrid, minima: Places) -> FloatArray:
    """Distance from each minimum (2, N) to the nearest lower one, degrees; infinite for the lowest."""
    vectors = grid.vectors(*minima)
    depth = values[minima[0], minima[1]]
    nearest = np.full(depth.size, np.inf)
    for n in range(depth.size):
        lower = depth < depth[n]
        if lower.any():
            nearest[n] = np.degrees(
                np.arccos(np.clip((vectors[:, n] @ vectors[:, lower]).max(), -1, 1))
            )
    return nearest


def has_easy_way_out(
    values: Values, grid: TempestGrid, places: Places, radius_deg: float, threshold: float
) -> NDArray[np.bool_]:
    """Whether a walk straight north, south, east or west leaves the radius below a threshold.

    A quick look at all places (2, N) at once: where True there is no closed contour; where False
    there may be one.
    """
    rows, columns = places
    level = values[rows, columns]
    num = min(values.shape[0], int(radius_deg / np.degrees(np.diff(grid.lat).min())) + 2)
    easy = np.zeros(rows.size, dtype=bool)
    for sign in (-1, 1):
        path = rows[:, None] + sign * np.arange(1, num + 1)
        # A walk that ends at a pole, or at the edge of the grid, has not left.
        leaves = (path[:, -1] >= 0) & (path[:, -1] < values.shape[0])
        met = values[np.clip(path, 0, values.shape[0] - 1), columns[:, None]]
        easy |= leaves & ~np.any(met - level[:, None] >= threshold, axis=1)
    if not grid.wraps:
        return easy
    step = 2.0 * np.pi / grid.lon.size
    reach = np.sin(np.radians(radius_deg)) / np.maximum(grid.cos_lat[rows], 1e-12)
    half = np.where(reach < 1.0, np.arcsin(np.minimum(reach, 1.0)) / step, np.inf) + 2
    # Near the poles a parallel is a long way: those places are left to the walk itself.
    num = int(min(4 * num, grid.lon.size))
    inside = np.arange(1, num + 1) <= half[:, None]
    for sign in (-1, 1):
        path = (columns[:, None] + sign * np.arange(1, num + 1)) % grid.lon.size
        high = inside & (values[rows[:, None], path] - level[:, None] >= threshold)
        easy |= (half <= num) & ~high.any(axis=1)
    return easy


def lowest_near(
    values: Values, grid: TempestGrid, place: tuple[int, int], search_deg: float
) -> tuple[int, int]:
    """Row and column of the lowest value within a distance; of equal ones the first met going out."""
    if search_deg == 0.0:
        return place
    disc = grid.disc(place, search_deg, search_distance_deg)
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
        self, values: Values, grid: TempestGrid, place: tuple[int, int], contour: ClosedContour
    ) -> None:
        start = lowest_near(values, grid, place, contour.search_deg)
        self._disc = grid.disc(start, contour.radius_deg)
        window = self._disc.window(values)
        self._level = window[self._disc.origin]
        rise = window - self._level
        self.rise = np.where(np.isnan(rise), np.float32(-np.inf), rise)
        self.rise[self._disc.origin] = 0.0

    def is_closed(self, strength: float) -> bool:
        """Whether every walk meets a cell that is higher by a strength, which must be positive."""
        return not self._escapes(self._disc.near & (self.rise < strength))

    def strength(self, at_least: float = 0.0) -> float:
        """The greatest strength for which `is_closed`; infinite where no walk leads out.

        NaN where the point has no value.

        Args:
            at_least: A strength already known to be closed.
        """
        if np.isnan(self._level):
            return float("nan")
        rise, near = self.rise, self._disc.near
        steps = np.unique(rise[near & (rise >= at_least)])
        steps = np.concatenate([[np.float32(0.0)], steps]) if at_least == 0.0 else steps
        low, high = 0, steps.size
        while low < high:
            middle = (low + high) // 2
            if self._escapes(near & (rise <= steps[middle])):
                high = middle
            else:
                low = middle + 1
        return float(steps[low]) if low < steps.size else float("inf")

    def _escapes(self, is_open: NDArray[np.bool_]) -> bool:
        """Whether a walk over open cells leads out."""
        return bool(np.any(self._disc.reached(is_open) & self._disc.exits))
