"""Which low-level wind stands in for which, and how it is converted."""

import numpy as np
import pytest

from exastorm.labels.cyclones.low_wind import choose_wind, low_wind, wind_speeds

U = np.float32([[3.0, -6.0], [0.0, np.nan]])
V = np.float32([[4.0, 8.0], [0.0, 1.0]])
ALL = {"U10", "V10", "UBOT", "VBOT", "U850", "V850"}


def test_the_wanted_height_comes_first():
    for wanted, names in (("10m", ("U10", "V10")), ("lowest", ("UBOT", "VBOT"))):
        choice = choose_wind(ALL, wanted)
        assert choice == (names, 1.0, "")


@pytest.mark.parametrize(
    ("names", "wanted", "factor"),
    # The lowest level is 1 / 0.85 of the wind at 10 m, 850 hPa 1 / 0.80.
    [
        (("UBOT", "VBOT"), "10m", 0.85),
        (("U10", "V10"), "lowest", 1 / 0.85),
        (("U850", "V850"), "10m", 0.80),
        (("U850", "V850"), "lowest", 0.80 / 0.85),
    ],
)
def test_another_height_is_converted_and_said(names, wanted, factor):
    choice = choose_wind(set(names), wanted)
    assert choice.names == names
    assert choice.factor == pytest.approx(factor)
    assert f"{factor:.3g}" in choice.note
    assert names[0] in choice.note


def test_or_only_said():
    choice = choose_wind({"UBOT", "VBOT"}, "10m", convert=False)
    assert choice.factor == 1.0
    assert "not converted" in choice.note


def test_half_a_pair_is_no_wind():
    assert choose_wind({"U10", "UBOT", "V850"}, "10m") is None


def test_speed_is_the_length_of_the_vector():
    speed = low_wind({"U10": U, "V10": V}, "10m")
    assert speed.dtype == np.float32
    assert np.array_equal(speed, [[5.0, 10.0], [0.0, np.nan]], equal_nan=True)
    converted = low_wind({"UBOT": U, "VBOT": V}, "10m")
    assert converted[0] == pytest.approx([4.25, 8.5])
    assert low_wind({"UBOT": U, "VBOT": V}, "10m", convert=False)[0, 1] == 10.0


def test_speeds_of_some_points_are_those_of_all():
    fields = {"UBOT": U, "VBOT": V}
    some = wind_speeds(fields, "10m")[np.array([0, 0]), np.array([1, 0])]
    assert np.array_equal(some, low_wind(fields, "10m")[0, ::-1])
