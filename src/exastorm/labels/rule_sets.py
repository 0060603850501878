"""What every rule set is asked: which fields it needs, what it finds, which of it counts, and why.

A rule set is a frozen dataclass of thresholds with the verbs of `CycloneRules` or `RiverRules`.
Finding looks at one snapshot alone, so it may run anywhere and in any order; selecting looks at
all that was found in an archive, in the order of time, and is cheap.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.physics.surroundings import Surroundings

Fields = dict[str, NDArray[np.floating[Any]]]


class FieldPlan(NamedTuple):
    """Which fields a rule set reads of those that an archive has.

    Attributes:
        fields: Names of the fields to read; empty where it can't work.
        lacking: Why it can't work, such as "the archive lacks PSL"; empty where it can.
        notes: What is done without or replaced, and why, by topic.
    """

    fields: tuple[str, ...]
    lacking: str = ""
    notes: Mapping[str, str] = MappingProxyType({})


class Check(NamedTuple):
    """One criterion, applied to one candidate.

    Attributes:
        criterion: What is measured, with its unit, such as "pressure rise within 5 degrees, Pa".
        value: What was measured; NaN where it could not be.
        threshold: What it was compared with.
        passed: Whether it met the criterion.
        comparison: How value and threshold are compared, such as ">=".
    """

    criterion: str
    value: float
    threshold: float
    passed: bool
    comparison: str = ">="


class Verdict(NamedTuple):
    """All criteria of a rule set, applied to one candidate.

    Attributes:
        candidate: What it is, such as "pressure minimum".
        lat: Latitude, degrees.
        lon: Longitude, degrees.
        checks: Each criterion in the order it is applied.
    """

    candidate: str
    lat: float
    lon: float
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every criterion is met."""
        return all(check.passed for check in self.checks)


class TrackVerdict(NamedTuple):
    """What a rule set asks of the track that a candidate is part of.

    Attributes:
        rows: Row numbers of the track's candidates in the table, in the order of time; at least
            the candidate's own.
        checks: Each criterion that `select` applies to the track; the candidate belongs to a storm
            where all are met.
    """

    rows: tuple[int, ...]
    checks: tuple[Check, ...]


class Rivers(NamedTuple):
    """The atmospheric rivers of one snapshot.

    Attributes:
        mask: Their cells, bool (H, W).
        area_km2: Area of each, (N,).
        length_km: Length of each, (N,); NaN where the rule does not measure it.
        share: Share of an ensemble that flags each cell, float32 (H, W); None of a single rule.
    """

    mask: NDArray[np.bool_]
    area_km2: NDArray[np.float64]
    length_km: NDArray[np.float64]
    share: NDArray[np.float32] | None = None


class CycloneRules(Protocol):
    """A rule set for tropical cyclones."""

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""

    def find(self, fields: Fields, grid: Surroundings) -> list[CycloneCenter]:
        """Candidates of one snapshot, with every measured value that `select` asks about."""

    def select(self, centers: pd.DataFrame) -> NDArray[np.int64]:
        """Number of the storm that each candidate belongs to, -1 of those that belong to none.

        Args:
            centers: Candidates of an archive in the order of time: the columns of `CycloneCenter`,
                `step` (number of the snapshot) and `hour` (hours since the first snapshot), and
                in `attrs["hours"]` the hours (T,) of all snapshots, those without candidates too,
                in `attrs["spacing_deg"]` the grid spacing.
        """

    def members(self) -> "list[CycloneRules]":
        """Rule sets of a threshold ensemble, the loosest first: this one with other thresholds."""

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on every candidate of one snapshot near a place, the nearest first."""


@runtime_checkable
class ExplainsTracks(Protocol):
    """A rule set for tropical cyclones that tells why `select` takes or leaves a candidate."""

    def longest_gap_hours(self) -> float:
        """How far from a track's ends candidates still decide where it ends; 0 without tracks."""

    def explain_track(self, centers: pd.DataFrame, row: int) -> TrackVerdict:
        """The track of the candidate in a row of the table that `select` takes."""


class RiverRules(Protocol):
    """A rule set for atmospheric rivers."""

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot."""

    def members(self) -> "list[RiverRules]":
        """Rule sets of a threshold ensemble."""

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on every object of one snapshot near a place, the nearest first."""


def loosest(rule_sets: "list[CycloneRules]") -> "CycloneRules":
    """A rule set whose `find` gives the candidates of all of these.

    They are of one class and differ in least values (`min_...`) and largest ones (`max_...`) alone.
    """
    rules: Any = rule_sets[0]
    changes: dict[str, float] = {}
    for field in fields(rules):
        values = [getattr(one, field.name) for one in rule_sets]
        if isinstance(values[0], float) and field.name.startswith(("min_", "max_")):
            changes[field.name] = min(values) if field.name.startswith("min_") else max(values)
    loose: CycloneRules = replace(rules, **changes)
    return loose
