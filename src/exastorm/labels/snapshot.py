"""The labels of one snapshot, and what they can be made from.

Labels are made in two steps. What a snapshot holds is found in it alone (`find_in_snapshot`):
candidates of cyclones with the cells each would claim, and rivers. Which candidates count is
selected once all snapshots of an archive are known (`exastorm.labels.selection`), since storms
must last.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import check_grid, check_without_gap
from exastorm.labels.composition import compose_snapshot
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.cyclones.extent import Extent, storm_extent
from exastorm.labels.plan import Plan, check_not_idle, lasting_hours, make_plan
from exastorm.labels.rule_sets import Fields, loosest
from exastorm.labels.settings import LabelSettings
from exastorm.physics.surroundings import Surroundings


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
        notes: What is left out or replaced, and why, by topic.
    """

    layers: dict[str, NDArray[Any]]
    centers: list[CycloneCenter]
    num_rivers: int
    notes: dict[str, str]

    @property
    def class_map(self) -> NDArray[Any]:
        """Class of each cell, int8 (H, W), flags of `exastorm.variables.CLASSES`."""
        return self.layers["class_map"]

    @property
    def rule(self) -> NDArray[Any]:
        """Rule that made it, int8 (H, W), flags of `exastorm.labels.masks.rule_attrs`."""
        return self.layers["rule"]


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

    guan_waliser needs local percentiles among the fields (`exastorm.labels.climatology`).

    Args:
        fields: Name to field (H, W), in the units of `exastorm.variables`. Missing values count
            as below every threshold.
        lat: Ascending latitudes (H,), degrees.
        lon: Ascending longitudes (W,) in [0, 360), degrees.
        settings: Rules and thresholds; the published ones by default.

    Raises:
        InputError: If the grid or a field's shape is wrong, neither class can be labeled, or the
            rule set for cyclones asks that they last (teca, tempest-cam, tempest-era5).
    """
    settings = settings or LabelSettings()
    check_grid(lat, lon)
    check_without_gap(lon)
    grid = Surroundings.of(lat, lon)
    shape = (grid.lat.size, grid.lon.size)
    plan = make_plan(fields, settings, grid.spacing_deg)
    check_not_idle(plan)
    for name in plan.fields:
        if np.shape(fields[name]) != shape:
            raise InputError(
                f"must have shape {shape}, got {np.shape(fields[name])}", variable=name
            )
    if plan.cyclones and lasting_hours(plan.cyclones) > 0:
        raise InputError(
            f"cyclones of the rule set {settings.cyclones} must last"
            f" {lasting_hours(plan.cyclones):g} h, which one snapshot can't show; sc18 can"
        )
    finds = find_in_snapshot(fields, grid, plan)
    table = center_table(
        finds.centers, np.zeros(len(finds.centers), dtype=int), [0.0], grid.spacing_deg
    )
    selected = [
        rules.select(table) >= 0 for rules in (plan.cyclones, *plan.cyclone_members) if rules
    ]
    chosen = selected[0] if selected else np.zeros(0, dtype=bool)
    layers = compose_snapshot(
        finds.extents, chosen, finds.rivers, plan.masks, np.array(selected[1:]), finds.river_share
    )
    kept = [center for center, keep in zip(finds.centers, chosen, strict=True) if keep]
    return SnapshotLabels(layers, kept, finds.num_rivers, plan.notes)
