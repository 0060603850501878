"""How many of many thresholds put each cell into a large region, counted at the cost of a few.

The regions of a higher threshold lie inside those of a lower one: what is too small for every
threshold at the lowest is dropped at once. Of the cells left only the ends of their runs along a
row are looked at, since whole runs touch or do not touch. And the level sets of all thresholds are
stacked like the pages of a book and labeled as one. The result is that of labeling the cells of
each threshold on their own.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Index = NDArray[np.intp]
FloatArray = NDArray[np.float64]

AREA_STEPS_PER_KM2 = 1024.0
"""Areas are rounded to multiples of 1/1024 km2, so that sums of them are exact and a region rolled
in longitude has the same area to the last bit."""


class Runs(NamedTuple):
    """Stretches of neighboring cells along a row.

    Places count through the rows, with one empty place after each, so that no run goes over its
    end; in a stack of pages they count on, with one empty row after each page.

    Attributes:
        start: Place of the first cell of each, ascending, (N,).
        stop: Place after the last cell, (N,).
    """

    start: Index
    stop: Index


class LevelSets:
    """Counts, for each cell, how often it lies above a threshold in a region of some area.

    Regions touch over edges and corners, and over the seam of a grid that wraps.
    """

    def __init__(self, cell_areas_km2: Any, *, wraps: bool) -> None:
        areas = np.asarray(cell_areas_km2, dtype=np.float64)
        self._num_rows, self._num_columns = areas.shape
        self._wraps = wraps
        exact = np.rint(areas * AREA_STEPS_PER_KM2) / AREA_STEPS_PER_KM2
        padded = np.pad(exact, ((0, 0), (0, 1)))
        # Area of all places before one: a difference of two is the area of a run.
        self._area_before = np.concatenate([[0.0], np.cumsum(padded)])
        self._changes = np.zeros(padded.size + 1, dtype=np.int32)
        self._width = self._num_columns + 1
        self._page = padded.size + self._width

    def add(self, field: Any, thresholds: Any, min_areas_km2: Any) -> None:
        """Count the regions of one field.

        Args:
            field: Values (H, W); missing ones are above no threshold.
            thresholds: Thresholds (M,) of the dtype of the field; a cell counts from there on.
            min_areas_km2: Least area (M,) of a region that counts, for each threshold.
        """
        order = np.argsort(thresholds, kind="stable")
        thresholds, least = np.asarray(thresholds)[order], np.asarray(min_areas_km2)[order]
        flat = np.asarray(field).ravel()
        places = np.flatnonzero(flat >= thresholds[0])
        values = flat[places]
        places = places + places // self._num_columns
        lowest = _runs(places)
        hopeful = self._region_areas([lowest])[0] >= least.min()
        keep = np.repeat(hopeful, lowest.stop - lowest.start)
        places, values = places[keep], values[keep]
        pages = []
        for threshold in thresholds:
            above = values >= threshold
            places, values = places[above], values[above]
            pages.append(_runs(places))
        for runs, area, enough in zip(pages, self._region_areas(pages), least, strict=True):
            large = area >= enough
            self._changes[runs.start[large]] += 1
            self._changes[runs.stop[large]] -= 1

    def counts(self) -> NDArray[np.int32]:
        """How often each cell was counted so far, (H, W)."""
        counted = np.cumsum(self._changes[:-1], dtype=np.int32)
        return counted.reshape(self._num_rows, -1)[:, :-1]

    def _region_areas(self, pages: list[Runs]) -> list[FloatArray]:
        """Area of the region that each run belongs to, (N,) for each page, km2."""
        area = [self._area_before[runs.stop] - self._area_before[runs.start] for runs in pages]
        stacked = Runs(
            np.concatenate([runs.start + n * self._page for n, runs in enumerate(pages)]),
            np.concatenate([runs.stop + n * self._page for n, runs in enumerate(pages)]),
        )
        first, second = self._touching(stacked)
        num = stacked.start.size
        graph = coo_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(num, num))
        _, region = connected_components(graph, directed=False)
        total = np.bincount(region, np.concatenate(area))[region]
        return np.split(total, np.cumsum([runs.start.size for runs in pages])[:-1])

    def _touching(self, runs: Runs) -> tuple[Index, Index]:
        """Pairs of runs that touch over an edge or a corner."""
        width = self._width
        # Of the next row: runs that end at or after the start of this one, and start at or before
        # its end, the place after its last cell.
        first = np.searchsorted(runs.stop, runs.start + width, side="left")
        beyond = np.searchsorted(runs.start, runs.stop + width, side="right")
        num = np.maximum(beyond - first, 0)
        lower = np.repeat(np.arange(num.size), num)
        upper = np.arange(lower.size) + np.repeat(first - (np.cumsum(num) - num), num)
        if not self._wraps:
            return lower, upper
        west, east = self._over_seam(runs)
        return np.concatenate([lower, west]), np.concatenate([upper, east])

    def _over_seam(self, runs: Runs) -> tuple[Index, Index]:
        """Pairs of a run that ends in the last column and one that starts in the first."""
        row, column = np.divmod(runs.start, self._width)
        # One row more at either end, so that every row has neighbors.
        starting = np.full(row.max(initial=0) + 3, -1, dtype=np.intp)
        begins = np.flatnonzero(column == 0)
        starting[row[begins] + 1] = begins
        ends = np.flatnonzero(runs.stop % self._width == self._num_columns)
        partners = np.stack([starting[row[ends] + shift] for shift in (0, 1, 2)])
        there = partners >= 0
        return np.broadcast_to(ends, partners.shape)[there], partners[there]


def _runs(places: Index) -> Runs:
    """Runs of ascending places."""
    breaks = np.diff(places, prepend=-2, append=np.iinfo(np.intp).max) != 1
    return Runs(places[breaks[:-1]], places[breaks[1:]] + 1)
