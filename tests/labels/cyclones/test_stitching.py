"""Tracks by hand, and the same tracks as StitchNodes makes of stored candidates."""

import numpy as np
import pandas as pd
import pytest
from tests.labels.cyclones.tempest_files import node_table, tracks

from exastorm.labels.cyclones.stitching import StitchRules, stitch
from exastorm.linking.pointers import track_numbers

LOOSE = {"min_hours": 0.0, "min_points": 1, "min_wind_ms": 0.0, "max_latitude_deg": 90.0}


def table(points, *, hours=None, step_hours=6.0, wind=20.0, height=0.0):
    """Candidates (step, lat, lon), all windy and low."""
    out = pd.DataFrame(points, columns=["step", "lat", "lon"]).astype({"step": int})
    out["max_wind_ms"], out["surface_height_m"] = wind, height
    num = int(out["step"].max()) + 2 if len(out) else 3
    out.attrs["hours"] = tuple(np.arange(num) * step_hours) if hours is None else tuple(hours)
    return out


def still(steps, lat=10.0, lon=100.0):
    return [(step, lat, lon) for step in steps]


def linked(points, *, hours=None, step_hours=6.0, **rules):
    """Tracks of more than one point, as lists of rows."""
    found = stitch(table(points, hours=hours, step_hours=step_hours), StitchRules(**LOOSE | rules))
    return [track.tolist() for track in found]


@pytest.mark.parametrize(
    ("nodes", "expected", "rules"),
    [
        ("global_era5", "global_era5", {}),
        ("global_cam", "global_cam", {}),
        ("random_even", "random_even", {}),
        ("random_uneven", "random_uneven", {"count_by_hours": False}),
        (
            "random_even",
            "random_far",
            {"range_deg": 5.0, "min_hours": 24.0, "max_gap_hours": 12.0, "max_height_m": 1e9}
            | {"min_end_distance_deg": 6.0, "min_length_deg": 30.0, "min_points": 1}
            | {"min_wind_ms": 0.0, "max_latitude_deg": 90.0},
        ),
    ],
)
def test_tracks_are_those_of_stitch_nodes(nodes, expected, rules):
    centers = node_table(nodes)
    found = stitch(centers, StitchRules(**rules))
    hour, column, row = (centers[name].to_numpy() for name in ("hour", "column", "row"))
    mine = [[(hour[n], int(column[n]), int(row[n])) for n in track] for track in found]
    theirs = tracks(expected)
    assert len(theirs) > 3
    assert mine == theirs


def test_eight_degrees_is_the_farthest_next_point():
    assert linked([(0, 10.0, 100.0), (1, 17.99, 100.0)]) == [[0, 1]]
    assert linked([(0, 10.0, 100.0), (1, 18.01, 100.0)]) == []
    # 8 degrees of longitude at 60 degrees are 4; over 0/360 and over the pole the way is short.
    assert linked([(0, 60.0, 352.0), (1, 60.0, 0.0)], range_deg=4.0) == [[0, 1]]
    assert linked([(0, 87.0, 0.0), (1, 87.0, 180.0)]) == [[0, 1]]


def test_nearest_of_the_next_time_wins():
    points = [(0, 10.0, 100.0), (1, 14.0, 100.0), (1, 12.0, 100.0), (2, 12.0, 100.0)]
    assert linked(points) == [[0, 2, 3], [1, 3]]


def test_an_earlier_time_in_reach_comes_before_a_nearer_point():
    assert linked([(0, 10.0, 100.0), (1, 17.0, 100.0), (2, 10.0, 100.0)])[0] == [0, 1, 2]


def test_two_that_point_to_one_share_it_as_a_last_point():
    # Storms 0 and 1 both point to 2; 0 was there first and goes on to 3.
    points = [(0, 10.0, 100.0), (0, 14.0, 100.0), (1, 12.0, 100.0), (2, 12.0, 101.0)]
    found = linked(points)
    assert found == [[0, 2, 3], [1, 2]]
    assert track_numbers([np.array(track) for track in found], 4).tolist() == [0, 1, 0, 0]


def test_a_shared_last_point_belongs_to_the_first_track_that_counts():
    # If the track that goes on does not count, the other one keeps its last point.
    assert track_numbers([np.array([1, 2])], 4).tolist() == [-1, 0, 0, -1]
    assert track_numbers([np.array([0, 2]), np.array([1, 2])], 3).tolist() == [0, 1, 0]
    assert track_numbers([], 2).tolist() == [-1, -1]


def test_of_equally_near_ones_the_one_a_tree_search_meets_first():
    # Twins north and south of the equator are equally near to a storm on it. The first of the
    # time is the root of the tree and wins.
    twins = [(0, 0.0, 100.0), (1, 3.0, 100.0), (1, -3.0, 100.0)]
    assert linked(twins)[0] == [0, 1]
    assert linked([twins[0], twins[2], twins[1]])[0] == [0, 1]
    # Below another root the second twin hangs on the high side of the first one's y, which is the
    # side of the storm: it is looked at first, whichever twin it is (StitchNodes does the same).
    root = (1, 50.0, 100.0)
    assert linked([twins[0], root, twins[1], twins[2]])[0] == [0, 3]
    assert linked([twins[0], root, twins[2], twins[1]])[0] == [0, 3]


def test_a_day_is_the_longest_gap_whatever_the_steps():
    assert linked(still([0, 4])) == [[0, 1]]  # 24 h
    assert linked(still([0, 5])) == []  # 30 h
    assert linked(still([0, 4]), max_gap_hours=18.0) == []
    assert linked(still([0, 8]), step_hours=3.0) == [[0, 1]]
    assert linked(still([0, 9]), step_hours=3.0) == []
    # Real times count, not steps: one step over a hole of 25 h is too long, three of 8 h are not.
    assert linked(still([0, 1]), hours=[0, 25, 30]) == []
    assert linked(still([0, 3]), hours=[0, 8, 16, 24]) == [[0, 1]]


def test_54_hours_from_first_to_last():
    rules = {"min_hours": 54.0}
    assert linked(still(range(10)), **rules) == [list(range(10))]
    assert linked(still(range(9)), **rules) == []
    assert linked(still([0, 3, 6, 9]), **rules) == [[0, 1, 2, 3]]  # gaps count as life


def counted(values, column, *, step_hours=6.0, hours=None, **rules):
    """Whether a storm that stays in place counts, with a value at each step."""
    num = len(values)
    hours = np.arange(num) * step_hours if hours is None else hours
    centers = table(still(range(num)), hours=hours)
    centers[column] = np.asarray(values, dtype=float)
    return len(stitch(centers, StitchRules(**rules))) == 1


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("max_wind_ms", 10.0, 9.99),
        ("lat", 50.0, 50.01),
        ("lat", -50.0, -50.01),
        ("surface_height_m", 150.0, 150.01),
    ],
)
def test_ten_points_must_meet_each_rule(column, good, bad):
    assert counted([good] * 10 + [bad] * 2, column)
    assert not counted([good] * 9 + [bad] * 3, column)
    assert counted([good] * 9 + [bad] * 3, column, min_points=9)


def test_missing_values_meet_no_rule():
    for column in ("max_wind_ms", "surface_height_m"):
        assert counted([20.0] * 10 + [np.nan] * 2, column)
        assert not counted([20.0] * 9 + [np.nan] * 3, column)


def test_limits_are_options():
    assert counted([5.0] * 10, "max_wind_ms", min_wind_ms=5.0)
    assert counted([55.0] * 10, "lat", max_latitude_deg=55.0)
    assert counted([900.0] * 10, "surface_height_m", max_height_m=900.0)


def test_values_are_compared_as_detect_nodes_writes_them():
    # 9.9999997 is written as 1.000000e+01, 9.999999 as it is.
    assert counted([9.9999997] * 10, "max_wind_ms")
    assert not counted([9.999999] * 10, "max_wind_ms")


def test_without_any_height_its_rule_is_left_out():
    assert counted([np.nan] * 10, "surface_height_m")
    assert not counted([*[np.nan] * 9, 0.0], "surface_height_m")


@pytest.mark.parametrize(
    ("step_hours", "num", "counts"),
    # Ten points 6 h apart stand for 60 h: 20 points of 3 h, 60 of 1 h; 12 h make 5 points.
    [(3.0, 20, True), (3.0, 19, False), (1.0, 60, True), (1.0, 59, False), (12.0, 6, True)],
)
def test_counts_keep_their_meaning_at_other_steps(step_hours, num, counts):
    wind = [20.0] * num + [0.0] * 40
    assert counted(wind, "max_wind_ms", step_hours=step_hours) is counts
    by_points = counted(wind, "max_wind_ms", step_hours=step_hours, count_by_hours=False)
    assert by_points is (num >= 10)


def test_uneven_steps_count_the_time_they_stand_for():
    # Every 4 and 8 h in turn a point stands for 6 h, but for 5 beside the usual 6.
    hours = np.cumsum([0, *[4, 8] * 9])
    good = [20.0] * 10 + [0.0] * 9
    assert counted(good, "max_wind_ms", hours=hours, min_points=8)
    assert not counted(good, "max_wind_ms", hours=hours, min_points=10)
    # A hole in an archive of 6-hourly steps makes no point count more.
    hours = [*range(0, 30, 6), *range(48, 90, 6)]
    wind = [20.0] * 9 + [0.0] * 3
    assert not counted(wind, "max_wind_ms", hours=hours)
    assert counted([*wind[:-1], 20.0], "max_wind_ms", hours=hours)


def test_far_enough_from_end_to_end_and_along_the_way():
    there_and_back = [(0, 10.0, 100.0), (1, 15.0, 100.0), (2, 10.0, 100.0)]
    assert linked(there_and_back, min_length_deg=9.9) == [[0, 1, 2]]
    assert linked(there_and_back, min_length_deg=10.1) == []
    assert linked(there_and_back, min_end_distance_deg=0.1) == []
    assert linked(there_and_back[:2], min_end_distance_deg=4.9) == [[0, 1]]


def test_nothing_found_makes_no_track():
    assert stitch(table([]), StitchRules()) == []
    assert linked(still([0]), hours=[0]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("range_deg", 0.0),
        ("max_gap_hours", -1.0),
        ("min_hours", -1.0),
        ("min_wind_ms", -1.0),
        ("min_points", 0),
        ("max_latitude_deg", 91.0),
        ("max_height_m", float("nan")),
        ("min_end_distance_deg", -1.0),
        ("min_length_deg", -1.0),
    ],
)
def test_impossible_rules_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        StitchRules(**{name: value})
