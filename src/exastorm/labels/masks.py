"""From storms and rivers to one class map that keeps which rule made each pixel.

A cell claimed by a cyclone and a river is a cyclone's, as in the SC18 labels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.variables import ATMOSPHERIC_RIVER, BACKGROUND, TROPICAL_CYCLONE


def rule_attrs(cyclones: str, rivers: str) -> dict[str, Any]:
    """CF attributes of `rule`, for rule sets of these names.

    The flags add up: 1 cyclone, 2 river, 3 where both claim a cell and the cyclone wins.
    """
    tc, ar = (name.replace("-", "_") for name in (cyclones, rivers))
    meanings = ("none", f"{tc}_cyclone", f"{ar}_river", f"{tc}_cyclone_over_{ar}_river")
    return {
        "flag_values": np.arange(len(meanings), dtype=np.int8),
        "flag_meanings": " ".join(meanings),
    }


def compose(cyclones: Any, rivers: Any) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Class map and rule map, int8 (H, W), from the cells of cyclones and rivers, bool (H, W)."""
    class_map = np.full(cyclones.shape, BACKGROUND, dtype=np.int8)
    class_map[rivers] = ATMOSPHERIC_RIVER
    class_map[cyclones] = TROPICAL_CYCLONE
    rule = cyclones.astype(np.int8) + np.int8(2) * rivers.astype(np.int8)
    return class_map, rule
