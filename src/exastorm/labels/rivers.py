"""Atmospheric rivers by moisture and shape: the rule of the SC18 labels, corrected.

Precipitable water is damped toward the equator, so that the moist tropics stay below the
threshold and only moisture that has left them is flagged. What touches over cell edges is one
object; an object is a river if it is long, and narrow for its length.

Corrected against the published script: objects join across 0/360, areas use the mean Earth
radius (the script has 6170 km), and the length is the greatest great-circle distance between two
cells of the object, and one cell side for the two halves at its ends. The script took the
north-south extent of the bounding box for the length, which rejects rivers that run east (a 3560 x
490 km river fails below a tilt of 20 degrees), and the diagonal of the box for the test of extent;
one measure that does not change when a river is turned now serves both.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import (
    Labels,
    keep_regions,
    label_regions,
    num_cells,
    region_areas_km2,
    region_boxes,
    region_span_km,
)


@dataclass(frozen=True, kw_only=True)
class Sc18RiverRules:
    """Thresholds of the SC18 river rule (Kurth et al. 2018; published label maker)."""

    min_water_kg_m2: float = 24.0
    """Threshold of damped precipitable water, kg m-2 (SC18, labels_0; labels_1 has 21)."""
    tropics_sigma_deg: float = 19.0
    """Width of the damping 1 - exp(-lat^2 / (2 sigma^2)), degrees of latitude (SC18)."""
    min_length_km: float = 1500.0
    """A river is longer than this, km (SC18, there for the diagonal of the box)."""
    max_width_km: float = 1000.0
    """Area over length of a river is less than this, km (SC18)."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class Rivers(NamedTuple):
    """The moist objects of one snapshot that are rivers.

    Attributes:
        mask: Their cells, bool (H, W).
        area_km2: Area of each, (N,).
        length_km: Length of each, (N,).
    """

    mask: NDArray[np.bool_]
    area_km2: NDArray[np.float64]
    length_km: NDArray[np.float64]


def damping(lat: Any, sigma_deg: float) -> NDArray[np.float64]:
    """Factor (H,) on precipitable water: 0 at the equator, near 1 beyond 2.5 sigma."""
    return np.asarray(1.0 - np.exp(-(np.asarray(lat, dtype=float) ** 2) / (2 * sigma_deg**2)))


def find_rivers(tmq: Any, grid: Surroundings, rules: Sc18RiverRules) -> Rivers:
    """Flag the atmospheric rivers of one snapshot.

    Args:
        tmq: Precipitable water (H, W), kg m-2; missing values count as dry.
        grid: The grid it is on.
        rules: Thresholds.
    """
    tmq = np.asarray(tmq)
    # The threshold is divided by the damping instead of the field multiplied: one pass less.
    with np.errstate(divide="ignore"):
        threshold = rules.min_water_kg_m2 / damping(grid.lat, rules.tropics_sigma_deg)
    moist = tmq > threshold[:, None].astype(tmq.dtype)
    labels, num = label_regions(moist, wrap=grid.wraps, connectivity=4)
    areas = region_areas_km2(labels, num, cell_areas_km2(grid.lat, grid.lon))
    lengths = _lengths_km(labels, num, grid, areas, rules.min_length_km)
    keep = (lengths > rules.min_length_km) & (areas < rules.max_width_km * lengths)
    return Rivers(keep_regions(labels, keep), areas[keep], lengths[keep])


def _lengths_km(
    labels: Labels,
    num: int,
    grid: Surroundings,
    area_km2: NDArray[np.float64],
    min_length_km: float,
) -> NDArray[np.float64]:
    """Length of each object, km; zero for those with too few cells to reach the least length."""
    lengths = np.zeros(num)
    sizes = num_cells(labels, num)
    # Cells in a chain are at most a cell's diagonal apart, 111.2 km a degree.
    diagonal_km = 111.2 * np.hypot(np.diff(grid.lat).max(), np.diff(grid.lon).max())
    long_enough = sizes * diagonal_km > min_length_km
    if not long_enough.any():
        return lengths
    boxes = region_boxes(labels, num, wrap=grid.wraps)
    for n in np.flatnonzero(long_enough):
        # The area counts whole cells, so the length does too: on a grid of 2.5 degrees the two half
        # cells at the ends are 280 km.
        side_km = np.sqrt(area_km2[n] / sizes[n])
        lengths[n] = side_km + region_span_km(labels, int(n) + 1, boxes[n], grid.lat, grid.lon)
    return lengths
