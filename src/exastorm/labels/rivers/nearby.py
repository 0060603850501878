"""What is near a place: objects, or the cell that comes nearest to a threshold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels

Cell = tuple[int, int]


def objects_near(
    labels: Labels, grid: Surroundings, lat: float, lon: float, within_deg: float
) -> dict[int, Cell]:
    """Row and column of the nearest cell of each object within a distance, the nearest first.

    Args:
        labels: Labels (H, W) as `exastorm.regions.label_regions` gives them.
        grid: The grid they are on.
        lat: Latitude of the place, degrees.
        lon: Longitude of the place, degrees.
        within_deg: Greatest great-circle distance, degrees.
    """
    rows, columns = _cells_near(labels > 0, grid, lat, lon, within_deg)
    near: dict[int, Cell] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        near.setdefault(int(labels[row, column]), (row, column))
    return near


def highest_near(
    values: Any, grid: Surroundings, lat: float, lon: float, within_deg: float
) -> list[Cell]:
    """Row and column of the highest value within a distance; of equal ones, the nearest.

    A missing value is never the highest, unless all are missing: then the nearest cell is given.

    Args:
        values: Values (H, W).
        grid: The grid they are on.
        lat: Latitude of the place, degrees.
        lon: Longitude of the place, degrees.
        within_deg: Greatest great-circle distance, degrees.

    Returns:
        The one cell, or nothing where no cell is so near.
    """
    everywhere = np.ones((grid.lat.size, grid.lon.size), dtype=bool)
    rows, columns = _cells_near(everywhere, grid, lat, lon, within_deg)
    if rows.size == 0:
        return []
    there = np.asarray(values[rows, columns], dtype=np.float64)
    # The first of equal ones is the nearest.
    highest = np.where(np.isnan(there), -np.inf, there).argmax()
    return [(int(rows[highest]), int(columns[highest]))]


def _cells_near(
    mask: NDArray[np.bool_], grid: Surroundings, lat: float, lon: float, within_deg: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns (N,) of the cells of a mask (H, W) within a distance, the nearest first."""
    km = great_circle_km(grid.lat[:, None], grid.lon[None, :], lat, lon)
    rows, columns = np.nonzero(mask & (km <= within_deg * KM_PER_DEGREE))
    order = np.argsort(km[rows, columns], kind="stable")
    return rows[order], columns[order]
