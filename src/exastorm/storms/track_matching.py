"""Which found track is which true one: how long two tracks lie close together.

A track is a table of sightings. Between two sightings of a track its place is interpolated along
the great circle, so tracks of different time steps can be compared; across a longer gap it is
nowhere. Two tracks match if the found one lies near the true one at a large enough share of the
true one's sightings. Every true track has at most one match and every found one too: of all ways
to pair them, the one with most pairs counts, and of these the one with the longest time together.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cftime
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.errors import InputError
from exastorm.storms.linker import hours_between

FloatArray = NDArray[np.float64]

WIND_COLUMN = "max_wind_ms"
"""Maximum wind of a sighting, m s-1."""


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """What a true track is, and when a found track is the same storm."""

    max_distance_km: float = 300.0
    """Farthest that a found track may be from a true one, km (Hodges et al. 2017, J. Climate 30,
    5243, have 4 degrees, Bourdin et al. 2022, Geosci. Model Dev. 15, 6759, 300 km)."""
    min_life_share: float = 0.5
    """Least share of the true track's sightings at which the found one is that near."""
    max_gap_hours: float = 24.0
    """Longest time between two sightings over which a track is interpolated, h (TempestExtremes
    StitchNodes --maxgap)."""
    min_lifetime_hours: float = 54.0
    """A true track lasts at least as long, h (TempestExtremes StitchNodes --mintime)."""
    min_peak_wind_ms: float = 17.0
    """Least lifetime maximum wind of a true track, m s-1: tropical-storm strength."""
    max_cause_km: float = 500.0
    """Farthest that a system may be from a false alarm to be its cause, km: well within most
    extratropical lows, of 300 to 900 km (Rudeva and Gulev 2007, Mon. Wea. Rev. 135, 2568)."""

    def __post_init__(self) -> None:
        for name in ("max_distance_km", "max_gap_hours", "max_cause_km"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("min_lifetime_hours", "min_peak_wind_ms"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.min_life_share <= 1:
            raise ValueError(f"min_life_share must lie in (0, 1], got {self.min_life_share}")


class TrackLine(NamedTuple):
    """One track.

    Attributes:
        name: Its identity in the table.
        hours: Times of its sightings (N,), ascending, hours.
        places: Their places as unit vectors (N, 3).
        peak_wind_ms: Highest wind of its sightings, m s-1; NaN where none is known.
        kind: What it is; empty where the table does not say.
    """

    name: Any
    hours: FloatArray
    places: FloatArray
    peak_wind_ms: float
    kind: str = ""

    @property
    def lifetime_hours(self) -> float:
        """Time from first to last sighting."""
        return float(self.hours[-1] - self.hours[0])


def with_hours(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of one climate with `hour`: as they have it, else from `time`, since the same instant.

    Args:
        tables: Each with `hour`, or each with `time`: cftime, numpy, pandas, or ISO text, which is
            read in the calendar of the other tables.

    Raises:
        InputError: If a table has neither, or only some have hours.
    """
    if all("hour" in table for table in tables):
        return tables
    if not all("time" in table for table in tables):
        got = [sorted(set(table.columns) & {"hour", "time"}) for table in tables]
        raise InputError(f"tracks must all have the column hour, or all time, got {got}")
    times = [table["time"].tolist() for table in tables]
    calendar = next(
        (t[0].calendar for t in times if t and isinstance(t[0], cftime.datetime)), "standard"
    )
    read = [[_as_cftime(t, calendar) for t in column] for column in times]
    origin = next((column[0] for column in read if column), None)
    return [
        table.assign(hour=np.array([hours_between(origin, t) for t in column], dtype=np.float64))
        for table, column in zip(tables, read, strict=True)
    ]


def _as_cftime(time: Any, calendar: str) -> cftime.datetime:
    """A time of any kind in a calendar, to the second."""
    if isinstance(time, cftime.datetime):
        return time
    text = pd.Timestamp(time).isoformat() if not isinstance(time, str) else time
    day, _, clock = text.replace(" ", "T").partition("T")
    try:
        date = [int(part) for part in day.split("-")]
        hms = [int(float(part)) for part in (clock or "0").split(":")]
        return cftime.datetime(*date, *hms, calendar=calendar)
    except (ValueError, TypeError) as error:
        raise InputError(f"must be an ISO time, got {time!r}", variable="time") from error


def track_lines(table: pd.DataFrame, what: str) -> list[TrackLine]:
    """The tracks of a table, in the order of their first rows.

    Args:
        table: One row a sighting: `track`, `hour`, `lat`, `lon` (degrees), if known `max_wind_ms`
            and `kind`.
        what: Name of the table in messages.

    Raises:
        InputError: For missing columns or values, or two sightings of a track at one time.
    """
    lacking = [name for name in ("track", "hour", "lat", "lon") if name not in table]
    if lacking:
        raise InputError(
            f"{what} must have the columns track, hour, lat and lon, lack {', '.join(lacking)}"
        )
    numbers = table[["hour", "lat", "lon"]].to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{what} must have an hour, lat and lon in every row")
    if table.duplicated(["track", "hour"]).any():
        twice = table.loc[table.duplicated(["track", "hour"]), "track"].iloc[0]
        raise InputError(f"{what} must have one row a track and time, track {twice} has two")
    return [
        _track_line(name, rows.sort_values("hour"))
        for name, rows in table.groupby("track", sort=False)
    ]


def _track_line(name: Any, rows: pd.DataFrame) -> TrackLine:
    """One track from its rows in the order of time."""
    lat, lon = (np.deg2rad(rows[c].to_numpy(dtype=np.float64)) for c in ("lat", "lon"))
    places = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    wind = rows[WIND_COLUMN].max() if WIND_COLUMN in rows else np.nan
    kind = str(rows["kind"].iloc[0]) if "kind" in rows else ""
    return TrackLine(name, rows["hour"].to_numpy(dtype=np.float64), places, float(wind), kind)


def distance_along_km(line: TrackLine, other: TrackLine, max_gap_hours: float) -> FloatArray:
    """Distance of another track at each sighting of a track (N,), km; NaN where it is not there."""
    after = np.searchsorted(other.hours, line.hours)
    inside = (after < other.hours.size) & (line.hours >= other.hours[0])
    after = np.minimum(after, other.hours.size - 1)
    exact = inside & (other.hours[after] == line.hours)
    before = np.where(exact, after, np.maximum(after - 1, 0))
    gap = other.hours[after] - other.hours[before]
    share = np.where(exact, 0.0, (line.hours - other.hours[before]) / np.where(gap > 0, gap, 1.0))
    # The chord between two sightings, pushed out to the sphere, is their great circle.
    chord = (1.0 - share)[:, None] * other.places[before] + share[:, None] * other.places[after]
    cosine = np.sum(chord * line.places, axis=1)
    sine = np.linalg.norm(np.cross(chord, line.places), axis=1)
    distance = EARTH_RADIUS_KM * np.arctan2(sine, cosine)
    return np.where(inside & (gap <= max_gap_hours), distance, np.nan)


def life_shares(
    true: list[TrackLine], found: list[TrackLine], settings: MatchSettings
) -> FloatArray:
    """Share of each true track's sightings at which each found one is near, (true, found)."""
    shares = np.zeros((len(true), len(found)))
    for i, line in enumerate(true):
        for j, other in enumerate(found):
            if other.hours[0] <= line.hours[-1] and other.hours[-1] >= line.hours[0]:
                distance = distance_along_km(line, other, settings.max_gap_hours)
                shares[i, j] = np.mean(distance <= settings.max_distance_km)
    return shares


def match_tracks(shares: FloatArray, min_life_share: float) -> list[tuple[int, int]]:
    """Pairs (true, found): as many as can be, then with the greatest shares, each used once.

    Args:
        shares: As `life_shares` gives them, (true, found).
        min_life_share: Least share of a pair.
    """
    eligible = shares >= min_life_share
    # A pair more outweighs whatever the shares of all others add up to.
    worth = np.where(eligible, shares + min(shares.shape, default=0) + 1.0, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if eligible[i, j]]
