import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.units import conversion, convert, find_conversion
from exastorm.variables import VARIABLES


@pytest.mark.parametrize(
    ("theirs", "ours", "value", "expected"),
    [
        ("hPa", "Pa", 1013.25, 101325.0),
        ("millibars", "Pa", 1000.0, 100000.0),
        ("degC", "K", 25.0, 298.15),
        ("celsius", "K", -10.0, 263.15),
        ("m s**-1", "m s-1", 7.0, 7.0),
        ("knots", "m s-1", 100.0, 51.4444),  # a knot is 1852 m an hour
        ("g kg-1", "kg kg-1", 8.0, 0.008),
        ("%", "1", 30.0, 0.3),
        ("(0 - 1)", "1", 0.25, 0.25),
        ("gpm", "m", 5500.0, 5500.0),
        # 98066.5 m2 s-2 / 9.80665 m s-2 = 10000 m
        ("m**2 s**-2", "m", 98066.5, 10000.0),
        # 1000 m x 9.80665 m s-2
        ("m", "m2 s-2", 1000.0, 9806.65),
        # 1 kg m-2 of water is 1 mm deep: 8.64 kg m-2 d-1 = 1e-4 kg m-2 s-1 = 1e-7 m s-1
        ("kg m-2 s-1", "m s-1", 1e-4, 1e-7),
        ("kg m-2 day-1", "m s-1", 8.64, 1e-7),
        ("mm/day", "m s-1", 8.64, 1e-7),
        ("mm", "kg m-2", 20.0, 20.0),
    ],
)
def test_conversions_give_hand_worked_values(theirs, ours, value, expected):
    change = conversion(theirs, ours)
    assert value * change.scale + change.offset == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("theirs", "seconds", "value"),
    # 3.6 mm in an hour, 21.6 mm in six hours: both 1e-6 m s-1.
    [("m", 3600.0, 3.6e-3), ("kg m-2", 21600.0, 21.6), ("mm", 21600.0, 21.6)],
)
def test_amounts_become_rates_over_the_time_they_were_gathered(theirs, seconds, value):
    change = conversion(theirs, "m s-1", seconds)
    assert value * change.scale == pytest.approx(1e-6, rel=1e-9)
    assert f"{seconds / 3600:g} h" in change.note


def test_a_rate_stays_a_rate_where_an_accumulation_is_expected():
    assert conversion("mm h-1", "m s-1", 3600.0).scale == pytest.approx(1e-3 / 3600)


@pytest.mark.parametrize(("theirs", "ours"), [("K", "Pa"), ("m", "m s-1"), ("garbage", "K")])
def test_what_does_not_convert_is_refused(theirs, ours):
    with pytest.raises(ValueError, match=theirs):
        conversion(theirs, ours)


def test_the_error_names_file_variable_and_both_units():
    with pytest.raises(InputError, match=r"a\.nc, variable psl: units must convert to Pa .*'K'"):
        find_conversion("K", VARIABLES["PSL"], accumulated_s=None, file="a.nc", source_name="psl")


def test_converting_computes_in_double_and_rounds_once():
    # In single precision 0.1 C + 273.15 misses the nearest float32 of 273.25.
    array = xr.DataArray(np.array([0.1, 20.0], dtype=np.float32))
    out = convert(array, conversion("degC", "K"))
    assert out.dtype == np.float32
    expected = (array.values.astype(np.float64) + 273.15).astype(np.float32)
    np.testing.assert_array_equal(out.values, expected)
