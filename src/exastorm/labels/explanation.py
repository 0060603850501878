"""What the rules say of a place at a time: the answer of `exastorm.labels.explain`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.moments import time_text
from exastorm.labels.rule_sets import Check, Verdict


class Track(NamedTuple):
    """The track of a candidate, whether or not it counts.

    Attributes:
        num_points: Number of candidates that it links.
        first_time: When it begins, cftime.
        last_time: When it ends, cftime.
        is_whole: Whether its ends lie within the time that was looked at.
    """

    num_points: int
    first_time: Any
    last_time: Any
    is_whole: bool

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON."""
        times = {"first_time": time_text(self.first_time), "last_time": time_text(self.last_time)}
        return {**self._asdict(), **times}


class Explained(NamedTuple):
    """What became of one candidate.

    Attributes:
        verdict: The criteria that are applied in the snapshot.
        distance_deg: Distance from the place, degrees.
        is_found: Whether it meets all that the snapshot alone decides.
        is_labeled: Whether it counts in the end.
        lasting: The criteria that are applied to what was found, such as how long a track lasts.
        track: Its track; None for rivers, for what is not found, and for rules without tracks.
    """

    verdict: Verdict
    distance_deg: float
    is_found: bool
    is_labeled: bool
    lasting: tuple[Check, ...] = ()
    track: Track | None = None

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON; what could not be measured is None."""
        return {
            "candidate": self.verdict.candidate,
            "lat": self.verdict.lat,
            "lon": self.verdict.lon,
            "distance_deg": self.distance_deg,
            "is_found": self.is_found,
            "is_labeled": self.is_labeled,
            "checks": [_check_dict(check) for check in self.verdict.checks],
            "lasting": [_check_dict(check) for check in self.lasting],
            "track": None if self.track is None else self.track.to_dict(),
        }


def _check_dict(check: Check) -> dict[str, Any]:
    """A criterion for JSON, which knows no NaN."""
    numbers = {"value": float(check.value), "threshold": float(check.threshold)}
    known = {name: number if np.isfinite(number) else None for name, number in numbers.items()}
    return {**check._asdict(), **known, "passed": bool(check.passed)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What the rules say of a place at a time.

    Attributes:
        time: The snapshot, cftime.
        lat: Latitude of the place, degrees.
        lon: Longitude of the place in [0, 360), degrees.
        within_deg: How far candidates may be, degrees.
        rules: "cyclones" and "rivers" to the name of their rule set; without what is left out.
        candidates: The same to the candidates near, the nearest first.
        beyond: The same to the nearest candidate farther away, where there is none near.
        notes: What is left out or replaced, and why, by topic.
        class_map: Class of each cell of the snapshot, int8 (H, W).
        class_name: Class of the cell that holds the place.
        fields: Names of the fields that the rules read.
    """

    time: Any
    lat: float
    lon: float
    within_deg: float
    rules: dict[str, str]
    candidates: dict[str, tuple[Explained, ...]]
    beyond: dict[str, Explained]
    notes: dict[str, str]
    class_map: NDArray[np.int8]
    class_name: str
    fields: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All but the map, for JSON."""
        return {
            "time": time_text(self.time),
            "lat": self.lat,
            "lon": self.lon,
            "within_deg": self.within_deg,
            "class": self.class_name,
            "rules": self.rules,
            **{name: [one.to_dict() for one in found] for name, found in self.candidates.items()},
            "beyond": {name: one.to_dict() for name, one in self.beyond.items()},
            "notes": dict(self.notes),
        }
