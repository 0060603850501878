"""Scores of found tracks against true ones: ratios with their intervals, by intensity, and errors.

Ratios come with 95 % Wilson intervals, which take tracks as independent of each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from exastorm.storms.track_matching import MatchSettings

CATEGORY_WINDS_MS = (33.0, 43.0, 50.0, 58.0, 70.0)
"""Least winds of categories 1 to 5 of the Saffir-Simpson scale, m s-1 (64, 83, 96, 113, 137 kt)."""

CATEGORIES = (
    "tropical_storm",
    "category_1",
    "category_2",
    "category_3",
    "category_4",
    "category_5",
)
"""What a track is by its lifetime maximum wind."""


def intensity(peak_wind_ms: float) -> str:
    """Category of a lifetime maximum wind, m s-1, "tropical_storm" below; "unknown" of NaN."""
    if np.isnan(peak_wind_ms):
        return "unknown"
    return CATEGORIES[int(np.searchsorted(CATEGORY_WINDS_MS, peak_wind_ms, side="right"))]


def ratio(part: int, whole: int) -> dict[str, float | None]:
    """Part of whole with its 95 % Wilson interval; None where the whole is empty.

    Returns:
        value, low, high (Wilson 1927, J. Amer. Stat. Assoc. 22, 209).
    """
    if whole == 0:
        return {"value": None, "low": None, "high": None}
    interval = binomtest(part, whole).proportion_ci(0.95, method="wilson")
    return {"value": part / whole, "low": float(interval.low), "high": float(interval.high)}


@dataclass(frozen=True, kw_only=True)
class TrackSkill:
    """Found tracks against true ones.

    Attributes:
        true: One row a true track: track, lifetime_hours, peak_wind_ms, intensity, match (found
            track or None), best_share (greatest share of its life that any found track is near).
        found: One row a found track: track, lifetime_hours, peak_wind_ms, intensity, match (true
            track or None), cause (what was there; "tropical_cyclone" of a match), cyclone_share
            (share of its sightings with a cyclone of any sort near).
        pairs: One row a match: true, found, life_share, hours_late (first found sighting after the
            first true one), hours_short (last found sighting before the last true one),
            peak_wind_error_ms (found less true).
        position_errors_km: Distances (N,) of all matches at all true sightings that the found
            track reaches.
        settings: What a match is.
    """

    true: pd.DataFrame
    found: pd.DataFrame
    pairs: pd.DataFrame
    position_errors_km: NDArray[np.float64]
    settings: MatchSettings

    def summary(self) -> dict[str, Any]:
        """All scores, ready for JSON.

        Returns:
            num_true, num_found, num_matched. With value, low and high: probability_of_detection,
            ever_near_ratio (true tracks that a found one is near at least once),
            false_alarm_ratio, no_cyclone_ratio (found tracks with no cyclone near for
            `min_life_share` of their own life). by_true_intensity, by_found_intensity: those
            of each category. false_alarms: their number by cause. position_error_km, life_share,
            hours_late, hours_short, peak_wind_error_ms: mean, median and 90th percentile of
            matches; None without any.
        """
        num_matched, num_found = len(self.pairs), len(self.found)
        elsewhere = int((self.found["cyclone_share"] < self.settings.min_life_share).sum())
        causes = self.found.loc[self.found["match"].isna(), "cause"].value_counts()
        return {
            "num_true": len(self.true),
            "num_found": num_found,
            "num_matched": num_matched,
            "probability_of_detection": ratio(num_matched, len(self.true)),
            "ever_near_ratio": ratio(int((self.true["best_share"] > 0).sum()), len(self.true)),
            "false_alarm_ratio": ratio(num_found - num_matched, num_found),
            "no_cyclone_ratio": ratio(elsewhere, num_found),
            "by_true_intensity": _by_intensity(self.true, "probability_of_detection", hit=True),
            "by_found_intensity": _by_intensity(self.found, "false_alarm_ratio", hit=False),
            "false_alarms": {str(cause): int(causes[cause]) for cause in sorted(causes.index)},
            "position_error_km": _spread(self.position_errors_km),
            **{
                name: _spread(self.pairs[name].to_numpy(dtype=np.float64))
                for name in ("life_share", "hours_late", "hours_short", "peak_wind_error_ms")
            },
        }


def _by_intensity(table: pd.DataFrame, name: str, *, hit: bool) -> dict[str, dict[str, Any]]:
    """A ratio in each category of intensity that has tracks, weakest first."""
    scores: dict[str, dict[str, Any]] = {}
    for category in (*CATEGORIES, "unknown"):
        rows = table[table["intensity"] == category]
        if len(rows):
            part = int((rows["match"].notna() if hit else rows["match"].isna()).sum())
            scores[category] = {"num_tracks": len(rows), name: ratio(part, len(rows))}
    return scores


def _spread(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Mean, median and 90th percentile of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return None
    median, high = np.percentile(known, [50.0, 90.0])
    return {"mean": float(known.mean()), "median": float(median), "p90": float(high)}
