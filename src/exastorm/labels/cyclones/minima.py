"""Minima of a field, and which of them count where several lie close together.

As in TempestExtremes' DetectNodes: a minimum is a cell that none touching it over an edge is
lower than, and merging drops every minimum that has a lower one within a distance, on the sphere,
over 0/360 and the poles. The quick looks only spare the full comparison; they decide nothing else.
"""

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.tempest_grid import FloatArray, Places, TempestGrid, Values

SINGLE_ROUNDING = 1e-6
"""Several times the rounding of a product of unit vectors in single precision."""


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


def lowest_of_box(
    values: Values, grid: TempestGrid, minima: Places, merge_deg: float
) -> NDArray[np.bool_]:
    """Which minima (N,) are the lowest of their box; boxes are less across than `merge_deg`.

    A quick look: most minima have a lower one close by.
    """
    if merge_deg == 0.0:
        return np.ones(minima.shape[1], dtype=bool)
    depth, box = values[minima[0], minima[1]], _boxes(grid, minima, merge_deg)
    order = np.lexsort((depth, box))
    heads = np.append(True, np.diff(box[order]) > 0)[: order.size]
    lowest = order[heads][np.cumsum(heads) - 1]
    keep = np.empty(depth.size, dtype=bool)
    keep[order] = depth[order] == depth[lowest]
    return keep


def _boxes(grid: TempestGrid, minima: Places, merge_deg: float) -> NDArray[np.int64]:
    """Box (N,) of each minimum; boxes are 0.7 of `merge_deg` wide and high."""
    side = np.radians(0.7 * merge_deg)
    lat, lon = grid.lat[minima[0]], grid.lon[minima[1]]
    band = np.floor((lat + 0.5 * np.pi) / side).astype(np.int64)
    south = band * side - 0.5 * np.pi
    nearest_equator = np.maximum(0.0, np.maximum(south, -(south + side)))
    num_boxes = np.ceil(2.0 * np.pi * np.cos(nearest_equator) / side)
    box = np.floor(lon / (2.0 * np.pi) * num_boxes).astype(np.int64)
    return np.asarray(box + band * (int(num_boxes.max(initial=0)) + 1))


def merge_minima(
    values: Values, grid: TempestGrid, minima: Places, asked: NDArray[np.bool_], merge_deg: float
) -> Places:
    """Of the minima asked about those (2, M) that have no lower minimum within a distance.

    Lower minima count whether or not they are asked about. Of equal ones all are kept.

    Args:
        values: Field (H, W).
        grid: Its grid.
        minima: Rows and columns (2, N).
        asked: Which of them (N,) are asked about.
        merge_deg: Distance, degrees; 0 keeps all.
    """
    depth, vectors = values[minima[0], minima[1]], grid.vectors(*minima)
    keep = asked.copy()
    if merge_deg == 0.0 or not asked.any():
        return minima[:, keep]
    order = np.argsort(depth, kind="stable")
    _, first = np.unique(_boxes(grid, minima, merge_deg)[order], return_index=True)
    # The lowest of each box are few and settle most; the rest is compared with all.
    for others in (order[first], order):
        left = np.flatnonzero(keep)
        others = others[depth[others] < depth[left].max(initial=-np.inf)]
        for part in np.array_split(left, 1 + left.size * depth.size // 4_000_000):
            keep[part] = ~_is_lower_near(
                (vectors[:, part], depth[part]), (vectors[:, others], depth[others]), merge_deg
            )
    return minima[:, keep]


def _is_lower_near(
    points: tuple[FloatArray, Values], others: tuple[FloatArray, Values], distance_deg: float
) -> NDArray[np.bool_]:
    """Which points (N,) have a lower one of others within a distance; unit vectors and values."""
    chord = 2.0 * np.sin(0.5 * distance_deg / 180.0 * np.pi)
    single = np.float32
    closeness = points[0].astype(single).T @ others[0].astype(single)
    closeness[others[1] >= points[1][:, None]] = -2.0
    closest = closeness.max(axis=1, initial=-2.0)
    limit = 1.0 - 0.5 * chord * chord
    is_near = closest > limit + SINGLE_ROUNDING
    # About the distance itself the sum of squares decides, as TempestExtremes rounds it.
    for n in np.flatnonzero(~is_near & (closest > limit - SINGLE_ROUNDING)).tolist():
        lower = others[1] < points[1][n]
        x, y, z = others[0][:, lower] - points[0][:, [n]]
        is_near[n] = np.any(x * x + y * y + z * z <= chord * chord)
    return np.asarray(is_near)


def first_of_equals(values: Values, grid: TempestGrid, minima: Places, merge_deg: float) -> Places:
    """The minima (2, M) with no kept one before that is as low and within a distance.

    Args:
        values: Field (H, W).
        grid: Its grid.
        minima: Rows and columns (2, N), in the order of rows.
        merge_deg: Distance, degrees.
    """
    depth, vectors = values[minima[0], minima[1]], grid.vectors(*minima)
    chord = 2.0 * np.sin(0.5 * merge_deg / 180.0 * np.pi)
    keep = np.ones(depth.size, dtype=bool)
    for n in range(depth.size):
        if keep[n]:
            later = n + 1 + np.flatnonzero(depth[n + 1 :] == depth[n])
            x, y, z = vectors[:, later] - vectors[:, [n]]
            keep[later[x * x + y * y + z * z <= chord * chord]] = False
    return minima[:, keep]


def nearest_lower_deg(
    values: Values, grid: TempestGrid, minima: Places, which: Places
) -> list[float]:
    """Distance from some of the minima (2, N) to the nearest lower one, degrees.

    Args:
        values: Field (H, W).
        grid: Its grid.
        minima: Rows and columns (2, N) of all minima.
        which: Numbers (M,) of those asked about; infinite for the lowest of all.
    """
    vectors = grid.vectors(*minima)
    depth = values[minima[0], minima[1]]
    nearest = []
    for n in which.tolist():
        lower = vectors[:, depth < depth[n]]
        cosine = float(np.clip(lower.T @ vectors[:, n], -1.0, 1.0).max(initial=-np.inf))
        nearest.append(float(np.degrees(np.arccos(cosine))) if lower.size else float("inf"))
    return nearest
