"""Births, tracks and intensities of tropical cyclones.

Rates, places and peak winds are the best tracks'. A storm drifts with its basin's usual motion and
an error of its own, grows logistically toward its peak, no further than the sea's warmth allows,
and decays over land, over cold water and with age.
"""

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.land import coast_table
from exastorm.readers.synthetic.best_tracks import (
    BASINS,
    DRIFT_EAST_MS,
    DRIFT_LATITUDES,
    DRIFT_POLEWARD_MS,
    DRIFT_SPREAD_MS,
    PLACE_QUANTILES,
    WIND_QUANTILES,
    Basin,
)
from exastorm.readers.synthetic.geometry import smooth_step
from exastorm.readers.synthetic.profiles import zonal_mean
from exastorm.readers.synthetic.settings import SyntheticSettings, random_stream
from exastorm.readers.synthetic.tracks import BIN_HOURS, Place, Track, alive, glide

FloatArray = NDArray[np.float64]

CYCLONE_STREAM = 2
"""Purpose number of tropical cyclones in `random_stream`."""

GENESIS_WIND = 12.0
"""Maximum wind at birth, m s-1: where `best_tracks` counts genesis."""

DEATH_WIND = 11.0
"""A storm that falls below this is no more, m s-1."""

SHEARED_KM = (300.0, 1000.0)
"""Distances of two storms within which the younger is gone, and beyond which it is unharmed, km:
they interact from some 1400 km and merge at some 300 (Brand 1970, J. Appl. Meteor. 9, 433)."""

LONGEST_HOURS = 480.0
"""No storm lives longer than 20 days (the best tracks' median is 5, few are beyond)."""

STEP_HOURS = 3.0
"""Time step of tracks."""

LAND_DECAY_PER_HOUR = 0.095
"""Rate at which wind falls over land (Kaplan and DeMaria 1995, J. Appl. Meteor. 34, 2499)."""

LAND_END_WIND = 8.2
"""What it falls toward, m s-1: six tenths of their 13.7, so that storms end over wide land."""

POLEWARD_END_DEG = 48.0
"""Latitude at which storms have become extratropical (half have by 40 to 45 degrees in the best
tracks; Evans et al. 2017, Mon. Wea. Rev. 145, 4317)."""

MEANDER_HOURS = (170.0, 130.0)
"""Periods of the meander east and poleward, hours: about a week, a synoptic wave's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cyclone:
    """One tropical cyclone.

    Attributes:
        name: Basin, bin and number: unique in a climate.
        track: Positions and maximum winds.
        size: Factor on its radii.
        wetness: Factor on its moisture and rain.
        turn: Angle of its rain bands, radians.
    """

    name: str
    track: Track
    size: float
    wetness: float
    turn: float


def cyclones_at(settings: SyntheticSettings, hour: float) -> list[tuple[Cyclone, Place]]:
    """Tropical cyclones alive at an hour and their places, the oldest first.

    Where two come close the younger is sheared by the older: its wind falls with their distance.
    """
    storms = alive(lambda number: cyclones_born(settings, number), hour, LONGEST_HOURS)
    storms.sort(key=lambda storm: storm.track.born_hour)
    present: list[tuple[Cyclone, Place]] = []
    for storm in storms:
        place = storm.track.at(hour)
        left = 1.0
        for _, older in present:
            gap = float(great_circle_km(place.lat, place.lon, older.lat, older.lon))
            left = min(left, float(smooth_step(gap, *SHEARED_KM)))
        place = replace(place, strength=left * place.strength)
        if place.strength >= 0.5 * DEATH_WIND:
            present.append((storm, place))
    return present


@lru_cache(maxsize=512)
def cyclones_born(settings: SyntheticSettings, number: int) -> tuple[Cyclone, ...]:
    """Tropical cyclones born in a bin of time."""
    born = []
    middle = (number + 0.5) * BIN_HOURS
    month = int(settings.year_phase(middle) / (2.0 * np.pi) * 12.0) % 12
    for index, basin in enumerate(BASINS):
        # A seed may not be negative, as the numbers of bins before the epoch are.
        stream = random_stream(settings.seed, CYCLONE_STREAM, index, number % 2**32)
        rate = basin.storms_a_year * basin.month_shares[month] / 100.0 * 12.0 / 365.0
        count = stream.poisson(rate * settings.cyclone_rate * BIN_HOURS / 24.0)
        for storm in range(int(count)):
            # A stream for each storm, so that a higher rate changes none of the others.
            child = random_stream(settings.seed, CYCLONE_STREAM, index, number % 2**32, storm)
            name = f"{basin.name}{number}-{storm}"
            cyclone = _live(settings, basin, number, child, name)
            if cyclone is not None:
                born.append(cyclone)
    return tuple(born)


def _live(
    settings: SyntheticSettings, basin: Basin, number: int, stream: np.random.Generator, name: str
) -> Cyclone | None:
    """One storm's life; None where it would be born on land."""
    place = stream.random(2)
    tails = (0.0, *PLACE_QUANTILES, 1.0)
    lats, lons = ((2 * q[0] - q[1], *q, 2 * q[-1] - q[-2]) for q in (basin.lats, basin.lons))
    lat = float(np.interp(place[0], tails, lats))
    lon = float(np.interp(place[1], tails, lons))
    peak = float(np.interp(stream.random(), WIND_QUANTILES, basin.peak_winds))
    days = float(
        np.interp(stream.random(), (0.0, 0.25, 0.5, 0.75, 1.0), (0.75, *basin.days_to_peak, 8.0))
    )
    born_hour = number * BIN_HOURS + float(stream.integers(BIN_HOURS))
    errors = stream.standard_normal(4)
    lat_path, lon_path = _drift(lat, lon, errors)
    winds = _intensify(settings.year_phase(born_hour), lat_path, lon_path, peak, days)
    size, wetness = np.exp(0.22 * stream.standard_normal()), np.exp(0.08 * stream.standard_normal())
    turn = float(stream.random() * 2.0 * np.pi)
    if winds.size < 8:
        return None
    track = Track(
        born_hour=born_hour,
        step_hours=STEP_HOURS,
        lat=lat_path[: winds.size],
        lon=lon_path[: winds.size],
        strength=winds,
    )
    return Cyclone(name=name, track=track, size=float(size), wetness=float(wetness), turn=turn)


def _drift(lat: float, lon: float, errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Positions at all steps: the motion usual at each latitude plus the storm's own error.

    Args:
        lat: Latitude of genesis, degrees.
        lon: Longitude of genesis, degrees.
        errors: Four standard normal numbers.
    """
    steps = np.arange(int(LONGEST_HOURS / STEP_HOURS))
    hours = steps * STEP_HOURS
    # Half the spread of the best tracks is steady, the rest a slow meander.
    swing_east = np.sin(2.0 * np.pi * hours / MEANDER_HOURS[0] + errors[2])
    swing_poleward = 0.6 * np.cos(2.0 * np.pi * hours / MEANDER_HOURS[1] + errors[3])
    usual_poleward = _by_degree(DRIFT_POLEWARD_MS) * (1.0 + 0.35 * errors[1])
    degrees = STEP_HOURS * 3600.0 / (KM_PER_DEGREE * 1e3)
    belt, poleward, at = np.empty(steps.size, int), np.empty(steps.size), abs(lat)
    for step in steps:
        belt[step] = int(at)
        poleward[step] = usual_poleward[belt[step]] + swing_poleward[step]
        at = min(max(at + poleward[step] * degrees, 3.0), 60.0)
    east = _by_degree(DRIFT_EAST_MS)[belt] + 0.5 * errors[0] * _by_degree(DRIFT_SPREAD_MS)[belt]
    hemisphere = 1.0 if lat > 0 else -1.0
    return glide(lat, lon, east + swing_east, hemisphere * poleward, STEP_HOURS)


@cache
def _by_degree(table: tuple[float, ...]) -> FloatArray:
    """A table of best-track motion at every whole degree of latitude from 0 to 60."""
    return np.asarray(np.interp(np.arange(61.0), DRIFT_LATITUDES, table))


def _intensify(
    phase: float, lat: FloatArray, lon: FloatArray, peak: float, days: float
) -> FloatArray:
    """Maximum winds at all steps from birth to death, m s-1; empty for a birth on land.

    Args:
        phase: Phase of the year at birth.
        lat: Latitudes, degrees.
        lon: Longitudes, degrees.
        peak: Lifetime maximum that the best tracks give it, m s-1.
        days: Time to the peak.
    """
    on_land = coast_distance_along(lat, lon) < 0.0
    if on_land[0]:
        return np.empty(0)
    # A logistic curve from the genesis wind reaches 95 % of the peak after `days`.
    rate = np.log(max(peak / GENESIS_WIND - 1.0, 0.3) * 19.0) / (days * 24.0)
    # Storms keep their peak for a day or two; then shear and dry air wear them down.
    age_days = np.arange(lat.size) * STEP_HOURS / 24.0
    worn = np.exp(-np.maximum(age_days - 1.5 * days - 1.0, 0.0) / 4.0)
    limits = worn * np.minimum(peak, potential_intensity(zonal_mean("sea", lat, phase)))
    land_share = np.exp(-LAND_DECAY_PER_HOUR * STEP_HOURS)
    winds: list[float] = []
    wind = GENESIS_WIND
    for here, limit, polar in zip(on_land, limits, np.abs(lat) > POLEWARD_END_DEG, strict=True):
        winds.append(float(wind))
        if wind < DEATH_WIND or polar:
            break
        if here:
            wind = LAND_END_WIND + (wind - LAND_END_WIND) * land_share
        else:
            grows = rate * wind * (1.0 - wind / limit) if wind < limit else (limit - wind) / 24.0
            wind += float(grows * STEP_HOURS)
    return np.asarray(winds)


def potential_intensity(sea_kelvin: Any) -> FloatArray:
    """Highest wind that a sea can feed, m s-1 (DeMaria and Kaplan 1994, J. Climate 7, 1324).

    Below 24 C, where their sample ends, it falls to half the genesis wind at 19 C.

    Args:
        sea_kelvin: Sea surface temperature, K, any shape.
    """
    celsius = np.asarray(sea_kelvin) - 273.15
    wind = 28.2 + 55.8 * np.exp(0.1813 * (celsius - 30.0))
    cold = np.clip((celsius - 19.0) / 5.0, 0.0, 1.0)
    return np.asarray(0.5 * GENESIS_WIND + (wind - 0.5 * GENESIS_WIND) * cold)


def coast_distance_along(lat: FloatArray, lon: FloatArray) -> FloatArray:
    """Distance to the coast along a track, km, negative on land: nearest points of the table."""
    table_lat, table_lon, distance = coast_table()
    per_degree = (table_lat.size - 1) / (table_lat[-1] - table_lat[0])
    rows = np.rint((lat - table_lat[0]) * per_degree).astype(int)
    columns = np.rint(np.mod(lon - table_lon[0], 360.0) * table_lon.size / 360.0).astype(int)
    return np.asarray(distance[rows, columns % table_lon.size], dtype=np.float64)
