"""Births and tracks of everything that is no tropical cyclone: lows, rivers, decoys.

One table says how many systems of a kind live at a time, where and when they are born, how they
move and how long they live; one function draws them from it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.synthetic.settings import SyntheticSettings, random_stream
from exastorm.readers.synthetic.tracks import BIN_HOURS, Track, glide

FloatArray = NDArray[np.float64]

LOW_STREAM = 3
"""Purpose number of these systems in `random_stream`."""

STEP_HOURS = 3.0
"""Time step of tracks."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of system; pairs are lowest and highest of an even spread.

    Attributes:
        name: As in the table of true tracks.
        alive: How many live at a time in January and in July, over the whole globe.
        lats: Latitude of birth, degrees.
        lons: Longitude of birth, degrees east (beyond 360 for a range that wraps).
        east: Eastward speed, m s-1.
        poleward: Poleward speed, m s-1.
        days: Length of life.
        is_river: True where `river_rate` scales the number, False where `decoy_rate` does.
    """

    name: str
    alive: tuple[float, float]
    lats: tuple[float, float]
    lons: tuple[float, float]
    east: tuple[float, float]
    poleward: tuple[float, float]
    days: tuple[float, float]
    is_river: bool = False


KINDS: tuple[Kind, ...] = (
    Kind(name="low_north_pacific", alive=(4.2, 2.6), lats=(36, 51), lons=(130, 215), east=(7, 15),
         poleward=(1, 4), days=(4, 7), is_river=True),
    Kind(name="low_north_atlantic", alive=(3.6, 2.2), lats=(36, 53), lons=(280, 335), east=(7, 14),
         poleward=(1, 4.5), days=(4, 7), is_river=True),
    Kind(name="low_eurasia", alive=(1.6, 1.3), lats=(40, 54), lons=(5, 100), east=(6, 12),
         poleward=(0, 3), days=(3, 6), is_river=True),
    Kind(name="low_southern", alive=(6.0, 7.5), lats=(-56, -36), lons=(0, 360), east=(8, 16),
         poleward=(1, 4), days=(4, 7), is_river=True),
    Kind(name="cutoff_north", alive=(1.8, 1.4), lats=(24, 42), lons=(0, 360), east=(-2, 7),
         poleward=(-1, 1.5), days=(3, 6)),
    Kind(name="cutoff_south", alive=(1.4, 1.8), lats=(-42, -24), lons=(0, 360), east=(-1, 8),
         poleward=(-1, 1.5), days=(3, 6)),
    Kind(name="hybrid_north", alive=(0.25, 0.2), lats=(25, 42), lons=(0, 360), east=(-1, 7),
         poleward=(-0.5, 2), days=(2.5, 5)),
    Kind(name="hybrid_south", alive=(0.2, 0.25), lats=(-42, -25), lons=(0, 360), east=(-1, 8),
         poleward=(-0.5, 2), days=(2.5, 5)),
    Kind(name="monsoon_asia", alive=(0.1, 1.2), lats=(14, 23), lons=(80, 125), east=(-5, -1),
         poleward=(0, 1.2), days=(4, 8)),
    Kind(name="monsoon_africa", alive=(0.1, 1.0), lats=(9, 18), lons=(335, 395), east=(-9, -5),
         poleward=(-0.5, 0.8), days=(4, 8)),
    Kind(name="monsoon_australia", alive=(1.2, 0), lats=(-19, -10), lons=(110, 160), east=(-4, 3),
         poleward=(0, 1.0), days=(4, 8)),
    Kind(name="plume_north", alive=(1.6, 1.8), lats=(27, 42), lons=(0, 360), east=(2, 9),
         poleward=(0, 2), days=(3, 6)),
    Kind(name="plume_south", alive=(1.8, 1.6), lats=(-42, -27), lons=(0, 360), east=(2, 9),
         poleward=(0, 2), days=(3, 6)),
    Kind(name="tongue_north", alive=(1.5, 2.5), lats=(22, 34), lons=(0, 360), east=(-3, 5),
         poleward=(0, 1.5), days=(3, 7)),
    Kind(name="tongue_south", alive=(2.5, 1.5), lats=(-34, -22), lons=(0, 360), east=(-3, 5),
         poleward=(0, 1.5), days=(3, 7)),
)  # fmt: skip
"""All kinds. Lows live and move as in the climatologies of Hoskins and Hodges (2002, J. Atmos. Sci.
59, 1041; 2005, J. Climate 18, 4108), cutoff lows as in Nieto et al. (2005, J. Climate 18, 3085),
hybrid lows (subtropical storms, warm seclusions) as in Evans and Guishard (2009, Mon. Wea. Rev.
137, 2065), monsoon depressions as in Hurley and Boos (2015, Quart. J. Roy. Meteor. Soc. 141, 1049).
Numbers of lows are set for the share of atmospheric rivers in the labels of Kurth et al. (2018),
those of decoys for imperfect rules."""

LONGEST_HOURS = 24.0 * max(kind.days[1] for kind in KINDS)
"""No system lives longer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """One low, plume or tongue.

    Attributes:
        name: Kind, bin and number: unique in a climate.
        kind: Name of its kind.
        track: Positions, and strength from 0 over 1 at its height to 0.
        traits: Eight even random numbers in [0, 1), for its size, shape and wetness.
    """

    name: str
    kind: str
    track: Track
    traits: FloatArray


@lru_cache(maxsize=512)
def systems_born(settings: SyntheticSettings, number: int) -> tuple[System, ...]:
    """Systems of all kinds born in a bin of time."""
    born = []
    phase = settings.year_phase((number + 0.5) * BIN_HOURS)
    july = 0.5 * (1.0 + np.cos(phase - 2.0 * np.pi * 205.0 / 365.0))
    for index, kind in enumerate(KINDS):
        stream = random_stream(settings.seed, LOW_STREAM, index, number % 2**32)
        factor = settings.river_rate if kind.is_river else settings.decoy_rate
        mean_alive = kind.alive[0] * (1.0 - july) + kind.alive[1] * july
        rate = mean_alive * BIN_HOURS / (12.0 * sum(kind.days))
        for item in range(int(stream.poisson(rate * factor))):
            child = random_stream(settings.seed, LOW_STREAM, index, number % 2**32, item)
            born.append(_live(kind, number, child, f"{kind.name}{number}-{item}"))
    return tuple(born)


def _live(kind: Kind, number: int, stream: np.random.Generator, name: str) -> System:
    """One system's life."""
    lat, lon, east, poleward, days = (
        float(stream.uniform(*pair))
        for pair in (kind.lats, kind.lons, kind.east, kind.poleward, kind.days)
    )
    north = poleward if lat > 0 else -poleward
    born_hour = number * BIN_HOURS + float(stream.integers(BIN_HOURS))
    num_steps = int(days * 24.0 / STEP_HOURS)
    share = np.arange(num_steps + 1) / num_steps
    # Lows speed up eastward while young and slow down as they occlude (Holton 2004).
    pace = 1.25 - 0.5 * share[:-1]
    lats, lons = glide(lat, lon, east * pace, np.full(num_steps, north), STEP_HOURS)
    # Growth is quicker than decay: the peak comes at 40 % of the life.
    strength = np.sin(np.pi * share**0.756) ** 2
    track = Track(born_hour=born_hour, step_hours=STEP_HOURS, lat=lats, lon=lons, strength=strength)
    return System(name=name, kind=kind.name, track=track, traits=stream.random(8))
