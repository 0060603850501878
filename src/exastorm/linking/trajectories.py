"""Tracks of cyclones out of candidates, by the rule of TECA's teca_tc_trajectory.

From the earliest candidate on a track goes to the nearest candidate of the next snapshot that no
earlier track has taken, and ends where none is within reach of 1600 km a day. It counts if for
two days altogether, not necessarily on end, it is strong: wind, warm core and thickness over
their thresholds. A strong candidate counts for the time until the next snapshot.

The tracks are followed all at once, snapshot by snapshot: where several could take one candidate,
the track that began first has the choice, which is what following them one after the other gives.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.grid import great_circle_km

Identities = NDArray[np.int64]

TECA_EARTH_RADIUS_KM = 6371.0
"""TECA's radius of the Earth, km (teca_distance_function)."""
ROUNDING_DAYS = 1e-6
"""Days that may lack of a duration, for hours that are not whole parts of a day in binary."""


@dataclass(frozen=True, kw_only=True)
class TrackLimits:
    """What makes a track; fields of `TecaRules`.

    Attributes:
        max_km_per_day: Fastest motion.
        min_days: Least time that a track is strong.
        max_step_hours: Longest time between snapshots that a track goes over.
        form: corrected, or exact. Exact keeps what TECA does at its edges: distance on the plane
            at the latitude of the earlier point, not around 0/360; snapshots follow one another
            by number however far apart, but a strong candidate does not count where the next
            snapshot holds no candidate at all.
    """

    max_km_per_day: float
    min_days: float
    max_step_hours: float
    form: Literal["corrected", "exact"]


def link_candidates(centers: pd.DataFrame, strong: Any, limits: TrackLimits) -> Identities:
    """Number of the track of each candidate, (N,), by first appearance; -1 where it has none.

    Args:
        centers: Candidates in the order of time with `step`, `lat` and `lon`, and in
            `attrs["hours"]` the hours (T,) of all snapshots. Of tracks that begin at one time the
            one whose candidate comes first goes first.
        strong: Which candidates (N,) meet the thresholds that must last.
        limits: What makes a track.
    """
    steps = centers["step"].to_numpy(dtype=np.int64)
    lat, lon = (centers[name].to_numpy(dtype=np.float64) for name in ("lat", "lon"))
    days = _days_until_next(np.asarray(centers.attrs["hours"], dtype=np.float64), limits)
    tracks = np.full(steps.size, -1, dtype=np.int64)
    num = 0
    before = np.empty(0, dtype=np.intp)
    for here in np.split(np.arange(steps.size), np.flatnonzero(np.diff(steps)) + 1):
        if here.size == 0:
            break
        step = steps[here[0]]
        if before.size and step == steps[before[0]] + 1 and days[step - 1] > 0.0:
            tips = before[np.argsort(tracks[before])]
            distance = _distance_km(lat, lon, tips, here, limits.form)
            _extend(
                tracks, tips, here, distance <= limits.max_km_per_day * days[step - 1], distance
            )
        fresh = here[tracks[here] < 0]
        tracks[fresh] = num + np.arange(fresh.size)
        num += fresh.size
        before = here
    return _lasting(tracks, strong_days(centers, strong, limits), num, limits.min_days)


def strong_days(centers: pd.DataFrame, strong: Any, limits: TrackLimits) -> NDArray[np.float64]:
    """Days that each candidate (N,) adds to the strong time of its track."""
    steps = centers["step"].to_numpy(dtype=np.int64)
    days = _days_until_next(np.asarray(centers.attrs["hours"], dtype=np.float64), limits)
    counts = np.asarray(strong, dtype=bool)
    if limits.form == "exact":
        counts = counts & np.isin(steps + 1, steps)
    return np.asarray(days[steps] * counts)


def is_lasting(days: Any, min_days: float) -> Any:
    """Whether tracks of so many strong days count."""
    return days >= min_days - ROUNDING_DAYS


def _days_until_next(hours: NDArray[np.float64], limits: TrackLimits) -> NDArray[np.float64]:
    """Days from each snapshot to the next (T,); 0 from the last and over a gap that ends tracks."""
    days = np.append(np.diff(hours), 0.0) / 24.0
    if limits.form == "corrected":
        days[days * 24.0 > limits.max_step_hours + 24.0 * ROUNDING_DAYS] = 0.0
    return days


def _distance_km(lat: Any, lon: Any, tips: Any, here: Any, form: str) -> NDArray[np.float64]:
    """Distance (number of tips, number of candidates) from the ends of tracks to candidates, km."""
    lat0, lon0 = lat[tips][:, None], lon[tips][:, None]
    if form == "corrected":
        return np.asarray(great_circle_km(lat0, lon0, lat[here], lon[here]))
    east = np.deg2rad(lon[here] - lon0) * np.cos(np.deg2rad(lat0))
    return np.asarray(TECA_EARTH_RADIUS_KM * np.hypot(east, np.deg2rad(lat[here] - lat0)))


def _extend(
    tracks: Identities, tips: Any, here: Any, reached: Any, distance: NDArray[np.float64]
) -> None:
    """Give each tip, in order, the nearest candidate within reach that is left."""
    distance = np.where(reached, distance, np.inf)
    for tip in np.flatnonzero(reached.any(axis=1)).tolist():
        # Of equally near ones TECA takes the last.
        nearest = here.size - 1 - int(np.argmin(distance[tip, ::-1]))
        if distance[tip, nearest] < np.inf:
            tracks[here[nearest]] = tracks[tips[tip]]
            distance[:, nearest] = np.inf


def _lasting(tracks: Identities, days: Any, num: int, min_days: float) -> Identities:
    """The tracks that are strong for long enough, numbered anew."""
    lasting = is_lasting(np.bincount(tracks, days, minlength=num), min_days)
    numbers = np.append(np.where(lasting, np.cumsum(lasting) - 1, -1), -1)
    return np.asarray(numbers[tracks], dtype=np.int64)
