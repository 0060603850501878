from datetime import timedelta

import cftime
import numpy as np
import pytest

from exastorm.errors import InputError
from exastorm.grid import regular_grid
from exastorm.readers.coordinates import Grid
from exastorm.readers.fields import Field, make_array
from exastorm.readers.timing import align


def hours(*values):
    return np.array([cftime.DatetimeNoLeap(2000, 1, 1) + timedelta(hours=h) for h in values])


def field(name, at, bounds=None):
    lat, lon = regular_grid(2, 3)
    grid = Grid(
        lat=lat,
        lon=lon,
        lat_order=np.arange(2),
        lon_order=np.arange(3),
        lat_name="lat",
        lon_name="lon",
        num_columns=3,
    )
    values = np.broadcast_to(np.asarray(at, np.float32)[:, None, None], (len(at), 2, 3))
    pairs = None if bounds is None else np.array([hours(*pair) for pair in bounds])
    return Field(array=make_array(name, values, hours(*at), grid, {}), bounds=pairs, file="x.nc")


def test_a_mean_goes_to_the_instant_that_ends_its_interval():
    # CMIP6: rain of 0-3 h is stamped 1.5 h. At 6 h the interval 3-6 h (stamp 4.5) ends.
    rain = field("PRECT", (1.5, 4.5, 7.5, 10.5), [(0, 3), (3, 6), (6, 9), (9, 12)])
    out, remarks = align({"TMQ": field("TMQ", (0, 6, 12)), "PRECT": rain}, "x")
    np.testing.assert_array_equal(out["TMQ"].array.values[:, 0, 0], [6, 12])
    np.testing.assert_array_equal(out["PRECT"].array.values[:, 0, 0], [4.5, 10.5])
    np.testing.assert_array_equal(out["PRECT"].times, hours(6, 12))
    assert out["PRECT"].array.attrs["note"] == "mean over the 3 h that end at the time"
    assert "1 of 3 times are left out, 0 for want of an instant and 1" in remarks[1]


def test_a_daily_mean_goes_to_the_instants_of_its_day():
    rain = field("PRECT", (12, 36), [(0, 24), (24, 48)])
    out, _ = align({"TMQ": field("TMQ", (6, 12, 18, 24, 30)), "PRECT": rain}, "x")
    # 24 h ends the first day; 30 h lies in the second.
    np.testing.assert_array_equal(out["PRECT"].array.values[:, 0, 0], [12, 12, 12, 12, 36])
    assert "interval of 24 h that holds the time" in out["PRECT"].array.attrs["note"]


def test_instants_meet_at_the_times_that_all_have():
    out, remarks = align({"TMQ": field("TMQ", (0, 3, 6, 9)), "PSL": field("PSL", (0, 6, 12))}, "x")
    np.testing.assert_array_equal(out["TMQ"].array.values[:, 0, 0], [0, 6])
    np.testing.assert_array_equal(out["PSL"].array.values[:, 0, 0], [0, 6])
    assert "2 of 4 times are left out" in remarks[1]


def test_a_shared_axis_is_left_alone_even_for_means():
    rain = field("PRECT", (3, 6), [(0, 3), (3, 6)])
    out, remarks = align({"TMQ": field("TMQ", (3, 6)), "PRECT": rain}, "x")
    assert out["PRECT"] is rain
    assert remarks == []


def test_axes_that_never_meet_are_refused_naming_both():
    with pytest.raises(InputError, match=r"no time is common.*TMQ .*2 instants.*PSL"):
        align({"TMQ": field("TMQ", (0, 6)), "PSL": field("PSL", (3, 9))}, "x")
