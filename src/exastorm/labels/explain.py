"""Why something is labeled or not: each candidate near a place, criterion by criterion.

The verdicts are the rule sets' own (`CycloneRules.explain`, `RiverRules.explain`), and whether a
candidate counts is what `exastorm label` makes of it: rules whose storms must last are asked about
the candidates of the hours and days around, too (`exastorm.labels.lifetimes`).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.errors import InputError
from exastorm.grid import great_circle_km
from exastorm.labels.archive import snapshot_fields
from exastorm.labels.climatology import climatology_of
from exastorm.labels.composition import cyclone_cells
from exastorm.labels.cyclones.extent import storm_extent
from exastorm.labels.cyclones.sc18_criteria import as_centers
from exastorm.labels.explanation import Explained, Explanation
from exastorm.labels.lifetimes import Lifetimes, follow_storms
from exastorm.labels.masks import compose
from exastorm.labels.moments import checked_place, step_of
from exastorm.labels.plan import Plan, checked_plan
from exastorm.labels.rule_sets import CycloneRules, ExplainsTracks, Fields, RiverRules, Verdict
from exastorm.labels.settings import LabelSettings
from exastorm.physics.surroundings import Surroundings
from exastorm.variables import CLASSES

WITHIN_DEG = 5.0
"""How far candidates may be unless told: as far as TECA's rules look from a center (5 degrees)."""

EXTENT_DEG = 12.0
"""Cyclones so much farther away are followed in time, too, since their cells may reach the place:
the corner of a box of 6.6 degrees and a radius of gales of 2 degrees."""

SAME_PLACE_DEG = 1e-4
"""A verdict and a candidate closer than this are of one center: both come from one computation."""

BEYOND = 4
"""Where nothing is near, the nearest candidate is looked for so many times as far."""


class _Snapshot(NamedTuple):
    """What is explained.

    Attributes:
        fields: The fields of the snapshot (H, W).
        grid: Their grid.
        lat: Latitude of the place, degrees.
        lon: Longitude of the place in [0, 360), degrees.
    """

    fields: Fields
    grid: Surroundings
    lat: float
    lon: float

    def verdicts(
        self, rules: CycloneRules | RiverRules, within_deg: float
    ) -> list[tuple[Verdict, float]]:
        """The verdicts of a rule set and the distance of each, degrees, the nearest first."""
        found = rules.explain(self.fields, self.grid, self.lat, self.lon, within_deg)
        away = [great_circle_km(v.lat, v.lon, self.lat, self.lon) / KM_PER_DEGREE for v in found]
        return sorted(zip(found, map(float, away), strict=True), key=lambda pair: pair[1])


def explain_snapshot(
    dataset: xr.Dataset,
    time: Any,
    lat: float,
    lon: float,
    settings: LabelSettings | None = None,
    within_deg: float = WITHIN_DEG,
) -> Explanation:
    """Explain what the rules make of a place at a time.

    Args:
        dataset: An archive in the package schema.
        time: One of its times, cftime or as text (`exastorm.labels.moments.step_of`).
        lat: Latitude of the place, degrees.
        lon: Longitude of the place, degrees east, or west if negative.
        settings: Rules and thresholds; the published ones by default.
        within_deg: How far candidates may be, degrees of a great circle.

    Raises:
        InputError: For a time or a place that the archive does not have, an archive that allows
            neither class to be labeled, or a snapshot that can't be read or is wholly missing.
    """
    if not 0 < within_deg <= 180:
        raise InputError(f"within must lie in (0, 180] degrees, got {within_deg:g}")
    # The rule sets themselves are explained, not their ensembles.
    settings = replace(settings or LabelSettings(), soft=False)
    plan = checked_plan(dataset, settings)
    source = dataset.attrs.get("source")
    grid = Surroundings.of(dataset["lat"].values, dataset["lon"].values)
    step = step_of(dataset["time"].values, time, source)
    row, column, lon = checked_place(lat, lon, grid, source)
    needed = dataset[list(plan.fields)]
    loaded = needed.isel(time=slice(step, step + 1)).load()
    seasonal, notes = _season(dataset, plan, step)
    here = _Snapshot(snapshot_fields(loaded, 0, plan.fields) | seasonal, grid, lat, lon)

    shape = grid.lat.size, grid.lon.size
    explainers: dict[str, Callable[[float], tuple[Explained, ...]]] = {}
    cyclones = rivers = np.zeros(shape, dtype=bool)
    if plan.cyclones is not None:
        reach = lat, lon, within_deg + EXTENT_DEG
        lives = follow_storms(needed, plan.fields, plan.cyclones, step, reach)
        cyclones = _cyclone_cells(here, plan, lives, step)
        explainers["cyclones"] = partial(_explain_cyclones, here, plan.cyclones, lives, step)
    if plan.rivers is not None:
        rivers = plan.rivers.find(here.fields, grid).mask
        explainers["rivers"] = partial(_explain_rivers, here, plan.rivers)
    candidates = {kind: explain(within_deg) for kind, explain in explainers.items()}
    farther = min(180.0, BEYOND * within_deg)
    beyond = {kind: explainers[kind](farther)[:1] for kind, near in candidates.items() if not near}
    class_map, _ = compose(cyclones, rivers)
    return Explanation(
        time=dataset["time"].values[step],
        lat=lat,
        lon=lon,
        within_deg=within_deg,
        rules={kind: getattr(settings, kind) for kind in explainers},
        candidates=candidates,
        beyond={kind: found[0] for kind, found in beyond.items() if found},
        notes=plan.notes | notes | _missing(here, row, column),
        class_map=class_map,
        class_name=CLASSES[class_map[row, column]].name,
        fields=plan.fields,
    )


def _season(dataset: xr.Dataset, plan: Plan, step: int) -> tuple[Fields, dict[str, str]]:
    """Local percentiles of a snapshot's season, and notes on them; none where no rule asks."""
    if plan.climatology is None:
        return {}, {}
    climatology = climatology_of(dataset, plan.climatology)
    month = dataset["time"].values[step].month
    climatology.check_enough(plan.climatology, {month})
    return dict(climatology.fields(plan.climatology, month)), climatology.notes()


def _missing(here: _Snapshot, row: int, column: int) -> dict[str, str]:
    """Which fields have no value at the place."""
    names = [name for name, values in here.fields.items() if np.isnan(values[row, column])]
    return {"missing_values": f"{', '.join(names)} without a value at the place"} if names else {}


def _cyclone_cells(here: _Snapshot, plan: Plan, lives: Lifetimes, step: int) -> NDArray[np.bool_]:
    """Cells of the cyclones of the snapshot, bool (H, W)."""
    rows = lives.rows_at(step)
    centers = as_centers(lives.table.iloc[rows])
    extents = [storm_extent(here.fields, here.grid, center, plan.masks) for center in centers]
    shape = here.grid.lat.size, here.grid.lon.size
    return cyclone_cells(extents, lives.storms[rows] >= 0, plan.masks, shape)


def _explain_rivers(here: _Snapshot, rules: RiverRules, within_deg: float) -> tuple[Explained, ...]:
    """What became of each object near the place."""
    near = here.verdicts(rules, within_deg)
    return tuple(Explained(v, away, v.passed, v.passed) for v, away in near)


def _explain_cyclones(
    here: _Snapshot, rules: CycloneRules, lives: Lifetimes, step: int, within_deg: float
) -> tuple[Explained, ...]:
    """What became of each candidate near the place."""
    near = here.verdicts(rules, within_deg)
    rows = _rows_of([verdict for verdict, _ in near], lives, step)
    return tuple(
        Explained(verdict, away, False, False)
        if row is None
        else _explain_found(verdict, away, rules, lives, row)
        for (verdict, away), row in zip(near, rows, strict=True)
    )


def _rows_of(verdicts: list[Verdict], lives: Lifetimes, step: int) -> list[int | None]:
    """Row of the candidate that each verdict is about; None of those that were not found.

    Two maxima of vorticity may share a minimum of pressure: the one that meets more criteria is
    the candidate.
    """
    found: list[int | None] = [None] * len(verdicts)
    taken: set[int] = set()
    rows = lives.rows_at(step)
    lat, lon = (lives.table[name].to_numpy()[rows] for name in ("lat", "lon"))
    most_first = sorted(
        range(len(verdicts)), key=lambda n: -sum(check.passed for check in verdicts[n].checks)
    )
    for n in most_first:
        away = great_circle_km(lat, lon, verdicts[n].lat, verdicts[n].lon) / KM_PER_DEGREE
        same = [row for row in rows[away < SAME_PLACE_DEG].tolist() if row not in taken]
        if same:
            row = max(same, key=lambda row: int(lives.storms[row]))
            found[n] = row
            taken.add(row)
    return found


def _explain_found(
    verdict: Verdict, away: float, rules: CycloneRules, lives: Lifetimes, row: int
) -> Explained:
    """What became of a candidate that meets what the snapshot decides."""
    is_labeled = bool(lives.storms[row] >= 0)
    if not isinstance(rules, ExplainsTracks):
        return Explained(verdict, away, True, is_labeled)
    rows, lasting = rules.explain_track(lives.table, row)
    track = lives.track(rows) if rules.longest_gap_hours() > 0 else None
    return Explained(verdict, away, True, is_labeled, lasting, track)
