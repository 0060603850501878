"""The mean state: seasons, balance, land and mountains."""

import numpy as np
import pytest

from exastorm.readers.synthetic.climatology import (
    DEEP_LAYER,
    balanced_wind,
    geostrophic_pressure,
    mean_state,
)
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.profiles import (
    KNOTS,
    TABLES,
    WARMEST_PHASE,
    zonal_mean,
    zonal_slope,
)

EARTH = make_earth(73, 144)
JANUARY, JULY = WARMEST_PHASE + np.pi, WARMEST_PHASE


@pytest.mark.parametrize("name", TABLES)
def test_curves_pass_through_their_tables(name):
    for phase, values in zip((JANUARY, JULY), TABLES[name], strict=True):
        np.testing.assert_allclose(zonal_mean(name, KNOTS, phase), values, atol=1e-9)


def test_slope_is_the_derivative():
    at = np.array([33.0])
    rise = (zonal_mean("t500", at + 0.01, 1.0) - zonal_mean("t500", at - 0.01, 1.0)) / 0.02
    np.testing.assert_allclose(zonal_slope("t500", at, 1.0), rise, rtol=1e-5)
    assert zonal_slope("t500", np.array([40.0]), JANUARY)[0] < -0.5


def test_pressure_balances_an_even_wind():
    # u = 10 m/s from 30 to 50N: -rho Omega 2 u R (cos 30 - cos 50):
    # 1.2 x 2 x 7.292e-5 x 10 x 6.371e6 x (0.86603 - 0.64279) = 2489 Pa lower at 50N.
    lat = np.linspace(-90, 90, 361)
    pressure = geostrophic_pressure(lat, np.full(lat.size, 10.0))
    assert pressure[240] - pressure[280] == pytest.approx(2489.0, rel=1e-3)
    # Westerlies in the south: lower poleward there too.
    assert pressure[80] < pressure[120]


def test_wind_balances_a_pressure_wave():
    # p = 500 Pa sin(lon) at 45N: v = dp/dx / (rho f), up to the letting down near the equator
    # f / (f^2 + f10^2) / (1/f) = 0.943: 500 / (6.371e6 cos 45) / (1.2 x 1.0313e-4) x 0.943 = 0.846.
    wave = 500.0 * np.sin(np.deg2rad(EARTH.lon))[None, :] * np.ones(EARTH.shape)
    u, v = balanced_wind(wave, EARTH)
    row = int(np.argmin(np.abs(EARTH.lat - 45.0)))
    assert v[row, 0] == pytest.approx(0.846, abs=5e-3)
    assert np.abs(u[row]).max() < 0.01
    assert np.abs(v[36]).max() < 1e-12


@pytest.fixture(scope="module")
def seasons():
    return {name: mean_state(EARTH, phase) for name, phase in (("jan", JANUARY), ("jul", JULY))}


def at(field, lat, lon):
    return field[int(np.argmin(np.abs(EARTH.lat - lat))), int(np.argmin(np.abs(EARTH.lon - lon)))]


def test_continents_swing_more_than_oceans(seasons):
    def swing(lat, lon):
        return at(seasons["jul"].t2m, lat, lon) - at(seasons["jan"].t2m, lat, lon)

    assert swing(60.0, 100.0) > 25.0  # Siberia
    assert 0.0 < swing(50.0, 190.0) < 15.0  # North Pacific
    assert swing(-25.0, 132.0) < -8.0  # Australia


def test_siberian_high_and_asian_low(seasons):
    # Against the zonal mean of the same latitude.
    for name, lat, lon, sign in (
        ("jan", 55.0, 95.0, 1),
        ("jan", 50.0, 185.0, -1),
        ("jul", 32.0, 75.0, -1),
    ):
        row = int(np.argmin(np.abs(EARTH.lat - lat)))
        anomaly = at(seasons[name].psl, lat, lon) - seasons[name].psl[row].mean()
        assert sign * anomaly > 150.0, (name, lat, lon)


def test_moist_and_dry_places(seasons):
    july = seasons["jul"].vapor
    assert at(july, 20.0, 88.0) > 1.8 * at(july, 22.0, 15.0)  # Bay of Bengal, Sahara
    assert at(july, 5.0, 140.0) > 1.4 * at(july, -15.0, 270.0)  # warm pool, Peru current
    # Rain moves north with the sun.
    center = [
        np.average(EARTH.lat[24:49], weights=seasons[s].rain[24:49].mean(axis=1))
        for s in ("jan", "jul")
    ]
    assert center[0] < 0.0 < 4.0 < center[1]


def test_subtropical_highs_and_the_trough_round_antarctica(seasons):
    zonal = seasons["jan"].psl.mean(axis=1)
    assert (
        zonal[np.abs(EARTH.lat + 30.0) < 1][0] > zonal[36] > zonal[np.abs(EARTH.lat + 65.0) < 1][0]
    )
    assert zonal[np.abs(EARTH.lat + 65.0) < 1][0] < 99500.0


def test_layer_thickness_by_hand():
    # 287.05 / 9.80665 x ln 5 = 47.11 m per K.
    assert pytest.approx(47.11, abs=0.01) == DEEP_LAYER


def test_cyclones_feel_the_season():
    north, south = (lambda p, a=a: zonal_mean("sea", np.array([a]), p)[0] for a in (20.0, -20.0))
    assert north(JULY) > north(JANUARY) + 2.0
    assert south(JANUARY) > south(JULY) + 2.0
