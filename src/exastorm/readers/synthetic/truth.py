"""The known truth beside the fields: where every system is, when, and how strong."""

import cftime
import numpy as np
import pandas as pd

from exastorm.readers.synthetic.cyclone_lives import cyclones_at
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.low_lives import LONGEST_HOURS as LONGEST_LOW_HOURS
from exastorm.readers.synthetic.low_lives import systems_born
from exastorm.readers.synthetic.lows import has_river
from exastorm.readers.synthetic.settings import EPOCH, SyntheticSettings
from exastorm.readers.synthetic.tracks import alive
from exastorm.readers.synthetic.vortex import STORM_WIND, vortex

COLUMNS = (
    "storm_id",
    "kind",
    "basin",
    "time",
    "lat",
    "lon",
    "hemisphere",
    "max_wind_ms",
    "grid_max_wind_ms",
    "pressure_deficit_pa",
    "radius_km",
    "strength",
    "in_truth",
)
"""Columns of the table of true tracks."""


def true_tracks(settings: SyntheticSettings) -> pd.DataFrame:
    """Every system alive at every snapshot.

    Args:
        settings: What climate.

    Returns:
        One row a system and time, in the order of time. `storm_id`. `kind`: "tropical_cyclone", or
        the kind of low, plume or tongue. `basin`: of tropical cyclones, else empty. `time`: cftime.
        `lat`, `lon`: degrees. `hemisphere`: "N" or "S". `max_wind_ms`: its own maximum wind.
        `grid_max_wind_ms`, `pressure_deficit_pa`: maximum wind, and central pressure below the
        surroundings, as the grid holds them. `radius_km`: what bounds it in the truth; these four
        are NaN for other kinds. `strength`: share of its life's maximum. `in_truth`: whether it is
        in the class map.
    """
    rows = []
    for hour in settings.hours():
        time = cftime.num2date(int(hour), EPOCH, calendar=settings.calendar)
        rows += [{"time": time, **row} for row in _cyclone_rows(settings, float(hour))]
        rows += [{"time": time, **row} for row in _other_rows(settings, float(hour))]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _cyclone_rows(settings: SyntheticSettings, hour: float) -> list[dict[str, object]]:
    """Tropical cyclones at one hour."""
    spacing = make_earth(settings.height, settings.width).spacing_km
    rows = []
    for storm, place in cyclones_at(settings, hour):
        shape = vortex(place.strength, place.lat, storm.size, spacing)
        rows.append(
            {
                "storm_id": storm.name,
                "kind": "tropical_cyclone",
                "basin": storm.name[:2],
                "lat": place.lat,
                "lon": place.lon,
                "hemisphere": "N" if place.lat >= 0 else "S",
                "max_wind_ms": place.strength,
                "grid_max_wind_ms": shape.max_wind,
                "pressure_deficit_pa": float(shape.deficit[0]),
                "radius_km": shape.outer_km,
                "strength": place.strength / float(storm.track.strength.max()),
                "in_truth": place.strength >= STORM_WIND and shape.outer_km > 0.0,
            }
        )
    return rows


def _other_rows(settings: SyntheticSettings, hour: float) -> list[dict[str, object]]:
    """All other systems at one hour."""
    rows = []
    for system in alive(lambda number: systems_born(settings, number), hour, LONGEST_LOW_HOURS):
        place = system.track.at(hour)
        rows.append(
            {
                "storm_id": system.name,
                "kind": system.kind,
                "basin": "",
                "lat": place.lat,
                "lon": place.lon,
                "hemisphere": "N" if place.lat >= 0 else "S",
                "max_wind_ms": np.nan,
                "grid_max_wind_ms": np.nan,
                "pressure_deficit_pa": np.nan,
                "radius_km": np.nan,
                "strength": place.strength,
                "in_truth": has_river(system, place),
            }
        )
    return rows
