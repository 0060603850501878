"""From candidates to tracks: the rules of TempestExtremes' StitchNodes.

Candidates are linked as `exastorm.linking.pointers` says. A track counts if it lasts long enough
and enough of its points are windy, near the equator and low (Ullrich et al. 2021, Geosci. Model
Dev. 14, 5023).

StitchNodes reads positions and winds from the text that DetectNodes writes; they are rounded here
as they are there. It counts points whatever the time between them; here a point counts for the
time that it stands for, which at 6-hourly data is the same.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.labels.rule_sets import Check
from exastorm.linking.pointers import SECOND, FloatArray, Positions, follow, nearest_later


@dataclass(frozen=True, kw_only=True)
class StitchRules:
    """Which candidates make a track, and which tracks count (Ullrich et al. 2021)."""

    range_deg: float = 8.0
    """Farthest next point, degrees of a great circle (StitchNodes --range)."""
    max_gap_hours: float = 24.0
    """Longest time to the next point, h (--maxgap)."""
    min_hours: float = 54.0
    """Shortest time from the first to the last point, h (--mintime)."""
    min_points: int = 10
    """So many points of a track, 6 h apart, must meet each of the next three."""
    min_wind_ms: float = 10.0
    """Least 10 m wind, m s-1 (--threshold wind)."""
    max_latitude_deg: float = 50.0
    """Farthest from the equator, degrees (--threshold lat)."""
    max_height_m: float = 150.0
    """Highest surface, m (--threshold zs)."""
    count_by_hours: bool = True
    """Whether a point counts for the hours it stands for, over 6; else for one, as StitchNodes
    counts at every time step."""
    min_end_distance_deg: float = 0.0
    """Least distance between the ends of a track, degrees (--min_endpoint_dist, 0 by default)."""
    min_length_deg: float = 0.0
    """Least length of a track, degrees (--min_path_dist, 0 by default)."""

    def __post_init__(self) -> None:
        for name in ("range_deg", "max_gap_hours"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("min_hours", "min_wind_ms", "min_end_distance_deg", "min_length_deg"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.min_points < 1:
            raise ValueError(f"min_points must be at least 1, got {self.min_points}")
        if np.isnan(self.max_height_m):
            raise ValueError(f"max_height_m must be a number, got {self.max_height_m}")
        if not 0 < self.max_latitude_deg <= 90:
            raise ValueError(f"max_latitude_deg must lie in (0, 90], got {self.max_latitude_deg}")


def stitch(centers: pd.DataFrame, rules: StitchRules) -> list[NDArray[np.intp]]:
    """The tracks that count, in the order in which StitchNodes writes them.

    Args:
        centers: Candidates in the order of time: `step`, `lat`, `lon` (degrees), `max_wind_ms`,
            `surface_height_m` (where all are missing, the rule is left out), and in
            `attrs["hours"]` the hours (T,) of all snapshots.
        rules: What makes a track.

    Returns:
        Row numbers of the points of each track. Tracks may share their last point.
    """
    criteria = TrackCriteria(centers, rules)
    return [track for track in criteria.tracks() if criteria.counts(track)]


class TrackCriteria:
    """What the rules ask of the tracks of one table of candidates."""

    def __init__(self, centers: pd.DataFrame, rules: StitchRules) -> None:
        self._rules = rules
        self._hours = np.asarray(centers.attrs["hours"], dtype=np.float64)
        self._steps = centers["step"].to_numpy(dtype=np.int64)
        self._positions = Positions(centers["lat"].to_numpy(float), centers["lon"].to_numpy(float))
        weights = _weights(self._hours, rules)[self._steps]
        self._met = {name: met * weights for name, met in _point_rules(centers, rules).items()}

    def tracks(self) -> list[NDArray[np.intp]]:
        """All tracks of more than one point, whether or not they count."""
        pointers = nearest_later(
            self._hours,
            self._steps,
            self._positions,
            range_deg=self._rules.range_deg,
            max_gap_hours=self._rules.max_gap_hours,
        )
        return follow(pointers)

    def track_through(self, point: int) -> NDArray[np.intp]:
        """The track that a candidate belongs to, by the choice of `track_numbers`.

        If none counts, the one that goes on from it; where there is none, the candidate alone.
        """
        tracks = [track for track in self.tracks() if point in track]
        tracks.sort(key=lambda track: (not self.counts(track), track[-1] == point))
        return tracks[0] if tracks else np.array([point], dtype=np.intp)

    def counts(self, track: NDArray[np.intp]) -> bool:
        """Whether a track meets all criteria."""
        return all(check.passed for check in self.checks(track))

    def checks(self, track: NDArray[np.intp]) -> list[Check]:
        """Each criterion, applied to a track."""
        rules, points = self._rules, track.tolist()
        hours = self._hours[self._steps[points]]
        checks = [
            _at_least(
                "time from its first to its last point, h",
                hours[-1] - hours[0],
                rules.min_hours,
                slack=SECOND,
            )
        ]
        # A thousandth of a point: sums of hours are rounded.
        checks += [
            _at_least(f"points of its track with {name}", met[points].sum(), rules.min_points, 1e-3)
            for name, met in self._met.items()
        ]
        if rules.min_end_distance_deg > 0:
            far = self._positions.distance_deg(points[0], points[-1])
            least = rules.min_end_distance_deg
            checks.append(_at_least("distance between its ends, degrees", far, least))
        if rules.min_length_deg > 0:
            far = sum(self._positions.distance_deg(*leg) for leg in pairwise(points))
            checks.append(_at_least("length of its track, degrees", far, rules.min_length_deg))
        return checks


def _at_least(name: str, value: float, least: float, slack: float = 0.0) -> Check:
    return Check(name, float(value), least, bool(value >= least - slack))


def _weights(hours: FloatArray, rules: StitchRules) -> FloatArray:
    """How many points 6 h apart a point of each snapshot (T,) stands for.

    Half the time from the snapshot before to the one after; at an end, the time on its one side. A
    hole in the archive counts as the usual time, which is the median, at least 6 h.
    """
    if not rules.count_by_hours or hours.size < 2:
        return np.ones(hours.size)
    gaps = np.diff(hours)
    usual = float(np.median(gaps))
    gaps = np.minimum(gaps, max(usual, 6.0))
    before, after = np.append(gaps[0], gaps), np.append(gaps, gaps[-1])
    return np.asarray(0.5 * (before + after) / 6.0)


def _point_rules(centers: pd.DataFrame, rules: StitchRules) -> dict[str, NDArray[np.bool_]]:
    """Which points (N,) are windy, not too far north, not too far south, and low."""
    wind = _as_written(centers["max_wind_ms"])
    lat = np.round(centers["lat"].to_numpy(float), 6)
    height = centers["surface_height_m"].to_numpy(float)
    met = {
        f"wind >= {rules.min_wind_ms:g} m s-1": wind >= rules.min_wind_ms,
        f"latitude <= {rules.max_latitude_deg:g}": lat <= rules.max_latitude_deg,
        f"latitude >= {-rules.max_latitude_deg:g}": lat >= -rules.max_latitude_deg,
    }
    if not np.isnan(height).all():
        name = f"surface <= {rules.max_height_m:g} m"
        met[name] = _as_written(height) <= rules.max_height_m
    return met


def _as_written(values: Any) -> FloatArray:
    """Numbers to the seven digits that DetectNodes writes."""
    return np.array([float(f"{value:.6e}") for value in values])
