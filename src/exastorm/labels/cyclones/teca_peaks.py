"""A sieve for the highest vorticity of each window, so that few whole windows need a look.

Where low thresholds leave tens of thousands of points, most of them fall to a point that touches
them, most of the others to one of a few points spread over the window. Only what is left is held
against every point of the window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]

SPREAD = 7
"""Points to a side of the coarse sample of a window; any number gives the same result."""


def sieve(
    field: Any, looked_at: Any, half_rows: int, half_columns: int, *, wraps: bool
) -> tuple[Index, Index]:
    """Points that no point of a box of cells round them exceeds, row by row.

    Args:
        field: Values (H, W); missing ones exceed nothing.
        looked_at: Which points are asked for, bool (H, W).
        half_rows: Cells from the center of the box to its northern and southern edge.
        half_columns: Cells to its eastern and western edge.
        wraps: Whether the first column follows the last. Beyond other edges there is nothing.

    Returns:
        Rows and columns (N,).
    """
    rows, columns = np.nonzero(looked_at)
    for stencil in (
        (np.arange(-1, 2), np.arange(-1, 2)),
        (_spread(half_rows), _spread(half_columns)),
        (np.arange(-half_rows, half_rows + 1), np.arange(-half_columns, half_columns + 1)),
    ):
        highest = _not_exceeded(field, rows, columns, stencil, wraps=wraps)
        rows, columns = rows[highest], columns[highest]
    return rows, columns


def _spread(half: int) -> Index:
    """A few cells evenly spread from one edge of a box to the other."""
    return np.unique(np.linspace(-half, half, SPREAD).round().astype(np.intp))


def _not_exceeded(
    field: Any, rows: Index, columns: Index, stencil: tuple[Index, Index], *, wraps: bool
) -> NDArray[np.bool_]:
    """Which points (N,) no point of a stencil round them exceeds."""
    num_lat, num_lon = field.shape
    values = field[rows, columns]
    highest = np.ones(rows.size, dtype=bool)
    beside = columns[:, None] + stencil[1]
    beside = beside % num_lon if wraps else np.clip(beside, 0, num_lon - 1)
    for north in stencil[0].tolist():
        beside_rows = np.clip(rows + north, 0, num_lat - 1)[:, None]
        highest &= ~(field[beside_rows, beside] > values[:, None]).any(axis=1)
    return highest
