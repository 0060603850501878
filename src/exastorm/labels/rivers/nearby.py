"""The objects near a place, to explain what became of them."""

import numpy as np

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.grid import great_circle_km
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels


def objects_near(
    labels: Labels, grid: Surroundings, lat: float, lon: float, within_deg: float
) -> dict[int, tuple[int, int]]:
    """Row and column of the nearest cell of each object within a distance, the nearest first.

    Args:
        labels: Labels (H, W) as `exastorm.regions.label_regions` gives them.
        grid: The grid they are on.
        lat: Latitude of the place, degrees.
        lon: Longitude of the place, degrees.
        within_deg: Greatest great-circle distance, degrees.
    """
    km = great_circle_km(grid.lat[:, None], grid.lon[None, :], lat, lon)
    reach_km = EARTH_RADIUS_KM * np.deg2rad(within_deg)
    rows, columns = np.nonzero((labels > 0) & (km <= reach_km))
    near: dict[int, tuple[int, int]] = {}
    for n in np.argsort(km[rows, columns], kind="stable").tolist():
        near.setdefault(int(labels[rows[n], columns[n]]), (int(rows[n]), int(columns[n])))
    return near
