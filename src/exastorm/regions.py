"""Connected regions on a grid that wraps: label, measure, filter by size and shape.

A region is a set of cells that touch, over edges (4-connected) or over edges and corners
(8-connected). On a global grid the last column touches the first. Labels run from 1, zero is no
region; every measure is an array whose entry `n - 1` belongs to region `n`.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from exastorm.constants import EARTH_RADIUS_KM

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]
Connectivity = Literal[4, 8]

STRUCTURES: dict[int, Mask] = {
    4: ndimage.generate_binary_structure(2, 1),
    8: ndimage.generate_binary_structure(2, 2),
}
"""Neighborhood of a cell for each connectivity."""


class RegionBox(NamedTuple):
    """Smallest box of rows and columns around a region; columns may run over the seam.

    Attributes:
        row: First row.
        num_rows: Number of rows.
        column: First column, going east.
        num_columns: Number of columns, counted east from the first one.
    """

    row: int
    num_rows: int
    column: int
    num_columns: int

    def indices(self, num_lon: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row (N, 1) and column (1, M) numbers of the box, to index a field with."""
        rows = np.arange(self.row, self.row + self.num_rows)
        columns = (self.column + np.arange(self.num_columns)) % num_lon
        return rows[:, None], columns[None, :]


def label_regions(
    mask: Any, *, wrap: bool = True, connectivity: Connectivity = 8
) -> tuple[Labels, int]:
    """Number the connected regions of a mask.

    Args:
        mask: Cells that belong to some region, bool (H, W).
        wrap: Whether the last column touches the first, as on a global grid.
        connectivity: 4 for shared edges, 8 for shared edges or corners.

    Returns:
        Labels int32 (H, W), zero outside, and the number of regions.

    Raises:
        ValueError: Unless the mask has two dimensions and the connectivity is 4 or 8.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"mask must have 2 dimensions, got {mask.ndim}")
    if connectivity not in STRUCTURES:
        raise ValueError(f"connectivity must be 4 or 8, got {connectivity}")
    labels = np.empty(mask.shape, dtype=np.int32)
    num = int(ndimage.label(mask, STRUCTURES[connectivity], output=labels))
    if not wrap or num < 2:
        return labels, num
    return _join_over_seam(labels, num, connectivity)


def _join_over_seam(labels: Labels, num: int, connectivity: int) -> tuple[Labels, int]:
    """Give regions that touch across the last and the first column one label."""
    west, east = labels[:, 0], labels[:, -1]
    pairs = [(east, west)]
    if connectivity == 8:
        pairs += [(east[1:], west[:-1]), (east[:-1], west[1:])]
    ends = np.concatenate([np.stack(p) for p in pairs], axis=1)
    ends = ends[:, (ends > 0).all(axis=0)]
    if not np.any(ends[0] != ends[1]):
        return labels, num
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(num + 1, num + 1))
    _, groups = connected_components(graph, directed=False)
    # Group numbers follow the first label met, so background (label 0) stays group 0.
    return groups.astype(np.int32)[labels], int(groups.max())


def num_cells(labels: Labels, num: int) -> NDArray[np.intp]:
    """Number of cells of each region, (num,)."""
    return np.bincount(labels.ravel(), minlength=num + 1)[1 : num + 1]


def region_areas_km2(labels: Labels, num: int, cell_areas_km2: Any) -> NDArray[np.float64]:
    """Area of each region, km2, (num,), from the cell areas (H, W) of `exastorm.grid`."""
    cells = np.flatnonzero(labels)
    areas = np.broadcast_to(cell_areas_km2, labels.shape).ravel()[cells]
    sums = np.bincount(labels.ravel()[cells], areas, minlength=num + 1)
    return np.asarray(sums[1 : num + 1], dtype=np.float64)


def region_centers(
    labels: Labels, num: int, lat: Any, lon: Any, cell_areas_km2: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area-weighted center of each region on the sphere.

    The center is the direction of the summed unit vectors of the cells, so neither the seam nor
    a pole disturbs it. A region that balances round the globe has no direction of its own; its
    center is then that of the rounding left over.

    Args:
        labels: Labels (H, W).
        num: Number of regions.
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
        cell_areas_km2: Cell areas (H, W).

    Returns:
        Latitudes (num,) and longitudes (num,) in [0, 360), degrees.
    """
    rows, columns = np.nonzero(labels)
    region = labels[rows, columns]
    weights = np.broadcast_to(cell_areas_km2, labels.shape)[rows, columns]
    vectors = _unit_vectors(np.asarray(lat)[rows], np.asarray(lon)[columns]) * weights
    x, y, z = (np.bincount(region, v, minlength=num + 1)[1 : num + 1] for v in vectors)
    center_lon = np.mod(np.degrees(np.arctan2(y, x)), 360.0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.where(center_lon >= 360.0, 0.0, center_lon)


def region_boxes(labels: Labels, num: int, *, wrap: bool = True) -> list[RegionBox]:
    """Box of each region; on a grid that wraps, the one with the fewest columns."""
    num_lon = labels.shape[1]
    boxes = []
    for index, slices in enumerate(ndimage.find_objects(labels, max_label=num), start=1):
        rows, columns = slices
        column, width = columns.start, columns.stop - columns.start
        if wrap and width == num_lon:
            column, width = _smallest_arc((labels[rows] == index).any(axis=0))
        boxes.append(RegionBox(rows.start, rows.stop - rows.start, column, width))
    return boxes


def _smallest_arc(occupied: Mask) -> tuple[int, int]:
    """First column and number of columns of the shortest arc that holds all occupied columns."""
    columns = np.flatnonzero(occupied)
    gaps = np.diff(np.append(columns, columns[0] + occupied.size))
    # Of equal gaps the last, so that a ring begins in column 0.
    widest = gaps.size - 1 - int(np.argmax(gaps[::-1]))
    start = columns[(widest + 1) % columns.size]
    return int(start), int(occupied.size - gaps[widest] + 1)


def region_span_km(labels: Labels, index: int, box: RegionBox, lat: Any, lon: Any) -> float:
    """Greatest great-circle distance between the centers of two cells of a region, km.

    Unlike the sides or the diagonal of a latitude-longitude box it does not change when the
    region is turned or moved on the sphere. Only the westernmost and the easternmost cell of a
    row can be an end of it (within a row, distance to any point grows with the difference in
    longitude), as long as the region is narrower than half the globe.

    Args:
        labels: Labels (H, W).
        index: Label of the region.
        box: Its box.
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
    """
    rows, columns = box.indices(labels.shape[1])
    inside = labels[rows, columns] == index
    first = inside.argmax(axis=1)
    last = box.num_columns - 1 - inside[:, ::-1].argmax(axis=1)
    ends = np.concatenate([columns[0, first], columns[0, last]])
    points = _unit_vectors(np.asarray(lat)[np.tile(rows[:, 0], 2)], np.asarray(lon)[ends])
    cosine = np.clip((points.T @ points).min(), -1.0, 1.0)
    return float(EARTH_RADIUS_KM * np.arccos(cosine))


def _unit_vectors(lat: Any, lon: Any) -> NDArray[np.float64]:
    """Points on the unit sphere, (3, N)."""
    phi, lam = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])


def keep_regions(labels: Labels, keep: Any) -> Mask:
    """Mask (H, W) of the regions for which `keep` (num,) is true."""
    chosen = np.concatenate([[False], np.asarray(keep, dtype=bool)])
    return np.asarray(chosen[labels])


def keep_larger(
    mask: Any,
    cell_areas_km2: Any,
    min_area_km2: float,
    *,
    wrap: bool = True,
    connectivity: Connectivity = 8,
) -> Mask:
    """The mask without its regions smaller than an area, km2."""
    labels, num = label_regions(mask, wrap=wrap, connectivity=connectivity)
    return keep_regions(labels, region_areas_km2(labels, num, cell_areas_km2) >= min_area_km2)


def largest_region(
    mask: Any, *, wrap: bool = True, connectivity: Connectivity = 8, near: Any = None
) -> Mask:
    """The region with the most cells, as a mask (H, W); nothing of an empty mask.

    Args:
        mask: Cells, bool (H, W).
        wrap: Whether the last column touches the first.
        connectivity: 4 or 8.
        near: Distances (H, W) that decide between regions of the same size: the one with the
            nearest cell wins. Without them, the first from the south-west wins.
    """
    labels, num = label_regions(mask, wrap=wrap, connectivity=connectivity)
    if num < 2:
        return labels > 0
    sizes = num_cells(labels, num)
    best = np.flatnonzero(sizes == sizes.max()) + 1
    if best.size > 1 and near is not None:
        best = best[[int(np.argmin(ndimage.minimum(near, labels, best)))]]
    return np.asarray(labels == best[0])
