"""What a made-up climate is asked for: grid, times, seed, and how stormy it is."""

from dataclasses import dataclass
from typing import Literal

import cftime
import numpy as np
from numpy.typing import NDArray

Calendar = Literal["noleap", "standard", "360_day"]

YEAR_LENGTH_DAYS: dict[str, float] = {"noleap": 365.0, "standard": 365.2425, "360_day": 360.0}
"""Mean length of the year of each calendar, days (CF conventions 4.4.1)."""

EPOCH = "hours since 1900-01-01"
"""Origin of the absolute hours that every value of the climate is a function of."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """A made-up climate: the same settings give the same bytes on any machine."""

    height: int = 192
    """Number of latitudes, poles included."""
    width: int = 288
    """Number of longitudes."""
    start: str = "2000-01-01"
    """First time, ISO (YYYY-MM-DD or YYYY-MM-DDTHH)."""
    num_snapshots: int = 80
    """Number of snapshots."""
    step_hours: int = 3
    """Time between snapshots, hours."""
    calendar: Calendar = "noleap"
    """CF calendar of the times."""
    seed: int = 0
    """Seed of the weather and of the storms."""
    cyclone_rate: float = 1.0
    """Tropical cyclones against their observed number."""
    river_rate: float = 1.0
    """Extratropical lows, and the atmospheric rivers along their fronts, against the usual."""
    decoy_rate: float = 1.0
    """Systems that look like storms and are none, against the usual number."""
    weather_amplitude: float = 1.0
    """Strength of the background weather noise against the usual one."""
    optional_fields: bool = True
    """Also make the optional fields (IVTX, IVTY, Z300, Z500, T400, U10, V10, LANDFRAC, PHIS)."""

    def __post_init__(self) -> None:
        for name, least in (("height", 24), ("width", 36), ("num_snapshots", 1), ("step_hours", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        limits = {"cyclone_rate": 100, "river_rate": 100, "decoy_rate": 100, "weather_amplitude": 2}
        for name, limit in limits.items():
            if not 0.0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must lie in [0, {limit}], got {getattr(self, name)}")
        if self.calendar not in YEAR_LENGTH_DAYS:
            known = ", ".join(YEAR_LENGTH_DAYS)
            raise ValueError(f"calendar must be one of {known}, got {self.calendar!r}")
        try:
            self.first_hour()
        except ValueError as error:
            raise ValueError(
                f"start must be an ISO date of the {self.calendar} calendar such as 2000-01-01, "
                f"got {self.start!r}"
            ) from error

    def first_hour(self) -> int:
        """Hours from the epoch to the first snapshot."""
        day, _, clock = self.start.partition("T")
        year, month, date = (int(part) for part in day.split("-"))
        hour = int(clock.split(":")[0]) if clock else 0
        first = cftime.datetime(year, month, date, hour, calendar=self.calendar)
        return round(float(cftime.date2num(first, EPOCH, calendar=self.calendar)))

    def hours(self) -> NDArray[np.int64]:
        """Absolute hours of the snapshots since the epoch, shape (T,)."""
        steps = np.arange(self.num_snapshots, dtype=np.int64)
        return self.first_hour() + steps * self.step_hours

    def year_phase(self, hour: float) -> float:
        """Where in the year an absolute hour lies: 0 at the turn of the year, 2 pi at the next."""
        return float(2.0 * np.pi * np.mod(hour / 24.0 / YEAR_LENGTH_DAYS[self.calendar], 1.0))


def random_stream(seed: int, *keys: int) -> np.random.Generator:
    """A random stream of its own for every purpose and time, the same on every machine.

    Args:
        seed: Seed of the climate.
        keys: What the stream is for (a purpose number, a time bin, ...), non-negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *keys))))
