"""The cells around a point, and the walks over them that TempestExtremes takes.

A walk steps from a cell to those that touch it over an edge, round the globe, but never over a
pole. On a grid that does not wrap, the first and the last column can be entered from beside, but
left only north and south.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from exastorm.regions import STRUCTURES

Mask = NDArray[np.bool_]

CROSS = STRUCTURES[4]
"""A cell and those that touch it."""


class Disc(NamedTuple):
    """The cells around a point that a walk within a radius can meet.

    Attributes:
        rows: Rows of the window.
        columns: Columns of the window (W',), wrapped.
        near: Which cells of the window lie within the radius, (H', W').
        exits: Those from which one step leads farther than the radius: their places in the
            flattened window (E,).
        origin: Row and column of the point in the window.
        ring: Whether the window goes round the globe.
        walls: Whether its first and its last column are edges of a grid that does not wrap.
    """

    rows: slice
    columns: slice | NDArray[np.intp]
    near: Mask
    exits: NDArray[np.intp]
    origin: tuple[int, int]
    ring: bool
    walls: tuple[bool, bool]

    def window(self, values: Any) -> NDArray[Any]:
        """A field (H, W) in the window (H', W')."""
        return np.asarray(values[self.rows, self.columns])

    def leads_out(self, is_open: Mask) -> bool:
        """Whether a walk over open cells (H', W') leads from the point to a cell that is far."""
        if any(self.walls):
            return bool(self._reached_between_walls(is_open).ravel()[self.exits].any())
        labels = ndimage.label(is_open, CROSS)[0]
        found = np.unique(labels.ravel()[self.exits])
        reached = {int(labels[self.origin])}
        if self.ring:
            reached = _over_the_seam(reached, labels[:, 0], labels[:, -1])
        return not reached.isdisjoint(found.tolist())

    def _reached_between_walls(self, is_open: Mask) -> Mask:
        """Cells a walk reaches that can enter an edge column, but leave it only at its ends."""
        walls = [column for column, wall in zip((0, -1), self.walls, strict=True) if wall]
        inside = is_open.copy()
        inside[:, walls] = False
        reached = np.zeros_like(is_open)
        if inside[self.origin]:
            labels = ndimage.label(inside, CROSS)[0]
            reached = labels == labels[self.origin]
        else:
            reached[self.origin] = True
        for column in walls:
            beside = reached[:, 1 if column == 0 else -2] | reached[:, column]
            runs = ndimage.label(is_open[:, column])[0]
            met = np.unique(runs[beside & is_open[:, column]])
            reached[:, column] = is_open[:, column] & np.isin(runs, met)
        return np.asarray(reached)

    def is_wall(self, column: int) -> bool:
        """Whether a column of the window is an edge of the grid, and leads only north and south."""
        last = column == self.near.shape[1] - 1
        return (column == 0 and self.walls[0]) or (last and self.walls[1])

    def searched(self) -> Mask:
        """Cells (H', W') that a search from the point covers: all near ones, but for the walls."""
        return self._reached_between_walls(self.near) if any(self.walls) else self.near

    def first_met(self, wanted: Mask) -> tuple[int, int]:
        """Of several cells of `near` the one that a search from the point meets first.

        Cells are met in the order of their steps from the point, each one's neighbors south,
        north, east, west.
        """
        num_rows, num_columns = self.near.shape
        queue, seen = deque([self.origin]), {self.origin}
        while queue:
            row, column = queue.popleft()
            if wanted[row, column]:
                return row, column
            steps = [(row - 1, column), (row + 1, column), (row, column + 1), (row, column - 1)]
            for i, j in steps[:2] if self.is_wall(column) else steps:
                j = j % num_columns if self.ring else j
                inside = 0 <= i < num_rows and 0 <= j < num_columns
                if inside and (i, j) not in seen and self.near[i, j]:
                    seen.add((i, j))
                    queue.append((i, j))
        raise AssertionError("no wanted cell can be reached")


def _over_the_seam(reached: set[int], west: NDArray[Any], east: NDArray[Any]) -> set[int]:
    """Labels that walks reach from some labels, if a window's first column touches its last."""
    both = (west > 0) & (east > 0)
    pairs = set(zip(west[both].tolist(), east[both].tolist(), strict=True))
    while True:
        touched = {label for pair in pairs if not reached.isdisjoint(pair) for label in pair}
        if touched <= reached:
            return reached
        reached = reached | touched
