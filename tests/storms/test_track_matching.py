"""Distances between tracks and who is matched with whom, worked by hand."""

import cftime
import numpy as np
import pandas as pd
import pytest

from exastorm.errors import InputError
from exastorm.storms.track_matching import (
    MatchSettings,
    distance_along_km,
    life_shares,
    match_tracks,
    track_lines,
    with_hours,
)

DEGREE_KM = 111.195
"""One degree of a great circle of the mean Earth, 2 pi 6371 / 360."""


def track(name, hours, lats, lons, wind=30.0):
    return pd.DataFrame(
        {"track": name, "hour": hours, "lat": lats, "lon": lons, "max_wind_ms": wind}
    )


def line(hours, lats, lons):
    return track_lines(track("a", hours, lats, lons), "tracks")[0]


def test_distance_at_common_times():
    # On the equator, 1, 2 and 3 degrees of longitude apart.
    ours = line([0, 6, 12], [0, 0, 0], [10, 10, 10])
    other = line([0, 6, 12], [0, 0, 0], [11, 12, 13])
    expected = DEGREE_KM * np.array([1, 2, 3])
    assert distance_along_km(ours, other, 24.0) == pytest.approx(expected, rel=1e-4)


def test_a_track_of_longer_steps_is_interpolated_between_its_sightings():
    # True every 3 h, found every 6 h: at 3 h it is half way, 1 degree away.
    ours = line([0, 3, 6], [0, 0, 0], [20, 20, 20])
    other = line([0, 6], [0, 2], [20, 20])
    expected = DEGREE_KM * np.array([0, 1, 2])
    assert distance_along_km(ours, other, 24.0) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_interpolation_crosses_the_meridian_where_longitudes_wrap():
    # From 359 to 1 degree east the way leads over 0, not over 180.
    ours = line([3], [0], [0])
    other = line([0, 6], [0, 0], [359, 1])
    assert distance_along_km(ours, other, 24.0) == pytest.approx([0.0], abs=1e-3)


def test_a_track_is_nowhere_before_after_and_in_long_gaps():
    ours = line([0, 6, 18, 42, 48], [0] * 5, [0] * 5)
    other = line([6, 42], [0, 0], [0, 0])
    # Before its first sighting, at it, 12 h into a gap of 36 h, at its last, after it.
    absent = np.isnan(distance_along_km(ours, other, 24.0))
    assert absent.tolist() == [True, False, True, False, True]
    assert not np.isnan(distance_along_km(ours, other, 36.0)[2])


def test_a_single_sighting_counts_at_its_own_time():
    ours = line([0, 6, 12], [0] * 3, [0] * 3)
    other = line([6], [1], [0])
    away = distance_along_km(ours, other, 24.0)
    assert np.isnan(away).tolist() == [True, False, True]
    assert away[1] == pytest.approx(DEGREE_KM, rel=1e-4)


def test_the_share_is_of_the_true_tracks_life():
    # Found at 3 of the 6 true times within 300 km (2 degrees = 222 km), at one 4 degrees away.
    true = line([0, 6, 12, 18, 24, 30], [0] * 6, [0] * 6)
    found = line([0, 6, 12, 18], [2, 2, 2, 4], [0] * 4)
    assert life_shares([true], [found], MatchSettings())[0, 0] == 0.5
    # All of the found track's life, as if it were the true one: 3 of 4.
    assert life_shares([found], [true], MatchSettings())[0, 0] == 0.75
    assert life_shares([true], [found], MatchSettings(max_distance_km=500.0))[0, 0] == 4 / 6
    assert life_shares([true], [found], MatchSettings(max_distance_km=200.0))[0, 0] == 0.0


def test_each_track_is_matched_once_and_as_many_as_can_be():
    # Greedy by share would pair true 0 with found 0 (0.9) and leave true 1 alone; both can match.
    shares = np.array([[0.9, 0.6], [0.8, 0.0]])
    assert sorted(match_tracks(shares, 0.5)) == [(0, 1), (1, 0)]
    # Below the least share nothing matches: then only one of the two can.
    assert match_tracks(shares, 0.7) == [(0, 0)]


def test_of_two_found_tracks_the_longer_together_matches():
    assert match_tracks(np.array([[0.5, 0.6]]), 0.5) == [(0, 1)]


def test_nothing_to_match():
    assert match_tracks(np.zeros((0, 3)), 0.5) == []
    assert match_tracks(np.zeros((2, 0)), 0.5) == []


def test_hours_come_from_times_of_any_kind_in_the_calendar_of_the_cftimes():
    # Without a 29 February, 1 March 00 comes 24 hours after 28 February 00.
    days = [cftime.datetime(2000, 2, 28, calendar="noleap")]
    true = pd.DataFrame({"time": days})
    found = pd.DataFrame({"time": ["2000-02-28T06:00:00", "2000-03-01"]})
    read = with_hours([true, found])
    assert read[0]["hour"].tolist() == [0.0]
    assert read[1]["hour"].tolist() == [6.0, 24.0]
    stamps = pd.DataFrame({"time": pd.to_datetime(["2000-02-28", "2000-03-01"])})
    assert with_hours([stamps])[0]["hour"].tolist() == [0.0, 48.0]


def test_hours_that_are_there_are_kept():
    table = pd.DataFrame({"hour": [5.0], "time": ["2000-01-01"]})
    assert with_hours([table])[0] is table


def test_a_time_must_be_one():
    with pytest.raises(InputError, match="must be an ISO time, got 'soon'"):
        with_hours([pd.DataFrame({"time": ["soon"]})])


def test_all_tables_need_one_kind_of_time():
    with pytest.raises(InputError, match="all have the column hour, or all time"):
        with_hours([pd.DataFrame({"hour": [0]}), pd.DataFrame({"time": ["2000-01-01"]})])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="lat"), "found tracks must have the columns .*, lack lat"),
        (lambda t: t.assign(lat=np.nan), "found tracks must have an hour, lat and lon in every"),
        (lambda t: t.assign(hour=0), "one row a track and time, track a has two"),
    ],
)
def test_tables_are_checked(spoil, message):
    with pytest.raises(InputError, match=message):
        track_lines(spoil(track("a", [0, 6], [0, 0], [0, 0])), "found tracks")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_distance_km": 0.0}, "max_distance_km must be positive"),
        ({"max_gap_hours": -1.0}, "max_gap_hours must be positive"),
        ({"max_cause_km": 0.0}, "max_cause_km must be positive"),
        ({"min_lifetime_hours": -1.0}, "min_lifetime_hours must not be negative"),
        ({"min_peak_wind_ms": -1.0}, "min_peak_wind_ms must not be negative"),
        ({"min_life_share": 0.0}, "min_life_share must lie in"),
        ({"min_life_share": 1.5}, "min_life_share must lie in"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        MatchSettings(**wrong)
