"""TECA's minimizer and its test of shape, on surfaces whose answers can be worked out."""

import numpy as np
import pytest

from exastorm.labels.cyclones.teca_shape import WALL, Place, Surface, descend, stepped_rise

AXIS = np.linspace(-10.0, 10.0, 81)


def surface(height, reach=8.0):
    """A surface of height(x, y) on a plane of 20 x 20 degrees."""
    values = height(AXIS[None, :], AXIS[:, None])
    return Surface.through(values, AXIS, AXIS, (0.0, 0.0), (reach, reach))


def test_spline_and_its_slope():
    # A cubic spline goes through a cubic exactly: 2^3 + 1^2 - 2 = 7, slopes 3 * 4 - 1 and 2.
    cubic = surface(lambda x, y: x**3 + y**2 - x * y)
    assert cubic.value(2.0, 1.0) == pytest.approx(7.0)
    assert cubic.gradient(2.0, 1.0) == pytest.approx([11.0, 0.0], abs=1e-9)
    assert cubic.value(8.1, 0.0) == WALL


def test_missing_values_make_no_surface():
    values = np.zeros((AXIS.size, AXIS.size))
    values[3, 4] = np.nan
    assert Surface.through(values, AXIS, AXIS, (0.0, 0.0), (8.0, 8.0)) is None


def test_round_low_is_found_by_one_line():
    low = surface(lambda x, y: 101000.0 + 50.0 * ((x - 1) ** 2 + (y + 0.5) ** 2))
    place = descend(low, 0.0, 0.0)
    assert (place.x, place.y) == pytest.approx((1.0, -0.5), abs=1e-3)
    assert place.value == pytest.approx(101000.0, abs=0.01)


def test_search_is_content_after_one_line_that_gains_less_than_one_percent():
    # f = c + 50 x^2 + 450 y^2 from (1, 1): slope g = (100, 900). Along it f is lowest after
    # t = g.g / g.H.g = 820000 / (1e6 + 7.29e8) = 1.12329e-3, at (1 - 0.112329, 1 - 1.010959).
    long_low = surface(lambda x, y: 101000.0 + 50.0 * x**2 + 450.0 * y**2)
    place = descend(long_low, 1.0, 1.0)
    assert (place.x, place.y) == pytest.approx((0.88767, -0.01096), abs=1e-3)
    # Where 500 is far more than 1 % of the value, it goes on to the lowest point.
    place = descend(surface(lambda x, y: 100.0 + 50.0 * x**2 + 450.0 * y**2), 1.0, 1.0)
    assert (place.x, place.y) == pytest.approx((0.0, 0.0), abs=0.1)


def test_search_starting_at_the_lowest_point_stays():
    low = surface(lambda x, y: 1000.0 + x**2 + y**2)
    place = descend(low, 0.0, 0.0)
    assert (place.x, place.y, place.value) == pytest.approx((0.0, 0.0, 1000.0), abs=1e-4)


def test_search_on_a_slope_runs_as_far_as_it_may():
    place = descend(surface(lambda x, y: 1000.0 + x + 0 * y), 0.0, 0.0)
    assert (place.x, place.y) == pytest.approx((-8.0, 0.0), abs=0.01)


def test_rise_is_the_weakest_of_eight_directions_at_whole_steps():
    # 10 x^2 + 20 y^2 + 5 y: least southward, 20 * 9 - 15 = 165 at 3 degrees; westward and
    # eastward 90, diagonally, with two steps within 4 degrees, at least 40 + 80 - 10 = 110.
    low = surface(lambda x, y: 10 * x**2 + 20 * y**2 + 5 * y)
    assert stepped_rise(low, Place(0.0, 0.0, 0.0), 4.0) == pytest.approx(90.0)
    # Four degrees are not within 4; within 4.1 they are: 160 to the sides, 320 - 20 south, still
    # 110 diagonally.
    assert stepped_rise(low, Place(0.0, 0.0, 0.0), 4.1) == pytest.approx(110.0)


def test_radius_without_a_step_sees_no_rise():
    low = surface(lambda x, y: 10 * x**2 + 20 * y**2)
    assert stepped_rise(low, Place(0.0, 0.0, 0.0), 1.0) == 0.0
    # A step of 1 to the sides, but none on the diagonals.
    assert stepped_rise(low, Place(0.0, 0.0, 0.0), 1.2) == 0.0
