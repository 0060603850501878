"""How well rule sets find the storms of a made-up climate, whose truth is known.

Tracks are compared with the true tracks (`exastorm.storms.track_skill`), masks with the true class
map, cell by cell (`exastorm.performance.label_overlap`).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import cftime
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.config import suggestion
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.rule_sets import CycloneRules
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS, LabelSettings
from exastorm.performance.label_finds import Finds, RuleSets, check_rules, find_all
from exastorm.performance.label_overlap import Overlap, cyclone_overlap, pooled_iou
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.synthetic.climate import true_tracks
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.settings import EPOCH, SyntheticSettings
from exastorm.storms.track_skill import MatchSettings, score_tracks

FAMILIES = {
    "low": "extratropical_low",
    "cutoff": "cutoff_low",
    "hybrid": "hybrid_low",
    "monsoon": "monsoon_low",
    "plume": "moist_plume",
    "tongue": "moist_tongue",
}
"""What the first word of a kind of system of the made-up climate means."""


@dataclass(frozen=True, kw_only=True)
class LabelSkillSettings:
    """Which rule sets are scored, and how."""

    cyclones: tuple[str, ...] = tuple(CYCLONE_SECTIONS)
    """Rule sets for tropical cyclones."""
    rivers: tuple[str, ...] = tuple(RIVER_SECTIONS)
    """Rule sets for atmospheric rivers."""
    match: MatchSettings = field(default_factory=MatchSettings)
    """What a true track is, and when a found track is the same storm."""
    num_workers: int = 1
    """Processes that make and label the climate; the result does not depend on it."""

    def __post_init__(self) -> None:
        for what, known in (("cyclones", CYCLONE_SECTIONS), ("rivers", RIVER_SECTIONS)):
            for name in getattr(self, what):
                if name not in known:
                    raise ValueError(
                        f"{what} must be rule sets, got {name!r}{suggestion(name, known)}"
                    )
        if not (self.cyclones or self.rivers):
            raise ValueError("cyclones must name a rule set where rivers names none, got none")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")


def score_labels(
    climate: SyntheticSettings,
    label: LabelSettings | None = None,
    settings: LabelSkillSettings | None = None,
) -> dict[str, Any]:
    """Make a climate, label it by several rule sets, and score them against its truth.

    Args:
        climate: What climate.
        label: Thresholds of the rule sets, the published ones by default; which of them are
            scored is in `settings`.
        settings: Rule sets to score, what a match is, processes.

    Returns:
        `score_rule_sets`.

    Raises:
        InputError: If a rule set lacks fields.
    """
    label, settings = label or LabelSettings(), settings or LabelSkillSettings()
    rules = RuleSets(
        cyclones={name: getattr(label, CYCLONE_SECTIONS[name]) for name in settings.cyclones},
        rivers={name: getattr(label, RIVER_SECTIONS[name]) for name in settings.rivers},
        masks=label.sc18_masks,
    )
    return score_rule_sets(climate, rules, settings.match, settings.num_workers)


def score_rule_sets(
    climate: SyntheticSettings,
    rules: RuleSets,
    match: MatchSettings | None = None,
    num_workers: int = 1,
) -> dict[str, Any]:
    """Score any rule sets on one climate.

    Args:
        climate: What climate.
        rules: Rule sets by name.
        match: What a true track and a match are.
        num_workers: Processes.

    Returns:
        climate: its settings. match: what a match is. truth: number of cyclones (num_cyclones) and
        of all else by kind (num_others). cyclones: by name, `tracks` (`TrackSkill.summary()`),
        `mask` (`pooled_iou`) and find_cpu_s_per_snapshot. rivers: by name, `mask` and
        find_cpu_s_per_snapshot; cells of true cyclones are left out of the rivers' masks.

    Raises:
        InputError: If a rule set lacks fields.
    """
    check_rules(climate, rules)
    match = match or MatchSettings()
    shape = (climate.height, climate.width)
    finds = find_all(climate, rules, num_workers)
    cyclones, others = truth_tables(climate)
    scores: dict[str, Any] = {
        "climate": asdict(climate),
        "match": asdict(match),
        "truth": {
            "num_cyclones": int(cyclones["track"].nunique()),
            "num_others": _count_kinds(others),
        },
        "cyclones": {},
        "rivers": {},
    }
    for name, rule_set in rules.cyclones.items():
        centers, ids = _select(rule_set, [find.centers[name] for find in finds], climate)
        found = centers.assign(track=ids)[ids >= 0]
        scores["cyclones"][name] = {
            "tracks": score_tracks(cyclones, found, others, match).summary(),
            "mask": pooled_iou(
                _cyclone_overlaps(name, finds, ids, rules, shape), climate.step_hours
            ),
            "find_cpu_s_per_snapshot": _cpu_s(finds, f"cyclones {name}"),
        }
    for name in rules.rivers:
        scores["rivers"][name] = {
            "mask": pooled_iou([find.rivers[name] for find in finds], climate.step_hours),
            "find_cpu_s_per_snapshot": _cpu_s(finds, f"rivers {name}"),
        }
    return scores


def truth_tables(climate: SyntheticSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The true cyclones, and all other systems, as `score_tracks` takes them.

    `hour` counts from the first snapshot; a low with an atmospheric river is a river_low.
    """
    table = true_tracks(climate).rename(columns={"storm_id": "track"})
    since = cftime.date2num(table["time"].tolist(), EPOCH, calendar=climate.calendar)
    table["hour"] = np.asarray(since, dtype=np.float64) - climate.first_hour()
    is_cyclone = table["kind"] == "tropical_cyclone"
    others = table[~is_cyclone].copy()
    others["kind"] = others["kind"].str.split("_").str[0].map(FAMILIES)
    has_river = others.groupby("track")["in_truth"].transform("any").astype(bool)
    others.loc[has_river, "kind"] = "river_low"
    return table[is_cyclone].reset_index(drop=True), others.reset_index(drop=True)


def _count_kinds(others: pd.DataFrame) -> dict[str, int]:
    """Number of systems of each kind."""
    counts = others.groupby("kind")["track"].nunique()
    return {str(kind): int(number) for kind, number in counts.items()}


def _select(
    rule_set: CycloneRules, centers: list[list[CycloneCenter]], climate: SyntheticSettings
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The candidates of all snapshots as a table, and the number of the storm of each."""
    earth = make_earth(climate.height, climate.width)
    spacing_deg = Surroundings.of(earth.lat, earth.lon).spacing_deg
    steps = np.repeat(np.arange(len(centers)), [len(found) for found in centers])
    flat = [center for found in centers for center in found]
    hours = (climate.hours() - climate.first_hour()).astype(np.float64)
    table = center_table(flat, steps, hours, spacing_deg)
    return table, rule_set.select(table)


def _cyclone_overlaps(
    name: str, finds: list[Finds], ids: NDArray[np.int64], rules: RuleSets, shape: tuple[int, int]
) -> list[Overlap]:
    """Overlap of selected cyclones with the true ones in each snapshot."""
    overlaps = []
    start = 0
    for find in finds:
        extents = find.extents[name]
        chosen = ids[start : start + len(extents)] >= 0
        start += len(extents)
        overlap = cyclone_overlap(extents, chosen, find.cyclone_cells, rules.masks, shape)
        overlaps.append(overlap)
    return overlaps


def _cpu_s(finds: list[Finds], name: str) -> float:
    """Mean CPU time of a rule set's `find`, s."""
    return float(np.mean([find.cpu_s[name] for find in finds]))
