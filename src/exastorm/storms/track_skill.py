"""How well found tracks of tropical cyclones agree with the true ones, and what the others were.

A true track lasts `min_lifetime_hours` and reaches `min_peak_wind_ms`; it is detected if a found
track lies within `max_distance_km` of it for `min_life_share` of the true track's own life
(`exastorm.storms.track_matching`). Every found track that is no match is a false alarm, also a
second track of a storm, a short piece of one, and a cyclone too weak or too short to be true; so
beside the false alarm ratio stands the share of found tracks with no cyclone of any sort near for
half of their own life. Ratios come with 95 % Wilson intervals, which take tracks as independent.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.storms.track_matching import (
    WIND_COLUMN,
    MatchSettings,
    TrackLine,
    distance_along_km,
    life_shares,
    match_tracks,
    track_lines,
    with_hours,
)
from exastorm.storms.track_scores import TrackSkill, intensity

__all__ = ["MatchSettings", "TrackSkill", "score_tracks"]

NOTHING = "nothing"
"""What a false alarm was where no system of the truth was near."""
WEAK = "weak_or_short_cyclone"
"""A cyclone that is no true track."""
MISSED_PART = "part_of_missed_cyclone"
"""A true track that has no match."""
SECOND = "second_track_of_cyclone"
"""A true track that another found track matches."""


def score_tracks(
    true: pd.DataFrame,
    found: pd.DataFrame,
    others: pd.DataFrame | None = None,
    settings: MatchSettings | None = None,
) -> TrackSkill:
    """Compare the tracks of two tables, from any source.

    Args:
        true: All cyclones of the truth, weak and short ones too, one row a sighting: `track`,
            `hour` (or `time` in all tables), `lat`, `lon`, degrees, and `max_wind_ms`.
        found: The found tracks, alike; `max_wind_ms` may be missing.
        others: Other systems of the truth, which may be taken for cyclones, alike, with `kind`.
        settings: What a true track and a match are.

    Raises:
        InputError: For missing columns or values, or two sightings of a track at one time.
    """
    settings = settings or MatchSettings()
    others = _no_systems() if others is None else others
    if WIND_COLUMN not in true:
        raise InputError(f"true tracks must have the column {WIND_COLUMN}")
    true, found, others = with_hours([true, found, others])
    cyclones, found_lines = track_lines(true, "true tracks"), track_lines(found, "found tracks")
    counted = [is_true_track(line, settings) for line in cyclones]
    lines = [line for line, counts in zip(cyclones, counted, strict=True) if counts]
    shares = life_shares(lines, found_lines, settings)
    pairs = match_tracks(shares, settings.min_life_share)
    detected = {lines[i].name: found_lines[j].name for i, j in pairs}
    systems = [
        *(line._replace(kind=_cyclone_kind(line, settings, detected)) for line in cyclones),
        *track_lines(others, "other systems"),
    ]
    distances = [
        distance_along_km(lines[i], found_lines[j], settings.max_gap_hours) for i, j in pairs
    ]
    errors = np.concatenate([np.empty(0), *distances])
    return TrackSkill(
        true=_true_table(lines, detected, shares),
        found=_found_table(found_lines, detected, systems, cyclones, settings),
        pairs=_pair_table([(lines[i], found_lines[j], float(shares[i, j])) for i, j in pairs]),
        position_errors_km=errors[np.isfinite(errors)],
        settings=settings,
    )


def is_true_track(line: TrackLine, settings: MatchSettings) -> bool:
    """Whether a cyclone lives long enough and gets strong enough to count."""
    long_enough = line.lifetime_hours >= settings.min_lifetime_hours
    return long_enough and line.peak_wind_ms >= settings.min_peak_wind_ms


def _no_systems() -> pd.DataFrame:
    """A table of no systems."""
    return pd.DataFrame({name: [] for name in ("track", "hour", "time", "lat", "lon", "kind")})


def _cyclone_kind(line: TrackLine, settings: MatchSettings, detected: dict[Any, Any]) -> str:
    """What a false alarm is that follows a cyclone of the truth."""
    if not is_true_track(line, settings):
        return WEAK
    return SECOND if line.name in detected else MISSED_PART


def _true_table(
    lines: list[TrackLine], detected: dict[Any, Any], shares: NDArray[np.float64]
) -> pd.DataFrame:
    """`TrackSkill.true`."""
    table = _track_table(lines)
    table["match"] = pd.Series([detected.get(line.name) for line in lines], dtype=object)
    table["best_share"] = shares.max(axis=1, initial=0.0)
    return table


def _found_table(
    lines: list[TrackLine],
    detected: dict[Any, Any],
    systems: list[TrackLine],
    cyclones: list[TrackLine],
    settings: MatchSettings,
) -> pd.DataFrame:
    """`TrackSkill.found`."""
    match_of = {found: true for true, found in detected.items()}
    table = _track_table(lines)
    table["match"] = pd.Series([match_of.get(line.name) for line in lines], dtype=object)
    table["cause"] = [
        "tropical_cyclone" if line.name in match_of else _cause(line, systems, settings)
        for line in lines
    ]
    table["cyclone_share"] = [
        float(np.mean(_nearest_km(line, cyclones, settings)[0] <= settings.max_distance_km))
        for line in lines
    ]
    return table


def _track_table(lines: list[TrackLine]) -> pd.DataFrame:
    """What is told about any track."""
    return pd.DataFrame(
        {
            "track": pd.Series([line.name for line in lines], dtype=object),
            "lifetime_hours": [line.lifetime_hours for line in lines],
            "peak_wind_ms": [line.peak_wind_ms for line in lines],
            "intensity": [intensity(line.peak_wind_ms) for line in lines],
        }
    )


def _pair_table(pairs: list[tuple[TrackLine, TrackLine, float]]) -> pd.DataFrame:
    """`TrackSkill.pairs`."""
    rows = [
        (
            true.name,
            found.name,
            share,
            float(found.hours[0] - true.hours[0]),
            float(true.hours[-1] - found.hours[-1]),
            found.peak_wind_ms - true.peak_wind_ms,
        )
        for true, found, share in pairs
    ]
    columns = ("true", "found", "life_share", "hours_late", "hours_short", "peak_wind_error_ms")
    return pd.DataFrame(rows, columns=list(columns))


def _nearest_km(
    line: TrackLine, systems: list[TrackLine], settings: MatchSettings
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance of the nearest system at each sighting (N,), infinite of none, and its number."""
    nearest = np.full(line.hours.size, np.inf)
    which = np.full(line.hours.size, -1, dtype=np.int64)
    for number, system in enumerate(systems):
        if system.hours[0] <= line.hours[-1] and system.hours[-1] >= line.hours[0]:
            distance = distance_along_km(line, system, settings.max_gap_hours)
            nearer = distance < nearest
            nearest[nearer], which[nearer] = distance[nearer], number
    return nearest, which


def _cause(line: TrackLine, systems: list[TrackLine], settings: MatchSettings) -> str:
    """Kind of the system that is the nearest at most sightings of a track; of a tie the first."""
    nearest, which = _nearest_km(line, systems, settings)
    there = [
        systems[number].kind if km <= settings.max_cause_km else NOTHING
        for km, number in zip(nearest, which, strict=True)
    ]
    return max(sorted(set(there), key=there.index), key=there.count)
