"""The labels of one snapshot, and what they can be made from."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones import (
    LOW_WINDS,
    NEEDED,
    THICKNESS,
    CycloneCenter,
    Fields,
    find_cyclones,
    has_thickness,
    low_wind_names,
)
from exastorm.labels.masks import MASK_FIELDS, compose, cyclone_mask
from exastorm.labels.rivers import find_rivers
from exastorm.labels.settings import LabelSettings
from exastorm.physics.surroundings import Surroundings


class SnapshotLabels(NamedTuple):
    """Labels of one snapshot.

    Attributes:
        class_map: Class of each cell, int8 (H, W), flags of `exastorm.variables.CLASSES`.
        rule: Rule that made it, int8 (H, W), flags of `exastorm.labels.masks.RULES`.
        centers: The cyclones.
        num_rivers: Number of separate rivers.
    """

    class_map: NDArray[np.int8]
    rule: NDArray[np.int8]
    centers: list[CycloneCenter]
    num_rivers: int


class Plan(NamedTuple):
    """What can be labeled with the fields that are there.

    Attributes:
        fields: Fields to read.
        cyclones: Whether cyclones are labeled.
        rivers: Whether rivers are labeled.
        notes: What is left out or replaced, and why, by topic.
    """

    fields: tuple[str, ...]
    cyclones: bool
    rivers: bool
    notes: dict[str, str]


def make_plan(available: Any, settings: LabelSettings) -> Plan:
    """Decide what can be labeled with the fields that an archive has."""
    available = set(available)
    notes: dict[str, str] = {}
    fields: set[str] = set()
    lacking = [name for name in NEEDED if name not in available]
    cyclones = settings.cyclones != "none" and not lacking
    rivers = settings.rivers != "none" and "TMQ" in available
    if cyclones:
        low_wind = low_wind_names(available)
        fields |= {*NEEDED, *low_wind}
        fields |= available & {*MASK_FIELDS, *(THICKNESS if has_thickness(available) else ())}
        notes |= _cyclone_notes(available, low_wind)
    elif settings.cyclones == "none":
        notes["tropical_cyclones"] = "left out by the settings"
    else:
        notes["tropical_cyclones"] = f"left out: the archive lacks {', '.join(lacking)}"
    if rivers:
        fields.add("TMQ")
    elif settings.rivers == "none":
        notes["atmospheric_rivers"] = "left out by the settings"
    else:
        notes["atmospheric_rivers"] = "left out: the archive lacks TMQ"
    return Plan(tuple(sorted(fields)), cyclones, rivers, notes)


def _cyclone_notes(available: set[str], low_wind: tuple[str, str]) -> dict[str, str]:
    """What the cyclone rules do without."""
    notes = {}
    if not has_thickness(available):
        lacking = [n for n in THICKNESS if n not in available]
        notes["thickness_test"] = f"not made, only the warm core: lacks {', '.join(lacking)}"
    if low_wind != LOW_WINDS[0]:
        notes["low_level_wind"] = (
            f"{', '.join(low_wind)} instead of {', '.join(LOW_WINDS[0])}, not converted: "
            "thresholds of the lowest-level wind are applied to a wind of another height"
        )
    missing = [n for n in MASK_FIELDS if n not in available]
    if missing:
        notes["cyclone_mask"] = f"made without {', '.join(missing)}, which the archive lacks"
    return notes


def label_snapshot(
    fields: Fields, lat: Any, lon: Any, settings: LabelSettings | None = None
) -> SnapshotLabels:
    """Label one snapshot with what its fields allow.

    Args:
        fields: Name to field (H, W), in the units of `exastorm.variables`. Missing values count
            as below every threshold.
        lat: Ascending latitudes (H,), degrees.
        lon: Ascending longitudes (W,) in [0, 360), degrees.
        settings: Rules and thresholds; the published ones by default.
    """
    settings = settings or LabelSettings()
    plan = make_plan(fields, settings)
    return label_fields(fields, Surroundings.of(lat, lon), settings, plan)


def label_fields(
    fields: Fields, grid: Surroundings, settings: LabelSettings, plan: Plan
) -> SnapshotLabels:
    """`label_snapshot` for many snapshots on one grid, with one plan."""
    in_cyclone = np.zeros((grid.lat.size, grid.lon.size), dtype=bool)
    in_river = np.zeros_like(in_cyclone)
    centers: list[CycloneCenter] = []
    num_rivers = 0
    if plan.cyclones:
        centers = find_cyclones(fields, grid, settings.sc18_cyclones)
        for center in centers:
            in_cyclone |= cyclone_mask(fields, grid, center, settings.sc18_masks)
    if plan.rivers:
        rivers = find_rivers(fields["TMQ"], grid, settings.sc18_rivers)
        in_river, num_rivers = rivers.mask, rivers.area_km2.size
    class_map, rule = compose(in_cyclone, in_river)
    return SnapshotLabels(class_map, rule, centers, num_rivers)
