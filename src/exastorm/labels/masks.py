"""From centers and rivers to one class map that keeps which rule made each pixel.

A cyclone's cells are found in a box round its center whose half-width is the radius of
17.5 m/s winds plus 6.6 degrees: for each of four fields the cells above the box's 93rd
percentile, of these the largest 8-connected group; of the union of the four groups again the
largest (Kurth et al. 2018; published label maker). A cell claimed by a cyclone and a river is a
cyclone's.

Corrected against the published script: the box is as wide in kilometers as it is high and wraps
in longitude (the script counts degrees of longitude and clips at 0/360); every storm gets the
union of all four fields (in the script only the last storm of a snapshot does); and the winds
enter by their magnitude (the script takes U850 and V850 with their sign, so that it sees only
the sides with westerly and southerly wind, and other sides in the other hemisphere).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones import CycloneCenter, Fields
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import largest_region
from exastorm.variables import ATMOSPHERIC_RIVER, BACKGROUND, TROPICAL_CYCLONE

MASK_FIELDS = ("TMQ", "U850", "V850", "PRECT")
"""Fields of the percentile test; those that an archive lacks are left out."""
SIGNED_FIELDS = ("U850", "V850")
"""Fields that enter by their magnitude."""

RULES: dict[str, int] = {
    "none": 0,
    "sc18_cyclone_box_percentile": 1,
    "sc18_river_damped_water": 2,
    "sc18_cyclone_over_river": 3,
}
"""Flag of each rule in `rule`: the last where both claim a cell and the cyclone wins."""

RULE_ATTRS: dict[str, Any] = {
    "flag_values": np.array(list(RULES.values()), dtype=np.int8),
    "flag_meanings": " ".join(RULES),
}
"""CF attributes of `rule`."""


@dataclass(frozen=True, kw_only=True)
class Sc18MaskRules:
    """Extent of a cyclone round its center (Kurth et al. 2018; published label maker)."""

    box_margin_deg: float = 6.6
    """Half-width of the box beyond the radius of 17.5 m s-1 winds, degrees (SC18)."""
    percentile: float = 93.0
    """Cells above this percentile of the box are the storm's, percent (SC18)."""

    def __post_init__(self) -> None:
        if not self.box_margin_deg > 0:
            raise ValueError(f"box_margin_deg must be positive, got {self.box_margin_deg}")
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile must be between 0 and 100, got {self.percentile}")


def cyclone_mask(
    fields: Fields, grid: Surroundings, center: CycloneCenter, rules: Sc18MaskRules
) -> NDArray[np.bool_]:
    """Cells of one cyclone, bool (H, W).

    Args:
        fields: Fields of one snapshot (H, W), at least one of `MASK_FIELDS`.
        grid: The grid they are on.
        center: The storm.
        rules: Extent.
    """
    box = grid.box(center.row, center.column, center.wind_radius_deg + rules.box_margin_deg)
    union = np.zeros(box.distance_deg.shape, dtype=bool)
    for name in MASK_FIELDS:
        if name in fields:
            values = fields[name][box.rows, box.columns]
            values = np.abs(values) if name in SIGNED_FIELDS else values
            high = values > np.nanpercentile(values, rules.percentile)
            union |= largest_region(high, wrap=False, near=box.distance_deg)
    mask = np.zeros((grid.lat.size, grid.lon.size), dtype=bool)
    mask[box.rows, box.columns] = largest_region(union, wrap=False, near=box.distance_deg)
    return mask


def compose(cyclones: Any, rivers: Any) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Class map and rule map, int8 (H, W), from the cells of cyclones and rivers, bool (H, W)."""
    class_map = np.full(cyclones.shape, BACKGROUND, dtype=np.int8)
    class_map[rivers] = ATMOSPHERIC_RIVER
    class_map[cyclones] = TROPICAL_CYCLONE
    # The flags are chosen so that the two add up: 1 cyclone, 2 river, 3 both.
    rule = cyclones.astype(np.int8) + np.int8(2) * rivers.astype(np.int8)
    return class_map, rule
