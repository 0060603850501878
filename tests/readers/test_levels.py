import dask.array as da
import numpy as np
import pytest

from exastorm.readers.levels import (
    extrapolate,
    fill_below_ground,
    fill_from_latitude,
    find_level,
    levels_above,
)

NAN = np.nan


def test_a_level_is_found_whatever_the_order_and_only_if_it_is_there():
    assert find_level(np.array([200.0, 500.0, 850.0]), 850.0) == 2
    assert find_level(np.array([850.0001, 500.0]), 850.0) == 0
    assert find_level(np.array([925.0, 800.0]), 850.0) is None


def test_levels_above_come_nearest_first_and_end_where_no_ground_reaches():
    assert levels_above(np.array([1000.0, 850.0, 500.0, 700.0, 250.0]), 850.0) == [3, 2]


def test_temperature_below_ground_follows_the_lapse_rate():
    # Exponent R Gamma / g = 287.05 x 0.0065 / 9.80665 = 0.190262.
    # (1000/850)^0.190262 = exp(0.190262 x 0.162519) = 1.031404: 280 K becomes 288.793 K.
    assert extrapolate("T", 280.0, 850.0, 1000.0) == pytest.approx(288.793, abs=2e-3)


def test_height_below_ground_agrees_with_the_standard_atmosphere():
    # In the US Standard Atmosphere 850 hPa lies at 1457.3 m and 1000 hPa at 110.9 m.
    assert extrapolate("Z", 1457.3, 850.0, 1000.0) == pytest.approx(110.9, abs=1.0)


def test_wind_below_ground_is_that_of_the_level_above():
    assert extrapolate("U", 12.0, 700.0, 850.0) == 12.0


def test_gaps_are_filled_column_by_column_and_kept_in_the_mask():
    field = da.from_array(np.array([[[1.0, NAN, NAN, NAN]]], dtype=np.float32))
    first = da.from_array(np.array([[[9.0, 2.0, NAN, NAN]]], dtype=np.float32))
    second = da.from_array(np.array([[[9.0, 9.0, 3.0, NAN]]], dtype=np.float32))
    filled, mask = fill_below_ground("U", 850.0, field, [(700.0, first), (500.0, second)])
    # The last column has no value above: the mean of its latitude, (1 + 2 + 3) / 3.
    np.testing.assert_array_equal(filled.compute(), [[[1.0, 2.0, 3.0, 2.0]]])
    np.testing.assert_array_equal(mask.compute(), [[[0, 1, 1, 1]]])
    assert mask.dtype == np.int8


def test_a_latitude_without_values_takes_the_nearest_that_has_some():
    block = np.array([[[NAN, NAN], [NAN, NAN], [4.0, 6.0], [NAN, 8.0]]])
    np.testing.assert_array_equal(
        fill_from_latitude(block), [[[5.0, 5.0], [5.0, 5.0], [4.0, 6.0], [8.0, 8.0]]]
    )


def test_a_step_without_any_value_stays_blank():
    assert np.isnan(fill_from_latitude(np.full((1, 2, 2), NAN))).all()
