"""Where a system is at any hour: tracks, and who is alive when.

Systems are born in bins of time, each bin from a random stream of its own. So the systems alive at
an hour follow from the hour alone, and any part of a climate equals the same part of the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_RADIUS_KM

FloatArray = NDArray[np.float64]

BIN_HOURS = 120
"""Length of a bin of births, hours."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how strong a system is at one hour.

    Attributes:
        lat: Latitude, degrees.
        lon: Longitude, degrees, in [0, 360).
        strength: Its own measure: maximum wind in m s-1 of a tropical cyclone, a share of the
            lifetime maximum for all else.
        age_hours: Time since birth.
        east: Eastward motion, m s-1.
        north: Northward motion, m s-1.
    """

    lat: float
    lon: float
    strength: float
    age_hours: float
    east: float
    north: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """Positions at even steps from birth to death.

    Attributes:
        born_hour: Absolute hour of the first position.
        step_hours: Time between positions.
        lat: Latitudes (N,), degrees.
        lon: Longitudes (N,), degrees, without jumps (they may leave [0, 360)).
        strength: (N,), see `Place`.
    """

    born_hour: float
    step_hours: float
    lat: FloatArray
    lon: FloatArray
    strength: FloatArray

    @property
    def dies_hour(self) -> float:
        """Absolute hour of the last position."""
        return self.born_hour + (self.lat.size - 1) * self.step_hours

    def at(self, hour: float) -> Place:
        """Place at an hour within the life, by linear interpolation."""
        position = (hour - self.born_hour) / self.step_hours
        low = int(np.clip(np.floor(position), 0, self.lat.size - 2))
        share = position - low
        lat, lon, strength = (
            float(a[low] + share * (a[low + 1] - a[low]))
            for a in (self.lat, self.lon, self.strength)
        )
        meters = np.deg2rad(1.0) * EARTH_RADIUS_KM * 1e3 / (self.step_hours * 3600.0)
        return Place(
            lat=lat,
            lon=lon % 360.0,
            strength=strength,
            age_hours=hour - self.born_hour,
            east=float((self.lon[low + 1] - self.lon[low]) * meters * np.cos(np.deg2rad(lat))),
            north=float((self.lat[low + 1] - self.lat[low]) * meters),
        )


class Lives(Protocol):
    """Anything with a track."""

    @property
    def track(self) -> Track:
        """Where it goes."""


System = TypeVar("System", bound=Lives)


def alive(
    born: Callable[[int], tuple[System, ...]], hour: float, longest_hours: float
) -> list[System]:
    """Systems alive at an hour, in order of birth bin.

    Args:
        born: Systems born in a bin of time.
        hour: Absolute hour.
        longest_hours: No system lives longer.
    """
    last = int(np.floor(hour / BIN_HOURS))
    first = int(np.floor((hour - longest_hours) / BIN_HOURS))
    systems = [system for number in range(first, last + 1) for system in born(number)]
    return [s for s in systems if s.track.born_hour <= hour <= s.track.dies_hour]


def glide(
    lat: float, lon: float, east_ms: FloatArray, north_ms: FloatArray, step_hours: float
) -> tuple[FloatArray, FloatArray]:
    """Positions of a system that moves at given speeds, kept within 85 degrees of the equator.

    Args:
        lat: First latitude, degrees.
        lon: First longitude, degrees.
        east_ms: Eastward speeds (N - 1,), m s-1.
        north_ms: Northward speeds (N - 1,), m s-1.
        step_hours: Time between positions.

    Returns:
        Latitudes and longitudes (N,), degrees; longitudes without jumps.
    """
    degrees = np.rad2deg(step_hours * 3600.0 / (EARTH_RADIUS_KM * 1e3))
    lats = np.clip(lat + np.concatenate([[0.0], np.cumsum(north_ms)]) * degrees, -85.0, 85.0)
    steps = np.asarray(east_ms) * degrees / np.cos(np.deg2rad(lats[:-1]))
    return lats, lon + np.concatenate([[0.0], np.cumsum(steps)])
