"""The labels of one snapshot, and what they can be made from.

Labels are made in two steps. What a snapshot holds is found in it alone (`find_in_snapshot`):
candidates of cyclones with the cells each would claim, and rivers. Which candidates count is
selected once all snapshots of an archive are known (`exastorm.labels.selection`), since storms
must last.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.climatology import ClimatologyRequest
from exastorm.labels.composition import compose_snapshot
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.cyclones.extent import MASK_FIELDS, Extent, Sc18MaskRules, storm_extent
from exastorm.labels.cyclones.sc18_thresholds import Sc18Thresholds
from exastorm.labels.rule_sets import CycloneRules, Fields, RiverRules, loosest
from exastorm.labels.settings import LabelSettings
from exastorm.physics.surroundings import Surroundings


class Plan(NamedTuple):
    """What is labeled with the fields that are there, and by which rules on this grid.

    Attributes:
        fields: Fields to read.
        cyclones: Rules for cyclones; None where they are left out.
        rivers: Rules for rivers; None where they are left out.
        masks: Extent of a cyclone.
        soft: Whether threshold ensembles are run.
        notes: What is left out or replaced, and why, by topic.
        climatology: Local percentiles that the rules for rivers need; None where they need none.
    """

    fields: tuple[str, ...]
    cyclones: CycloneRules | None
    rivers: RiverRules | None
    masks: Sc18MaskRules
    soft: bool
    notes: dict[str, str]
    climatology: ClimatologyRequest | None = None

    @property
    def cyclone_members(self) -> list[CycloneRules]:
        """Members of the cyclones' ensemble; empty without one."""
        return self.cyclones.members() if self.soft and self.cyclones else []

    @property
    def river_members(self) -> list[RiverRules]:
        """Members of the rivers' ensemble; empty without one."""
        return self.rivers.members() if self.soft and self.rivers else []


class Finds(NamedTuple):
    """What one snapshot holds.

    Attributes:
        centers: Candidates of cyclones.
        extents: The cells that each would claim.
        rivers: Cells of rivers, bool (H, W).
        num_rivers: Number of separate rivers.
        river_share: Share of an ensemble that flags each cell, float32 (H, W); None without one.
        member_rivers: Number of rivers of each member.
    """

    centers: list[CycloneCenter]
    extents: list[Extent]
    rivers: NDArray[np.bool_]
    num_rivers: int
    river_share: NDArray[np.float32] | None
    member_rivers: tuple[int, ...]


class SnapshotLabels(NamedTuple):
    """Labels of one snapshot.

    Attributes:
        layers: Name of each map to its values (H, W); `class_map` and `rule` int8 always.
        centers: The cyclones.
        num_rivers: Number of separate rivers.
    """

    layers: dict[str, NDArray[Any]]
    centers: list[CycloneCenter]
    num_rivers: int

    @property
    def class_map(self) -> NDArray[Any]:
        """Class of each cell, int8 (H, W), flags of `exastorm.variables.CLASSES`."""
        return self.layers["class_map"]

    @property
    def rule(self) -> NDArray[Any]:
        """Rule that made it, int8 (H, W), flags of `exastorm.labels.masks.rule_attrs`."""
        return self.layers["rule"]


def make_plan(available: Any, settings: LabelSettings, spacing_deg: float) -> Plan:
    """Decide what can be labeled with the fields that an archive has, on a grid of this spacing."""
    available = set(available)
    notes: dict[str, str] = {}
    fields: set[str] = set()
    cyclones, rivers = settings.cyclone_rules, settings.river_rules
    if isinstance(cyclones, Sc18Thresholds):
        cyclones = cyclones.on_grid(spacing_deg)
    if cyclones is None:
        notes["tropical_cyclones"] = "left out by the settings"
    else:
        asked = cyclones.plan(available)
        lacking = asked.lacking or _lacking_extent(available, settings.sc18_masks)
        if lacking:
            cyclones = None
            notes["tropical_cyclones"] = f"left out: {lacking}"
        else:
            fields |= {*asked.fields, *(available & set(MASK_FIELDS))}
            notes |= {**asked.notes, **_extent_notes(available)}
    if rivers is None:
        notes["atmospheric_rivers"] = "left out by the settings"
    else:
        asked = rivers.plan(available)
        fields |= set(asked.fields)
        notes |= asked.notes
        if asked.lacking:
            rivers = None
            notes["atmospheric_rivers"] = f"left out: {asked.lacking}"
    ask = getattr(rivers, "climatology_request", None)
    request = None if ask is None else ask(ensemble=settings.soft)
    names = tuple(sorted(fields))
    return Plan(names, cyclones, rivers, settings.sc18_masks, settings.soft, notes, request)


def _lacking_extent(available: set[str], rules: Sc18MaskRules) -> str:
    """Why a cyclone's cells can't be found; empty where they can."""
    missing = [n for n in MASK_FIELDS if n not in available]
    if rules.form == "exact" and missing:
        return f"the exact extent of a cyclone needs {', '.join(missing)}, which the archive lacks"
    if len(missing) == len(MASK_FIELDS):
        return f"the extent of a cyclone needs one of {', '.join(MASK_FIELDS)}"
    return ""


def _extent_notes(available: set[str]) -> dict[str, str]:
    """What the extent of a cyclone does without."""
    missing = [n for n in MASK_FIELDS if n not in available]
    if not missing:
        return {}
    return {"cyclone_mask": f"made without {', '.join(missing)}, which the archive lacks"}


def find_in_snapshot(fields: Fields, grid: Surroundings, plan: Plan) -> Finds:
    """Everything that the rules find in one snapshot.

    Args:
        fields: Name to field (H, W), in the units of `exastorm.variables`. Missing values count
            as below every threshold.
        grid: The grid they are on.
        plan: What to look for.
    """
    centers: list[CycloneCenter] = []
    if plan.cyclones is not None:
        # One search for all members: each selects by its own thresholds later.
        centers = loosest([plan.cyclones, *plan.cyclone_members]).find(fields, grid)
    extents = [storm_extent(fields, grid, center, plan.masks) for center in centers]
    in_river = np.zeros((grid.lat.size, grid.lon.size), dtype=bool)
    if plan.rivers is None:
        return Finds(centers, extents, in_river, 0, None, ())
    found = plan.rivers.find(fields, grid)
    # A rule set that is an ensemble itself has its share already.
    ensemble = plan.river_members if found.share is None else []
    members = [member.find(fields, grid) for member in ensemble]
    share = found.share
    if members:
        share = np.mean([m.mask for m in members], axis=0, dtype=np.float32)
    counts = tuple(m.area_km2.size for m in members)
    return Finds(centers, extents, found.mask, found.area_km2.size, share, counts)


def label_snapshot(
    fields: Fields, lat: Any, lon: Any, settings: LabelSettings | None = None
) -> SnapshotLabels:
    """Label one snapshot with what its fields allow.

    Rule sets whose storms must last (teca, tempest-era5, tempest-cam) find none in a single one;
    guan_waliser needs local percentiles among the fields (`exastorm.labels.climatology`).

    Args:
        fields: Name to field (H, W), in the units of `exastorm.variables`. Missing values count
            as below every threshold.
        lat: Ascending latitudes (H,), degrees.
        lon: Ascending longitudes (W,) in [0, 360), degrees.
        settings: Rules and thresholds; the published ones by default.
    """
    grid = Surroundings.of(lat, lon)
    plan = make_plan(fields, settings or LabelSettings(), grid.spacing_deg)
    finds = find_in_snapshot(fields, grid, plan)
    table = center_table(
        finds.centers, np.zeros(len(finds.centers), dtype=int), [0.0], grid.spacing_deg
    )
    selected = [
        rules.select(table) >= 0 for rules in (plan.cyclones, *plan.cyclone_members) if rules
    ]
    chosen = selected[0] if selected else np.zeros(0, dtype=bool)
    shape = (grid.lat.size, grid.lon.size)
    layers = compose_snapshot(
        finds.extents, chosen, finds.rivers, plan.masks, np.array(selected[1:]), finds.river_share
    )
    assert layers["class_map"].shape == shape
    kept = [center for center, keep in zip(finds.centers, chosen, strict=True) if keep]
    return SnapshotLabels(layers, kept, finds.num_rivers)
