"""Tropical cyclones in the fields: rotation, warm core, truth, and no cut at the seam."""

import dataclasses

import numpy as np
import pytest

from exastorm.grid import great_circle_km
from exastorm.readers.synthetic import background
from exastorm.readers.synthetic.climate import snapshot, true_tracks
from exastorm.readers.synthetic.cyclone_lives import Cyclone
from exastorm.readers.synthetic.cyclones import _paint
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.tracks import Place, Track


@pytest.fixture(scope="module")
def stormy():
    """Snapshots with many cyclones and no other systems, and where the cyclones are."""
    settings = SyntheticSettings(
        height=192,
        width=288,
        start="2000-09-01",
        num_snapshots=2,
        step_hours=240,
        cyclone_rate=4.0,
        decoy_rate=0.0,
        river_rate=0.0,
        weather_amplitude=0.2,
    )
    tracks = true_tracks(settings)
    return settings, tracks[tracks.grid_max_wind_ms > 25.0]


def ring(settings, fields, name, lat, lon, radius_deg):
    """Values at the points nearest to east, north, west and south of a place."""
    earth = make_earth(settings.height, settings.width)
    places = [(lat, lon + radius_deg), (lat + radius_deg, lon)]
    places += [(lat, lon - radius_deg), (lat - radius_deg, lon)]
    rows = [int(np.argmin(np.abs(earth.lat - a))) for a, _ in places]
    columns = [round((b % 360.0) / 360.0 * settings.width) % settings.width for _, b in places]
    return fields[name][rows, columns].astype(np.float64)


def test_cyclones_turn_cyclonically_are_low_warm_and_moist(stormy):
    settings, tracks = stormy
    assert len(tracks) >= 4
    for hour, time in zip(settings.hours(), sorted(set(tracks.time)), strict=True):
        fields = snapshot(settings, float(hour))
        for storm in tracks[tracks.time == time].itertuples():
            u = ring(settings, fields, "U850", storm.lat, storm.lon, 1.8)
            v = ring(settings, fields, "V850", storm.lat, storm.lon, 1.8)
            turn = (v[0] - v[2]) + (u[3] - u[1])
            assert turn * np.sign(storm.lat) > 30.0
            for name, sign, least in (("PSL", -1, 500.0), ("T500", 1, 1.0), ("T200", 1, 0.5)):
                center = ring(settings, fields, name, storm.lat, storm.lon, 0.0)[0]
                away = ring(settings, fields, name, storm.lat, storm.lon, 6.0).mean()
                assert sign * (center - away) > least, name
            center = ring(settings, fields, "TMQ", storm.lat, storm.lon, 0.0)[0]
            assert center > ring(settings, fields, "TMQ", storm.lat, storm.lon, 7.0).mean()


def test_truth_of_a_cyclone_is_where_its_wind_is(stormy):
    settings, tracks = stormy
    earth = make_earth(settings.height, settings.width)
    hour, time = settings.hours()[0], min(tracks.time)
    cyclones = snapshot(settings, float(hour))["truth"] == 1

    every = true_tracks(dataclasses.replace(settings, num_snapshots=1))
    inside = np.zeros(cyclones.shape, dtype=bool)
    for storm in every[every.in_truth & (every.time == time)].itertuples():
        distance = great_circle_km(storm.lat, storm.lon, earth.lat[:, None], earth.lon[None, :])
        inside |= distance <= storm.radius_km
    assert inside.any()
    assert np.array_equal(cyclones, inside)


def test_a_cyclone_on_the_seam_is_whole(monkeypatch):
    # The same storm painted at 359.9E and at 180E, on a canvas of one color.

    settings = SyntheticSettings(height=96, width=144)
    canvas = background.blank_canvas(settings, float(settings.hours()[0]))
    for noise in canvas.noise.values():
        noise[:] = 0.0
    canvas.psl[:], canvas.u850[:], canvas.vapor[:], canvas.rain[:] = 101000.0, 0.0, 30.0, 0.0
    flat = np.zeros(2)
    track = Track(born_hour=0.0, step_hours=1.0, lat=flat, lon=flat, strength=flat)
    storm = Cyclone(name="x", track=track, size=1.0, wetness=1.0, turn=0.3)
    painted = []
    for lon in (360.0 - 2.5, 180.0 - 2.5):
        trial = dataclasses.replace(
            canvas,
            **{
                n: getattr(canvas, n).copy()
                for n in ("psl", "u850", "v850", "warmth", "vapor", "rain", "cyclone")
            },
        )
        place = Place(lat=18.0, lon=lon, strength=50.0, age_hours=9.0, east=-3.0, north=1.0)
        _paint(trial, storm, place)
        painted.append(trial)
    for name in ("psl", "u850", "warmth", "vapor", "rain", "cyclone"):
        on_seam, elsewhere = (getattr(p, name) for p in painted)
        np.testing.assert_allclose(np.roll(on_seam, -72, axis=1), elsewhere, atol=1e-6)
    assert painted[0].psl.min() < 99000.0
