"""Patches of the sphere around a storm, and spirals in them."""

import numpy as np
import pytest

from exastorm.grid import great_circle_km
from exastorm.readers.synthetic.earth import gradient, make_earth, smooth
from exastorm.readers.synthetic.geometry import Spiral, patch_at, smooth_step

EARTH = make_earth(73, 144)


@pytest.mark.parametrize(("lat", "lon"), [(20.0, 140.0), (-35.0, 0.3), (55.0, 359.0), (80.0, 10.0)])
def test_a_patch_holds_every_point_in_reach_once(lat, lon):
    patch = patch_at(EARTH, lat, lon, 1500.0)
    distance = great_circle_km(lat, lon, EARTH.lat[:, None], EARTH.lon[None, :])
    held = np.zeros(EARTH.shape, dtype=int)
    held[patch.where] += 1
    assert held.max() == 1
    assert np.all(held[distance <= 1500.0] == 1)
    np.testing.assert_allclose(patch.distance_km, distance[patch.where], atol=1e-3)


def test_directions_at_known_places():
    patch = patch_at(EARTH, 0.0, 90.0, 3000.0)
    rows, columns = (index.ravel() for index in patch.where)
    east = (list(rows).index(36), list(columns).index(40))  # 0N 100E
    north = (list(rows).index(40), list(columns).index(36))  # 10N 90E
    assert patch.out_east[east] == pytest.approx(1.0)
    assert patch.out_north[north] == pytest.approx(1.0)
    assert patch.bearing[east] == pytest.approx(0.0, abs=1e-9)
    assert patch.bearing[north] == pytest.approx(np.pi / 2)
    # Counterclockwise in the north: northward east of the center, westward north of it.
    u, v = patch.around(np.full_like(patch.distance_km, 10.0))
    assert v[east] == pytest.approx(10.0)
    assert u[north] == pytest.approx(-10.0)


def test_unit_vectors_are_unit_vectors_far_away():
    patch = patch_at(EARTH, 60.0, 350.0, 4000.0)
    far = patch.distance_km > 100.0
    np.testing.assert_allclose((patch.out_east**2 + patch.out_north**2)[far], 1.0, atol=1e-9)


def test_southern_patches_mirror_northern_ones():
    north, south = (patch_at(EARTH, lat, 200.0, 2000.0) for lat in (30.0, -30.0))
    np.testing.assert_allclose(south.bearing[::-1], north.bearing, atol=1e-9)
    # Clockwise in the south: its wind is the mirror image.
    speed = np.ones_like(north.distance_km)
    (u_north, v_north), (u_south, v_south) = north.around(speed), south.around(speed)
    np.testing.assert_allclose(u_south[::-1], u_north, atol=1e-9)
    np.testing.assert_allclose(v_south[::-1], -v_north, atol=1e-9)


def test_offset_from_a_spiral_is_across_it():
    patch = patch_at(EARTH, 40.0, 180.0, 3000.0)
    spiral = Spiral(radius_km=2500.0, bearing=-2.4, winding=0.7)
    offset = spiral.offset_km(patch)
    # At the given radius, a point 0.1 radians counterclockwise of the given bearing is
    # 2500 x 0.1 / sqrt(1 + 0.49) = 205 km off.
    ring = np.abs(patch.distance_km - 2500.0) < 60.0
    angle = np.mod(patch.bearing[ring] + 2.4 + np.pi, 2 * np.pi) - np.pi
    close = np.abs(angle) < 0.5
    np.testing.assert_allclose(offset[ring][close], 2048.0 * angle[close], atol=80.0)


def test_wind_along_a_spiral_is_inward_and_cyclonic():
    patch = patch_at(EARTH, 40.0, 180.0, 2000.0)
    spiral = Spiral(radius_km=2000.0, bearing=0.0, winding=1.0)
    east, north = spiral.along(patch, np.full_like(patch.distance_km, 10.0))
    away = patch.distance_km > 1.0
    np.testing.assert_allclose(np.hypot(east, north)[away], 10.0, rtol=1e-6)
    outward = east * patch.out_east + north * patch.out_north
    # At 45 degrees to the radius: 10 cos 45 = 7.07 inward.
    np.testing.assert_allclose(outward[away], -7.0711, atol=1e-3)


def test_smooth_step_rises_and_falls():
    np.testing.assert_allclose(smooth_step([-1.0, 0.0, 0.5, 1.0, 2.0], 0.0, 1.0), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smooth_step([0.0, 1.0], 1.0, 0.0), [1, 0])


def test_gradient_of_known_fields():
    # A field that rises by 1 per degree of latitude: 1 / 111195 per m.
    field = np.broadcast_to(EARTH.lat[:, None], EARTH.shape).copy()
    east, north = gradient(field, EARTH)
    np.testing.assert_allclose(north, 1.0 / 111195.08, rtol=1e-6)
    np.testing.assert_allclose(east, 0.0, atol=1e-15)
    # sin(longitude) at 60 degrees: cos(longitude) / (R cos 60), also at the seam.
    wave = np.broadcast_to(np.sin(np.deg2rad(EARTH.lon))[None, :], EARTH.shape).copy()
    east, _ = gradient(wave, EARTH)
    row = int(np.argmin(np.abs(EARTH.lat - 60.0)))
    expected = np.cos(np.deg2rad(EARTH.lon)) / (6371008.8 * 0.5)
    np.testing.assert_allclose(east[row], expected, rtol=2e-3, atol=1e-10)


def test_smoothing_keeps_means_and_spreads_by_km():
    field = np.zeros(EARTH.shape)
    field[36, 0] = 1.0
    blurred = smooth(field, EARTH.cos_lat, 600.0)
    assert blurred.sum() == pytest.approx(1.0, rel=1e-6)
    # A Gaussian falls to exp(-1/2) at one standard deviation: 5.4 degrees, between 2 and 3 columns.
    ratio = np.interp(600.0 / (2.5 * 111.195), [2, 3], blurred[36, [2, 3]] / blurred[36, 0])
    assert ratio == pytest.approx(np.exp(-0.5), abs=0.02)
    assert blurred[36, 1] == pytest.approx(blurred[36, -1])
