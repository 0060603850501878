"""What is labeled with the fields and times that are there, and by which rules on this grid."""

from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import check_without_gap
from exastorm.labels.climatology import ClimatologyRequest
from exastorm.labels.cyclones.extent import MASK_FIELDS, Sc18MaskRules
from exastorm.labels.cyclones.sc18_thresholds import Sc18Thresholds
from exastorm.labels.rule_sets import CycloneRules, RiverRules
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS, LabelSettings
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.assembly import STILL_FIELDS
from exastorm.readers.schema import DIMS, check_dataset, field_names


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
        """Members of the cyclones' ensemble, these rules among them; empty without one."""
        return with_itself(self.cyclones) if self.soft and self.cyclones else []

    @property
    def river_members(self) -> list[RiverRules]:
        """Members of the rivers' ensemble, these rules among them; empty without one."""
        return with_itself(self.rivers) if self.soft and self.rivers else []


def with_itself(rules: Any) -> list[Any]:
    """The members of a rule set's ensemble, and the rule set where its thresholds are none of them.

    So a count lies within the counts of its ensemble, and each cell of a class has a share.
    """
    members = rules.members()
    return members if rules in members else [*members, rules]


def checked_plan(dataset: xr.Dataset, settings: LabelSettings) -> Plan:
    """What can be labeled, of an archive in the schema.

    Raises:
        InputError: If it is not in the schema, has no snapshot or a grid with a hole, or allows
            neither class.
    """
    source = dataset.attrs.get("source")
    check_dataset(dataset, source)
    check_without_gap(dataset["lon"].values, source)
    times = dataset["time"].values
    if times.size == 0:
        raise InputError("must have at least one snapshot, got none", file=source)
    spacing_deg = Surroundings.of(dataset["lat"].values, dataset["lon"].values).spacing_deg
    plan = make_plan(field_names(dataset), settings, spacing_deg)
    check_not_idle(plan, source)
    for name in plan.fields:
        still = name in STILL_FIELDS and dataset[name].dims == DIMS[1:]
        if dataset[name].dims != DIMS and not still:
            raise InputError(
                f"must have dimensions {DIMS}, got {dataset[name].dims}", file=source, variable=name
            )
    hours = np.array([(time - times[0]).total_seconds() / 3600.0 for time in times])
    return plan._replace(notes=plan.notes | _time_notes(plan.cyclones, hours))


def check_not_idle(plan: Plan, file: str | None = None) -> None:
    """Refuse a plan that labels nothing.

    Raises:
        InputError: Saying why neither class can be labeled.
    """
    if plan.cyclones is None and plan.rivers is None:
        why = "; ".join(f"{topic} {note}" for topic, note in plan.notes.items())
        raise InputError(f"nothing to label: {why}", file=file)


def lasting_hours(rules: CycloneRules) -> float:
    """How long a cyclone must last to count, h; 0 where a single snapshot is enough."""
    least = getattr(rules, "lasting_hours", None)
    return 0.0 if least is None else float(least())


def _time_notes(rules: CycloneRules | None, hours: Any) -> dict[str, str]:
    """Why no cyclone can be found in so short or so coarse an archive."""
    if rules is None:
        return {}
    need = lasting_hours(rules)
    span = float(hours[-1] - hours[0])
    other = "; the rule set sc18 needs no tracks"
    if span < need:
        told = f"none can be found: they must last {need:g} h, the archive spans {span:g} h{other}"
        return {"tropical_cyclones": told}
    longest: float = getattr(rules, "longest_gap_hours", lambda: 0.0)()
    if need > 0 and hours.size > 1 and np.diff(hours).min() > longest:
        step = float(np.median(np.diff(hours)))
        told = (
            f"none can be found: snapshots are {step:g} h apart, and tracks go over {longest:g} h"
            f" at most{other}"
        )
        return {"tropical_cyclones": told}
    return {}


def _unused_notes(settings: LabelSettings) -> dict[str, str]:
    """Thresholds that were given for rule sets that are not asked for."""
    used = {CYCLONE_SECTIONS.get(settings.cyclones), RIVER_SECTIONS.get(settings.rivers)}
    sections = {*CYCLONE_SECTIONS.values(), *RIVER_SECTIONS.values()} - used
    published = LabelSettings()
    given = [
        field.name
        for field in fields(settings)
        if field.name in sections
        and getattr(settings, field.name) != getattr(published, field.name)
    ]
    if not given:
        return {}
    return {"unused_thresholds": f"those of {', '.join(given)}, which make no label here"}


def make_plan(available: Any, settings: LabelSettings, spacing_deg: float) -> Plan:
    """Decide what can be labeled with the fields that an archive has, on a grid of this spacing."""
    available = set(available)
    notes = _unused_notes(settings)
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
