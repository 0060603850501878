"""Scores of a small climate of six cyclones and four other systems, every one worked by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from exastorm.errors import InputError
from exastorm.storms.track_scores import intensity, ratio
from exastorm.storms.track_skill import MatchSettings, score_tracks

HOURS = np.arange(0, 61, 6.0)
"""Eleven sightings over 60 hours."""


def track(name, lat, lon, hours=HOURS, wind=30.0, kind=None):
    table = pd.DataFrame({"track": name, "hour": hours, "lat": lat, "lon": lon})
    if wind is not None:
        table["max_wind_ms"] = wind
    return table if kind is None else table.assign(kind=kind)


TRUE = pd.concat(
    [
        track("storm", 10.0, 10.0, wind=30.0),
        track("hurricane", 10.0, 50.0, wind=45.0),
        track("missed", 10.0, 90.0, wind=60.0),
        track("weak", 10.0, 130.0, wind=16.0),
        track("short", 10.0, 170.0, hours=HOURS[:9], wind=40.0),  # 48 hours
        track("never", -10.0, 10.0, wind=71.0),
    ]
)

OTHERS = pd.concat(
    [
        track("low", 40.0, 10.0, wind=None, kind="extratropical_low"),
        track("river", 40.0, 50.0, wind=None, kind="river_low"),
    ]
)

FOUND = pd.concat(
    [
        track(1, 11.0, 10.0, wind=25.0),  # the storm, 1 degree north
        track(2, 10.0, 50.0, hours=HOURS[3:9], wind=40.0),  # 6 of 11 times of the hurricane
        track(3, 10.0, 50.0, hours=HOURS[9:], wind=20.0),  # its last two: a second track
        track(4, 10.0, 90.0, hours=HOURS[:5], wind=60.0),  # 5 of 11 times: too short
        track(5, 10.0, 130.0, wind=16.0),
        track(6, 10.0, 170.0, wind=20.0),
        track(7, 40.0, 14.0, wind=20.0),  # 4 degrees of longitude at 40 N: 341 km from the low
        track(8, 40.0, 50.0, wind=20.0),
        track(9, 70.0, 200.0, wind=20.0),
    ]
)


@pytest.fixture(scope="module")
def skill():
    return score_tracks(TRUE, FOUND, OTHERS)


def test_true_tracks_last_54_hours_and_reach_17_m_per_s(skill):
    assert skill.true["track"].tolist() == ["storm", "hurricane", "missed", "never"]
    found = dict(zip(skill.true["track"], skill.true["match"], strict=True))
    assert found == {"storm": 1, "hurricane": 2, "missed": None, "never": None}
    assert skill.true["best_share"].tolist() == pytest.approx([1.0, 6 / 11, 5 / 11, 0.0])


def test_ratios(skill):
    summary = skill.summary()
    assert (summary["num_true"], summary["num_found"], summary["num_matched"]) == (4, 9, 2)
    assert summary["probability_of_detection"]["value"] == 2 / 4
    assert summary["ever_near_ratio"]["value"] == 3 / 4
    assert summary["false_alarm_ratio"]["value"] == 7 / 9
    # Tracks 7, 8 and 9 have no cyclone near; tracks 3 to 6 have one, though no true match.
    assert summary["no_cyclone_ratio"]["value"] == 3 / 9
    json.dumps(summary)


def test_what_the_false_alarms_were(skill):
    assert skill.summary()["false_alarms"] == {
        "second_track_of_cyclone": 1,
        "part_of_missed_cyclone": 1,
        "weak_or_short_cyclone": 2,
        "extratropical_low": 1,
        "river_low": 1,
        "nothing": 1,
    }
    causes = dict(zip(skill.found["track"], skill.found["cause"], strict=True))
    assert causes[1] == "tropical_cyclone"
    assert causes[7] == "extratropical_low"


def test_a_cause_lies_within_its_distance():
    skill = score_tracks(TRUE, FOUND, OTHERS, MatchSettings(max_cause_km=300.0))
    assert skill.summary()["false_alarms"]["nothing"] == 2


def test_without_other_systems_false_alarms_are_cyclones_or_nothing():
    assert score_tracks(TRUE, FOUND).summary()["false_alarms"]["nothing"] == 3


def test_by_intensity(skill):
    by = skill.summary()["by_true_intensity"]
    values = {name: entry["probability_of_detection"]["value"] for name, entry in by.items()}
    # 30, 45, 60 and 71 m/s.
    assert values == {
        "tropical_storm": 1.0,
        "category_2": 1.0,
        "category_4": 0.0,
        "category_5": 0.0,
    }
    by = skill.summary()["by_found_intensity"]
    assert by["category_1"]["false_alarm_ratio"]["value"] == 0.0
    assert by["tropical_storm"]["num_tracks"] == 7
    assert by["tropical_storm"]["false_alarm_ratio"]["value"] == 6 / 7


def test_errors_of_matches(skill):
    summary = skill.summary()
    # Eleven distances of 1 degree, six of none: mean 11 x 111.195 / 17.
    assert summary["position_error_km"]["mean"] == pytest.approx(11 * 111.195 / 17, rel=1e-4)
    assert summary["position_error_km"]["median"] == pytest.approx(111.195, rel=1e-4)
    assert summary["life_share"]["mean"] == pytest.approx((1 + 6 / 11) / 2)
    pairs = skill.pairs.set_index("true")
    # Found from hour 18 to 48 of 60.
    assert (pairs.loc["hurricane", "hours_late"], pairs.loc["hurricane", "hours_short"]) == (18, 12)
    assert pairs["peak_wind_error_ms"].tolist() == [-5.0, -5.0]


@pytest.mark.parametrize(
    ("changed", "num_true", "num_matched"),
    [
        ({"min_lifetime_hours": 48.0}, 5, 3),
        ({"min_peak_wind_ms": 15.0}, 5, 3),
        ({"min_life_share": 0.4}, 4, 3),
        ({"max_distance_km": 100.0}, 4, 1),
    ],
)
def test_every_option_counts(changed, num_true, num_matched):
    summary = score_tracks(TRUE, FOUND, OTHERS, MatchSettings(**changed)).summary()
    assert (summary["num_true"], summary["num_matched"]) == (num_true, num_matched)


def test_a_gap_is_bridged_as_long_as_allowed():
    # Found at 0, 30 and 60 hours: 3 of 11 sightings, or all where 30 hours are bridged.
    true, found = track("a", 0.0, 0.0), track(1, 0.0, 0.0, hours=HOURS[[0, 5, 10]])
    assert score_tracks(true, found).true["best_share"].tolist() == pytest.approx([3 / 11])
    bridged = score_tracks(true, found, settings=MatchSettings(max_gap_hours=30.0))
    assert bridged.true["best_share"].tolist() == [1.0]


def test_the_order_of_rows_does_not_matter(skill):
    shuffled = [table.sample(frac=1.0, random_state=1) for table in (TRUE, FOUND, OTHERS)]
    assert score_tracks(*shuffled).summary() == skill.summary()


def test_found_tracks_without_wind_have_unknown_intensity():
    summary = score_tracks(TRUE, FOUND.drop(columns="max_wind_ms")).summary()
    assert list(summary["by_found_intensity"]) == ["unknown"]
    assert summary["peak_wind_error_ms"] is None


def test_nothing_found():
    summary = score_tracks(TRUE, FOUND[:0], OTHERS).summary()
    assert summary["probability_of_detection"]["value"] == 0.0
    assert summary["false_alarm_ratio"] == {"value": None, "low": None, "high": None}
    assert summary["position_error_km"] is None


def test_nothing_true():
    summary = score_tracks(TRUE[:0], FOUND).summary()
    assert summary["probability_of_detection"]["value"] is None
    assert summary["false_alarm_ratio"]["value"] == summary["no_cyclone_ratio"]["value"] == 1.0


def test_the_truth_must_know_its_winds():
    with pytest.raises(InputError, match="true tracks must have the column max_wind_ms"):
        score_tracks(TRUE.drop(columns="max_wind_ms"), FOUND)


def test_wilson_interval_worked_by_hand():
    # 9 of 10, z = 1.95996: center (0.9 + z2 / 20) / (1 + z2 / 10) = 1.09207 / 1.38415 = 0.78899,
    # half width z sqrt(0.9 x 0.1 / 10 + z2 / 400) / 1.38415 = 0.19314.
    interval = ratio(9, 10)
    assert interval["value"] == 0.9
    assert interval["low"] == pytest.approx(0.78899 - 0.19314, abs=2e-4)
    assert interval["high"] == pytest.approx(0.78899 + 0.19314, abs=2e-4)


@pytest.mark.parametrize(
    ("wind", "name"),
    [
        (32.9, "tropical_storm"),
        (33.0, "category_1"),
        (57.9, "category_3"),
        (70.0, "category_5"),
        (np.nan, "unknown"),
    ],
)
def test_categories_begin_at_their_wind(wind, name):
    assert intensity(wind) == name
