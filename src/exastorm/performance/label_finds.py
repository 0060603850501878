"""What rule sets find in a made-up climate: every snapshot is made once and shown to all of them.

Making a snapshot takes longer than labeling it, so no field is kept: what is kept of a snapshot are
the candidates of each rule set for cyclones with the cells that each would cover, the cells of the
true cyclones, and how many cells the rivers of each rule set share with the true ones.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cftime
import numpy as np
from numpy.typing import NDArray

from exastorm.constants import STANDARD_GRAVITY
from exastorm.errors import InputError
from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.extent import Extent, Sc18MaskRules, storm_extent
from exastorm.labels.rule_sets import CycloneRules, Fields, RiverRules
from exastorm.labels.workers import run_jobs
from exastorm.performance.label_climatology import local_percentiles, with_climatologies
from exastorm.performance.label_overlap import Overlap, river_overlap
from exastorm.physics.surroundings import Surroundings
from exastorm.progress import ProgressBar
from exastorm.readers.synthetic.climate import BLOCK_LENGTH, field_names, snapshot
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.quantize import quantize
from exastorm.readers.synthetic.settings import EPOCH, SyntheticSettings
from exastorm.variables import TROPICAL_CYCLONE


@dataclass(frozen=True, kw_only=True)
class RuleSets:
    """Rule sets to compare.

    Attributes:
        cyclones: Those for tropical cyclones, by name.
        rivers: Those for atmospheric rivers, by name.
        masks: Extent of a cyclone round its center, for all of them.
    """

    cyclones: dict[str, CycloneRules]
    rivers: dict[str, RiverRules]
    masks: Sc18MaskRules


class Finds(NamedTuple):
    """What was found in one snapshot.

    Attributes:
        centers: Candidates of each rule set for cyclones.
        extents: The cells that each candidate would cover.
        cyclone_cells: Flat numbers of the cells of true cyclones.
        rivers: Overlap with the true rivers of each rule set for rivers.
        cpu_s: CPU time of `find` of each rule set, "cyclones NAME" and "rivers NAME", s.
    """

    centers: dict[str, list[CycloneCenter]]
    extents: dict[str, list[Extent]]
    cyclone_cells: NDArray[np.int32]
    rivers: dict[str, Overlap]
    cpu_s: dict[str, float]


def available_fields(climate: SyntheticSettings) -> set[str]:
    """Names of the fields that rule sets can read in a made-up climate."""
    static = {"PHIS", "LANDFRAC"} if climate.optional_fields else set()
    return {*field_names(climate), *static}


def check_rules(climate: SyntheticSettings, rules: RuleSets) -> None:
    """Refuse rule sets that can't work in a climate.

    Raises:
        InputError: Naming the rule set and what it lacks.
    """
    available = available_fields(climate)
    plans = [(name, rule_set.plan(available)) for name, rule_set in rules.cyclones.items()]
    plans += [(name, rule_set.plan(available)) for name, rule_set in rules.rivers.items()]
    for name, plan in plans:
        if plan.lacking:
            raise InputError(f"rule set {name} can't label this climate: {plan.lacking}")


def find_all(climate: SyntheticSettings, rules: RuleSets, num_workers: int = 1) -> list[Finds]:
    """Show every snapshot of a climate to all rule sets.

    Args:
        climate: What climate; it is never on disk nor in memory as a whole.
        rules: Rule sets.
        num_workers: Processes; the result does not depend on it.

    Returns:
        One for each snapshot, in the order of time.
    """
    with TemporaryDirectory(prefix="exastorm.") as folder:
        rivers = with_climatologies(climate, rules.rivers, Path(folder))
        return _find_blocks(climate, replace(rules, rivers=rivers), num_workers)


def _find_blocks(climate: SyntheticSettings, rules: RuleSets, num_workers: int) -> list[Finds]:
    """`find_all` with rule sets that have all they need beside the fields."""
    hours = [int(hour) for hour in climate.hours()]
    starts = range(0, len(hours), BLOCK_LENGTH)
    blocks = [tuple(hours[start : start + BLOCK_LENGTH]) for start in starts]
    found: dict[int, list[Finds]] = {}
    with ProgressBar("score labels", len(hours)) as bar:
        for number, finds in run_jobs(
            _find_block,
            (climate, rules),
            enumerate(blocks),
            num_workers=min(num_workers, len(blocks)),
        ):
            found[number] = finds
            bar.advance(len(finds))
    return [finds for number in range(len(blocks)) for finds in found[number]]


def _find_block(
    climate: SyntheticSettings, rules: RuleSets, number: int, hours: tuple[int, ...]
) -> tuple[int, list[Finds]]:
    """The finds of some absolute hours, with the number of their block."""
    earth = make_earth(climate.height, climate.width)
    grid = Surroundings.of(earth.lat, earth.lon)
    static: Fields = {}
    if climate.optional_fields:
        static["LANDFRAC"] = quantize("LANDFRAC", earth.land)
        static["PHIS"] = quantize("PHIS", earth.terrain * STANDARD_GRAVITY)
    finds = []
    for hour in hours:
        fields = snapshot(climate, hour)
        truth = fields.pop("truth")
        date = cftime.num2date(hour, EPOCH, calendar=climate.calendar)
        finds.append(find_snapshot({**fields, **static}, truth, grid, rules, date.month))
    return number, finds


def find_snapshot(
    fields: Fields, truth: NDArray[np.int8], grid: Surroundings, rules: RuleSets, month: int
) -> Finds:
    """What all rule sets find in one snapshot.

    Args:
        fields: Fields (H, W), in the units of `exastorm.variables`.
        truth: True class of each cell (H, W).
        grid: Their grid.
        rules: Rule sets; those for rivers with the files of their climatologies.
        month: Calendar month, 1 to 12.
    """
    available = set(fields)
    centers: dict[str, list[CycloneCenter]] = {}
    rivers: dict[str, Overlap] = {}
    cpu_s: dict[str, float] = {}
    for name, cyclone_rules in rules.cyclones.items():
        planned = {key: fields[key] for key in cyclone_rules.plan(available).fields}
        began = time.process_time()
        centers[name] = cyclone_rules.find(planned, grid)
        cpu_s[f"cyclones {name}"] = time.process_time() - began
    for name, river_rules in rules.rivers.items():
        planned = {key: fields[key] for key in river_rules.plan(available).fields}
        planned |= local_percentiles(river_rules, grid, month)
        began = time.process_time()
        mask = river_rules.find(planned, grid).mask
        cpu_s[f"rivers {name}"] = time.process_time() - began
        rivers[name] = river_overlap(mask, truth)
    extents = {
        name: [storm_extent(fields, grid, center, rules.masks) for center in found]
        for name, found in centers.items()
    }
    cells = np.flatnonzero(truth == TROPICAL_CYCLONE).astype(np.int32)
    return Finds(centers, extents, cells, rivers, cpu_s)
