"""The weather between the storms."""

import dataclasses

import numpy as np

from exastorm.readers.synthetic import background
from exastorm.readers.synthetic.earth import gradient, make_earth
from exastorm.readers.synthetic.settings import SyntheticSettings

SMALL = SyntheticSettings(height=48, width=72, num_snapshots=12, start="2000-08-20")


def test_winds_are_geostrophic_in_midlatitudes():
    settings = dataclasses.replace(SMALL, height=96, width=144, cyclone_rate=0.0)
    canvas = background.blank_canvas(settings, float(settings.hours()[0]))

    east, _ = gradient(canvas.psl, canvas.earth)
    band = (np.abs(canvas.earth.lat) > 35) & (np.abs(canvas.earth.lat) < 65)
    balanced = east[band] / (1.2 * canvas.earth.coriolis[band])
    wave = canvas.v850[band] - canvas.mean.v850[band]
    expected = (
        balanced
        - (gradient(canvas.mean.psl, canvas.earth)[0] / 1.2)[band] / (canvas.earth.coriolis[band])
    )
    np.testing.assert_allclose(wave, expected, atol=1e-9)


def test_without_weather_only_the_mean_state_is_left():
    settings = dataclasses.replace(SMALL, weather_amplitude=0.0)
    canvas = background.blank_canvas(settings, float(settings.hours()[0]))
    assert np.array_equal(canvas.psl, canvas.mean.psl)
    np.testing.assert_allclose(canvas.vapor, canvas.mean.vapor, rtol=1e-6)
    assert np.all(canvas.airmass == 0.0)


def test_mean_state_moves_evenly_between_anchors():
    # Ten days apart; half way between it is the mean of both.
    hours = [background.ANCHOR_HOURS * n for n in (3650.0, 3650.5, 3651.0)]
    before, middle, after = (background.mean_state_at(SMALL, h).t2m for h in hours)
    np.testing.assert_allclose(middle, 0.5 * (before + after), rtol=1e-12)
    assert np.abs(after - before).max() > 0.5


def test_fetching_air_from_known_places():
    # A field that is the latitude: air displaced 3 degrees north came from 3 degrees south.
    earth = make_earth(91, 180)
    field = np.broadcast_to(earth.lat[:, None], earth.shape).copy()
    zero = np.zeros(earth.shape)
    moved = background._fetch(field, earth, zero + 3.0, zero)
    np.testing.assert_allclose(moved[10:-10], field[10:-10] - 3.0, atol=1e-9)
    # Displaced 90 degrees east, across the seam: the air of 90 degrees west.
    wave = np.cos(np.deg2rad(earth.lon))[None, :] + zero
    np.testing.assert_allclose(
        background._fetch(wave, earth, zero, zero + 90.0), np.roll(wave, 45, axis=1), atol=1e-3
    )


def test_rain_falls_where_it_is_moist():
    settings = dataclasses.replace(SMALL, height=96, width=144)
    canvas = background.blank_canvas(settings, float(settings.hours()[0]))
    wet = canvas.vapor > canvas.mean.vapor
    assert canvas.rain[wet].mean() > 2.0 * canvas.rain[~wet].mean()
    # It is dry at most points (Trenberth et al. 2017: rain at 11 % of all times).
    assert 0.05 < (canvas.rain > 0.1e-3 / 3600.0).mean() < 0.3
