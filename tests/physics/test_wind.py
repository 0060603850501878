"""Vorticity and divergence on the sphere, against flows with known answers."""

import numpy as np
import pytest

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.grid import regular_grid
from exastorm.physics.wind import divergence, vorticity, wind_speed

RADIUS_M = EARTH_RADIUS_KM * 1000.0
OMEGA = 1e-5  # rad s-1, a flow of 64 m/s at the equator


def solid_rotation(lat, lon):
    """u = omega R cos(lat), v = 0: every parcel turns round the axis once in 2 pi / omega."""
    u = OMEGA * RADIUS_M * np.cos(np.deg2rad(lat))[:, None] * np.ones(lon.size)
    return u, np.zeros_like(u)


@pytest.mark.parametrize("with_poles", [True, False])
def test_solid_rotation_has_twice_its_rate_times_sine_of_latitude(with_poles):
    lat, lon = regular_grid(181, 360)
    if not with_poles:
        lat = lat[:-1] + 0.5
    u, v = solid_rotation(lat, lon)
    # zeta = -d(u cos)/(R cos dphi) = -omega d(cos^2)/(cos dphi) = 2 omega sin(lat), also at 90 N.
    expected = np.broadcast_to(2 * OMEGA * np.sin(np.deg2rad(lat))[:, None], u.shape)
    # Centered differences h = 1 degree apart: relative error h^2 / 6 x 4 (third derivative of
    # cos^2) = 2.03e-4; the one-sided ends are worse.
    inner = slice(None) if with_poles else slice(1, -1)
    zeta = vorticity(u, v, lat, lon)[inner]
    np.testing.assert_allclose(zeta, expected[inner], atol=2.1e-4 * 2 * OMEGA)
    np.testing.assert_allclose(divergence(u, v, lat, lon), 0.0, atol=1e-18)


def test_rotation_round_a_tilted_axis_needs_the_poles():
    # Solid rotation round the axis through (0 N, 0 E): u = -omega R sin(lat) cos(lon),
    # v = omega R sin(lon). Its vorticity is 2 omega cos(lat) cos(lon): zero at both poles.
    lat, lon = regular_grid(181, 360)
    phi, lam = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None, :]
    u = -OMEGA * RADIUS_M * np.sin(phi) * np.cos(lam)
    v = OMEGA * RADIUS_M * np.sin(lam) * np.ones_like(phi)
    expected = 2 * OMEGA * np.cos(phi) * np.cos(lam)
    # Beside the pole two terms of 1/cos(lat) = 1/h nearly cancel; their errors, h^2/6 and 4 h^2/6
    # of them, leave (4 - 1) h/6 of omega, a quarter of h or 0.44 % of 2 omega.
    np.testing.assert_allclose(vorticity(u, v, lat, lon), expected, atol=5e-3 * 2 * OMEGA)


def test_outflow_from_the_pole_diverges():
    # v = a cos(lat): divergence = a d(cos^2)/(R cos dphi) = -2 a sin(lat) / R, -2a/R at 90 N.
    lat, lon = regular_grid(181, 90)
    v = 10.0 * np.cos(np.deg2rad(lat))[:, None] * np.ones(90)
    expected = np.broadcast_to(-20.0 / RADIUS_M * np.sin(np.deg2rad(lat))[:, None], v.shape)
    result = divergence(np.zeros_like(v), v, lat, lon)
    np.testing.assert_allclose(result, expected, atol=1e-9)
    np.testing.assert_allclose(vorticity(np.zeros_like(v), v, lat, lon), 0.0, atol=1e-18)


def test_rolling_the_globe_rolls_vorticity_bit_for_bit():
    lat, lon = regular_grid(46, 72)
    u, v = np.random.default_rng(0).normal(size=(2, 46, 72)).astype(np.float32)
    rolled = vorticity(np.roll(u, 7, 1), np.roll(v, 7, 1), lat, lon)
    # The polar rows are means over longitude, whose sum depends on the order by rounding.
    expected = np.roll(vorticity(u, v, lat, lon), 7, 1)
    assert np.array_equal(rolled[1:-1], expected[1:-1])
    assert rolled.dtype == np.float32


def test_a_part_of_the_globe_does_not_wrap():
    lat, lon = np.arange(10.0, 31.0), np.arange(100.0, 141.0)
    v = np.broadcast_to(lon - 100.0, (21, 41))
    # dv/dlambda = 180/pi everywhere, also at the edges where a wrap would give nonsense.
    expected = 180 / np.pi / (RADIUS_M * np.cos(np.deg2rad(lat)))
    zeta = vorticity(np.zeros_like(v), v, lat, lon)
    np.testing.assert_allclose(zeta, np.broadcast_to(expected[:, None], v.shape), rtol=1e-12)


def test_many_times_at_once():
    lat, lon = regular_grid(19, 36)
    u, v = np.random.default_rng(0).normal(size=(2, 3, 19, 36))
    single = vorticity(u[1], v[1], lat, lon)
    assert np.array_equal(vorticity(u, v, lat, lon)[1], single)


def test_speed():
    assert wind_speed(np.array([3.0]), np.array([-4.0]))[0] == 5.0
