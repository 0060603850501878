"""The table of true tracks."""

import dataclasses

import numpy as np

from exastorm.readers.synthetic.climate import synthetic_dataset, true_tracks
from exastorm.readers.synthetic.settings import SyntheticSettings

SMALL = SyntheticSettings(height=48, width=72, num_snapshots=12, start="2000-08-20")


def test_storms_look_alike_whatever_the_weather_amplitude_and_grid():
    tracks = true_tracks(dataclasses.replace(SMALL, cyclone_rate=5.0))
    finer = true_tracks(dataclasses.replace(SMALL, cyclone_rate=5.0, height=96, width=144))
    assert tracks[["storm_id", "lat", "lon", "max_wind_ms"]].equals(
        finer[["storm_id", "lat", "lon", "max_wind_ms"]]
    )
    cyclones = tracks.kind == "tropical_cyclone"
    assert (finer.grid_max_wind_ms > tracks.grid_max_wind_ms)[cyclones].all()


def test_tracks_table():
    settings = dataclasses.replace(SMALL, cyclone_rate=5.0)
    table = true_tracks(settings)
    assert set(table.time) == set(synthetic_dataset(settings).time.values)
    cyclones = table[table.kind == "tropical_cyclone"]
    assert ((cyclones.lat > 0) == (cyclones.hemisphere == "N")).all()
    assert cyclones.pressure_deficit_pa.min() > 0.0
    assert set(cyclones.basin) <= {"EP", "NA", "NI", "WP", "SI", "SP", "SA"}
    assert table.lon.between(0.0, 360.0).all()
    # A storm keeps its name, and moves less than 30 m/s x 3 h = 324 km a step.
    one = cyclones[cyclones.storm_id == cyclones.storm_id.mode()[0]]
    assert len(one) == len(set(table.time))
    assert np.abs(np.diff(one.lat)).max() < 2.9
