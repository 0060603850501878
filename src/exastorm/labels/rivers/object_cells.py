"""The cells of one object, listed so that neither a roll nor a mirrored globe changes the list.

Rows come from the side of the object's pole, longitudes are counted from its first column: then an
object has the same numbers to the last digit wherever in longitude and in whichever hemisphere it
lies, and so have its measures.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels, RegionBox, num_cells

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]


class ObjectBox(NamedTuple):
    """The rows and columns around one object.

    Attributes:
        rows: Rows (R,), from the side of the pole.
        columns: Columns (C,), from the west.
        lat: Latitudes (R,), degrees.
        lon: Longitudes (C,) east of the first column, degrees.
        inside: Which cells (R, C) are the object's.
    """

    rows: Index
    columns: Index
    lat: FloatArray
    lon: FloatArray
    inside: NDArray[np.bool_]


class ObjectCells(NamedTuple):
    """The cells of one object.

    Attributes:
        row: Row of each, (N,).
        column: Column of each, (N,).
        lat: Latitude, degrees, (N,).
        lon: Longitude east of the first column of the object, degrees, (N,).
        area_km2: Area, km2, (N,).
    """

    row: Index
    column: Index
    lat: FloatArray
    lon: FloatArray
    area_km2: FloatArray


def box_of(labels: Labels, index: int, box: RegionBox, grid: Surroundings) -> ObjectBox:
    """The rows and columns around an object, from the side of its pole.

    Args:
        labels: Labels (H, W) as `exastorm.regions.label_regions` gives them.
        index: Label of the object.
        box: Its box, from `exastorm.regions.region_boxes`.
        grid: The grid it is on.
    """
    rows, columns = (part.ravel() for part in box.indices(grid.lon.size))
    if abs(grid.lat[rows[-1]]) > abs(grid.lat[rows[0]]):
        rows = rows[::-1]
    # Stored longitudes carry rounding that is not the same all round the globe.
    even = np.arange(columns.size) * (360.0 / grid.lon.size)
    lon = even if grid.wraps else grid.lon[columns] - grid.lon[columns[0]]
    inside = labels[rows[:, None], columns] == index
    return ObjectBox(rows, columns, grid.lat[rows], np.asarray(lon), inside)


def cells_of(box: ObjectBox, cell_areas_km2: Any) -> ObjectCells:
    """The cells of an object.

    Args:
        box: The rows and columns around it.
        cell_areas_km2: Cell areas (H, W) of `exastorm.grid`.
    """
    i, j = np.nonzero(box.inside)
    row, column = box.rows[i], box.columns[j]
    return ObjectCells(row, column, box.lat[i], box.lon[j], cell_areas_km2[row, column])


def may_reach(labels: Labels, num: int, grid: Surroundings, length_km: float) -> NDArray[np.bool_]:
    """Which objects (num,) have cells enough to be so long.

    It costs far less than to measure them, and most objects are small.

    Args:
        labels: Labels (H, W) as `exastorm.regions.label_regions` gives them.
        num: Number of objects.
        grid: The grid they are on.
        length_km: The length, km.
    """
    # Cells that touch are at most a cell's diagonal apart, which is longest on the equator.
    diagonal_km = KM_PER_DEGREE * np.hypot(np.diff(grid.lat).max(), np.diff(grid.lon).max())
    return np.asarray(num_cells(labels, num) * diagonal_km >= length_km)
