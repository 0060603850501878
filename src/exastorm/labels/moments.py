"""Which snapshot of an archive a time means, and whether a place lies on its grid."""

import re
from typing import Any

import cftime
import numpy as np

from exastorm.errors import InputError
from exastorm.grid import great_circle_km, wrap_longitude
from exastorm.physics.surroundings import Surroundings

TIME = re.compile(
    r"(\d{1,4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ](\d{1,2})(?::(\d{2})(?::(\d{2})(?:\.\d*)?)?)?)?(?:Z|\+00:00)?"
)
"""An ISO 8601 time in UTC, from the day to the second."""

SAME_TIME_SECONDS = 1.0
"""Times in files are rounded; the archive's steps are far longer."""


def step_of(times: Any, wanted: Any, file: str | None = None) -> int:
    """Number of the snapshot at a time.

    Args:
        times: Times of the archive (T,), cftime, ascending.
        wanted: A time as text, such as 2011-10-11 or 2011-10-11T06:00, in the archive's calendar,
            or one of its times.
        file: The archive, for messages.

    Raises:
        InputError: If it is no time of this calendar, or none of the archive's.
    """
    time = parse_time(wanted, times[0].calendar) if isinstance(wanted, str) else wanted
    away = np.array([abs((other - time).total_seconds()) for other in times])
    step = int(away.argmin())
    if away[step] > SAME_TIME_SECONDS:
        raise InputError(
            f"time must be one of the archive's, {_beside(times, time)}; got {time_text(time)}",
            file=file,
        )
    return step


def parse_time(text: str, calendar: str) -> Any:
    """A time of a calendar, cftime, from text.

    Raises:
        InputError: If the text is no time, or the calendar has no such day.
    """
    found = TIME.fullmatch(text.strip())
    if found is None:
        raise InputError(f"time must be as 2011-10-11T06:00, got {text!r}")
    numbers = [int(part) for part in found.groups(default="0")]
    try:
        return cftime.datetime(*numbers, calendar=calendar)
    except ValueError:
        raise InputError(f"time must exist in the calendar {calendar}, got {text!r}") from None


def time_text(time: Any) -> str:
    """A time to the minute, to the second where it has any."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S").strip()
    return str(text.removesuffix(":00"))


def _beside(times: Any, time: Any) -> str:
    """The times before and after one that is missing, in words."""
    after = int(np.count_nonzero([other < time for other in times]))
    if times.size == 1:
        return f"which holds {time_text(times[0])} alone"
    if after == 0:
        return f"which begin at {time_text(times[0])}"
    if after == times.size:
        return f"which end at {time_text(times[-1])}"
    return f"the nearest are {time_text(times[after - 1])} and {time_text(times[after])}"


def checked_place(
    lat: float, lon: float, grid: Surroundings, file: str | None = None
) -> tuple[int, int, float]:
    """Row and column of the grid point nearest to a place, and the place's longitude in [0, 360).

    Raises:
        InputError: If there is no such place on the globe, or it lies farther off the grid than
            one grid spacing.
    """
    if not -90 <= lat <= 90:
        raise InputError(f"latitude must lie in [-90, 90], got {lat:g}")
    if not -360 <= lon <= 360:
        raise InputError(f"longitude must lie in [-360, 360], got {lon:g}")
    lon = float(wrap_longitude(lon))
    # On a great circle: near the poles the nearest longitude is not what is nearest.
    km = great_circle_km(grid.lat[:, None], grid.lon[None, :], lat, lon)
    row, column = divmod(int(np.argmin(km)), grid.lon.size)
    step_lat, step_lon = float(np.diff(grid.lat).max()), float(np.diff(grid.lon).min())
    reach_km = great_circle_km(0.0, 0.0, step_lat, step_lon)
    if km[row, column] > reach_km:
        raise InputError(
            f"place must lie on the grid, latitude {grid.lat[0]:g} to {grid.lat[-1]:g}, longitude"
            f" {grid.lon[0]:g} to {grid.lon[-1]:g}; got {lat:g},{lon:g}",
            file=file,
        )
    return row, column, lon
