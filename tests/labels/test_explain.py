"""Explanations say what `exastorm label` does, and why."""

import json

import cftime
import numpy as np
import pytest
from tests.labels.conftest import add_storm, calm, river

from exastorm.errors import InputError
from exastorm.labels import lifetimes
from exastorm.labels.archive import label_archive
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.cyclones.teca import TecaRules
from exastorm.labels.cyclones.tempest import TempestCamRules
from exastorm.labels.explain import explain_snapshot
from exastorm.labels.moments import checked_place, parse_time, step_of, time_text
from exastorm.labels.settings import LabelSettings
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.schema import mock_dataset

LAT, LON = np.linspace(-90, 90, 91), np.arange(180) * 2.0
TEMPEST = LabelSettings(cyclones="tempest-cam", rivers="none")
FAR_AWAY = 150.0


def archive(num_times, storm_steps=range(1000), *, fields=None, **storm):
    """Every 6 h: a cyclone at 18 S that moves 2 degrees west over 0/360, and a river at 42 N."""
    snapshots = []
    for step in range(num_times):
        drawn = calm(LAT, LON)
        # Falls to the south, so that no point of the calm is a minimum.
        drawn["PSL"] += LAT[:, None].astype(np.float32)
        if step in storm_steps:
            shape = {"peak_deg": 2.0, "wind": 35.0} | storm
            add_storm(drawn, -18.0, (6.0 - 2 * step) % 360, lat=LAT, lon=LON, **shape)
        drawn["TMQ"][river(42.0, 200.0, 20.0, lat=LAT, lon=LON)] = 60.0
        snapshots.append({name: drawn[name] for name in fields or drawn})
    stacked = {name: np.stack([s[name] for s in snapshots]) for name in snapshots[0]}
    dataset = mock_dataset(stacked, LAT.size, LON.size, num_times, step_hours=6)
    return dataset.assign_attrs(source="drawn by hand")


@pytest.fixture(scope="module")
def long_storm():
    """A cyclone of 17 points, 96 h: long enough for every rule set."""
    return archive(20, range(2, 19))


def the_cyclone(told):
    """The nearest candidate for a cyclone."""
    return told.candidates["cyclones"][0]


def failed(checks):
    """What each failed criterion is about."""
    return [check.criterion for check in checks if not check.passed]


def test_a_cyclone_of_one_snapshot_meets_every_criterion(long_storm):
    # Three steps after the start it is at 0 E.
    told = explain_snapshot(long_storm, "2000-01-01T18", -18.0, 0.0)
    one = the_cyclone(told)
    assert (one.verdict.lat, one.verdict.lon) == (-18.0, 0.0)
    assert one.distance_deg == pytest.approx(0.0, abs=1e-6)
    assert one.is_found
    assert one.is_labeled
    assert one.track is None, "sc18 asks for no track"
    assert all(check.passed for check in (*one.verdict.checks, *one.lasting))
    assert told.class_name == "tropical_cyclone"
    assert told.rules == {"cyclones": "sc18", "rivers": "sc18"}


def test_the_criterion_that_fails_is_named(long_storm):
    weak = archive(1, wind=8.0)
    told = explain_snapshot(weak, "2000-01-01", -18.0, 6.0)
    one = the_cyclone(told)
    assert not one.is_found
    assert not one.is_labeled
    # On 2 degrees 17 m/s become 17 * (1 - 0.00143 * 192 km) = 12.3 m/s, more than 8.
    assert any("wind" in name for name in failed(one.verdict.checks))
    assert not any("pressure" in name for name in failed(one.verdict.checks))
    assert told.class_name != "tropical_cyclone"


def test_a_track_is_told_with_its_ends(long_storm):
    one = the_cyclone(explain_snapshot(long_storm, "2000-01-03", -18.0, 350.0, TEMPEST))
    assert one.is_labeled
    assert one.track.num_points == 17
    assert (time_text(one.track.first_time), time_text(one.track.last_time)) == (
        "2000-01-01T12:00",
        "2000-01-05T12:00",
    )
    assert one.track.is_whole
    by_name = {check.criterion: check for check in one.lasting}
    lasts = by_name["time from its first to its last point, h"]
    assert (lasts.value, lasts.threshold, lasts.passed) == (96.0, 54.0, True)
    assert by_name["points of its track with wind >= 10 m s-1"].value == 17.0


def test_a_short_track_fails_by_its_length():
    # 9 points, 48 h of the 54 and 9 points of the 10 that are needed.
    told = explain_snapshot(archive(14, range(2, 11)), "2000-01-02", -18.0, 358.0, TEMPEST)
    one = the_cyclone(told)
    assert one.is_found
    assert not one.is_labeled
    assert "time from its first to its last point, h" in failed(one.lasting)
    assert all(check.passed for check in one.verdict.checks)
    assert told.class_name == "background"
    teca = LabelSettings(cyclones="teca", teca=TecaRules(min_vorticity_per_s=1e-5, min_wind_ms=9.0))
    one = the_cyclone(explain_snapshot(archive(14, range(2, 11)), "2000-01-02", -18.0, 358.0, teca))
    # Each point but none after the ninth counts for the 6 h until the next snapshot: 9 x 0.25.
    (lasts,) = one.lasting
    assert (lasts.value, lasts.threshold, lasts.passed) == (2.25, 2.0, True)
    assert one.is_labeled


@pytest.mark.parametrize(
    "settings",
    [
        LabelSettings(),
        LabelSettings(cyclones="tempest-cam"),
        LabelSettings(cyclones="teca", teca=TecaRules(min_vorticity_per_s=1e-5, min_wind_ms=9.0)),
        LabelSettings(sc18_cyclones=Sc18CycloneRules(min_wind_ms=90.0), soft=True),
    ],
    ids=["sc18", "tempest-cam", "teca", "none meets"],
)
def test_it_says_what_label_does(long_storm, settings, tmp_path):
    label_archive(long_storm, tmp_path / "labels.nc", settings)
    labels = open_class_map(tmp_path / "labels.nc")["class_map"].values
    for step in (0, 2, 9, 18):
        time = long_storm["time"].values[step]
        told = explain_snapshot(long_storm, time, -18.0, 6.0 - 2 * step, settings)
        assert np.array_equal(told.class_map, labels[step])
        labeled = any(one.is_labeled for one in told.candidates["cyclones"])
        assert labeled == bool((labels[step] == 1).any())
        for one in told.candidates["cyclones"]:
            reasons = one.lasting if settings.cyclones == "tempest-cam" else (
                *one.verdict.checks, *one.lasting)  # fmt: skip
            if one.is_found:
                assert one.is_labeled == all(check.passed for check in reasons)


def test_no_more_is_read_than_the_storm_lasts(monkeypatch):
    dataset = archive(120, range(50, 62))
    seen = []
    find = TempestCamRules.find
    monkeypatch.setattr(TempestCamRules, "find", lambda *a: seen.append(1) or find(*a))
    time = dataset["time"].values[55]
    one = the_cyclone(explain_snapshot(dataset, time, -18.0, 256.0, TEMPEST))
    assert one.track.num_points == 12
    assert one.is_labeled
    # 11 steps of the storm, 4 of the longest gap beyond either end, rounded up by doubling.
    assert 20 <= len(seen) <= 40


def test_a_track_longer_than_is_looked_at_is_said_to_be(long_storm, monkeypatch):
    monkeypatch.setattr(lifetimes, "LONGEST_LIFE_HOURS", 24.0)
    one = the_cyclone(explain_snapshot(long_storm, "2000-01-03", -18.0, 350.0, TEMPEST))
    assert not one.track.is_whole
    assert one.track.num_points == 9  # 24 h before and after


def test_of_two_centers_that_are_too_close_the_deeper_counts():
    rules = Sc18CycloneRules(wind_slope_per_km=0.0)
    strong = {"vorticity_per_s": 1e-3, "warm_core_k": 9.0, "thickness_m": 99.0, "max_wind_ms": 50.0}
    centers = [
        CycloneCenter(1, 1, 10.0, lon, pressure, 999.0, **strong)
        for lon, pressure in ((100.0, 99e3), (101.0, 98e3), (110.0, 99e3))
    ]
    table = center_table(centers, [0, 0, 0], [0.0], 0.25)
    ids = rules.select(table)
    told = [rules.explain_track(table, row) for row in range(3)]
    assert [t.checks[0].passed for t in told] == (ids >= 0).tolist() == [False, True, True]
    # 1 degree of longitude at 10 N is cos(10) = 0.985 degrees; 9 degrees are 8.86.
    assert told[0].checks[0].value == pytest.approx(0.985, abs=1e-3)
    assert told[1].checks[0].value == np.inf
    assert told[2].checks[0].value == pytest.approx(8.86, abs=1e-2)


def test_water_alone_explains_rivers_and_says_why_not_cyclones():
    told = explain_snapshot(archive(1, fields=["TMQ"]), "2000-01-01", 42.0, 200.0)
    assert told.rules == {"rivers": "sc18"}
    assert set(told.candidates) == {"rivers"}
    assert "PSL" in told.notes["tropical_cyclones"]
    (one,) = told.candidates["rivers"]
    assert one.is_labeled
    assert told.class_name == "atmospheric_river"
    with pytest.raises(InputError, match="nothing to label"):
        explain_snapshot(archive(1, fields=["PSL"]), "2000-01-01", 42.0, 200.0)


def test_a_river_by_local_percentiles_has_them():
    settings = LabelSettings(cyclones="none", rivers="guan_waliser")
    dataset = archive(8, fields=["TMQ"])
    wind = {"IVTX": 100.0, "IVTY": 300.0}
    wet = mock_dataset(wind, LAT.size, LON.size, 8, step_hours=6)
    wet["IVTY"] = wet["IVTY"] * (1 + (dataset["TMQ"] > 50)).astype(np.float32)
    wet["IVTY"].attrs["units"] = "kg m-1 s-1"
    told = explain_snapshot(wet, "2000-01-01", 42.0, 200.0, settings)
    assert "8 snapshots" in told.notes["river_climatology"]
    assert told.candidates["rivers"]
    # As `label` does, it refuses percentiles of fewer than 1 / 0.15 snapshots.
    with pytest.raises(InputError, match="at least 7 snapshots of a season, month 1 has 3"):
        explain_snapshot(wet.isel(time=slice(3)), "2000-01-01", 42.0, 200.0, settings)


def test_where_nothing_is_near_the_next_is_told():
    told = explain_snapshot(archive(1), "2000-01-01", -18.0, 16.0)
    assert told.candidates["cyclones"] == ()
    # Why there is no river: the cell that comes nearest to one, damped least at 22 S.
    (dry,) = told.candidates["rivers"]
    assert (dry.verdict.candidate, dry.verdict.lat, dry.is_labeled) == ("moistest cell", -22, False)
    # The storm at 6 E: 10 degrees of longitude at 18 S, 9.5 degrees.
    assert set(told.beyond) == {"cyclones"}
    assert told.beyond["cyclones"].distance_deg == pytest.approx(9.51, abs=0.02)
    assert told.beyond["cyclones"].is_labeled
    wider = explain_snapshot(archive(1), "2000-01-01", -18.0, 16.0, within_deg=10.0)
    assert the_cyclone(wider).verdict == told.beyond["cyclones"].verdict


def test_the_seam_and_the_sign_of_longitude_make_no_difference(long_storm):
    # Four steps after the start the storm is at 358 E.
    west, east = (
        explain_snapshot(long_storm, "2000-01-02", -18.0, lon).to_dict() for lon in (-3.0, 357.0)
    )
    assert west == east
    told = explain_snapshot(long_storm, "2000-01-02", -18.0, 1.0)
    # 3 degrees of longitude at 18 S, from 1 E to 358 E: 2.85 degrees.
    assert the_cyclone(told).distance_deg == pytest.approx(2.85, abs=0.01)


def test_missing_values_are_no_storm_and_are_told():
    dataset = archive(1)
    for name in ("PSL", "TMQ"):
        dataset[name].values[:, 60:] = np.nan
    told = explain_snapshot(dataset, "2000-01-01", 42.0, 200.0)
    assert told.class_name == "background"
    assert told.notes["missing_values"] == "PSL, TMQ without a value at the place"
    assert the_cyclone(explain_snapshot(dataset, "2000-01-01", -18.0, 6.0)).is_labeled
    dataset["PSL"].values[:] = np.nan
    with pytest.raises(InputError, match="has no value at this time"):
        explain_snapshot(dataset, "2000-01-01", -18.0, 6.0)


def test_what_could_not_be_measured_is_null():
    dataset = archive(1).drop_vars(["Z200", "Z1000"])
    told = explain_snapshot(dataset, "2000-01-01", -18.0, 6.0)
    figures = json.loads(json.dumps(told.to_dict(), allow_nan=False))
    checks = {c["criterion"]: c for c in figures["cyclones"][0]["checks"]}
    (thickness,) = (c for name, c in checks.items() if "Z200" in name)
    assert thickness["value"] is None
    assert thickness["passed"]
    assert figures["time"] == "2000-01-01T00:00"
    assert figures["class"] == "tropical_cyclone"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2000-01-01T03", "must be one of the archive's, the nearest are 2000-01-01T00:00 and 20"),
        ("1999-01-01", "which begin at 2000-01-01T00:00; got 1999-01-01T00:00"),
        ("2001-01-01", "which end at 2000-01-05T18:00"),
        ("2000-02-29", "must exist in the calendar noleap, got '2000-02-29'"),
        ("noon", "time must be as 2011-10-11T06:00, got 'noon'"),
    ],
)
def test_times_that_the_archive_lacks(long_storm, text, words):
    with pytest.raises(InputError, match=words):
        explain_snapshot(long_storm, text, -18.0, 0.0)


def test_times_read_in_any_calendar():
    assert parse_time("2000-02-30 06:30", "360_day") == cftime.datetime(
        2000, 2, 30, 6, 30, calendar="360_day"
    )
    times = np.array([cftime.datetime(1, 7, 1, 12, calendar="noleap")])
    assert step_of(times, "0001-07-01T12:00:00Z") == 0
    assert time_text(times[0]) == "0001-07-01T12:00"
    with pytest.raises(InputError, match="which holds 0001-07-01T12:00 alone"):
        step_of(times, "0001-07-01", "a.nc")


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [
        (91.0, 0.0, "latitude must lie in"),
        (np.nan, 0.0, "latitude must lie in"),
        (0.0, 400.0, "longitude must lie in"),
        (10.0, 300.0, "must lie on the grid, latitude 0 to 40, longitude 100 to 150; got 10,300"),
        (-3.0, 120.0, "must lie on the grid"),
    ],
)
def test_places_off_the_grid(lat, lon, words):
    grid = Surroundings.of(np.arange(0.0, 41.0), np.arange(100.0, 151.0))
    with pytest.raises(InputError, match=words):
        checked_place(lat, lon, grid)


def test_places_on_the_grid_have_a_nearest_point():
    region = Surroundings.of(np.arange(0.0, 41.0), np.arange(300.0, 351.0))
    assert checked_place(-0.4, -20.2, region) == (0, 40, pytest.approx(339.8))
    # The pole belongs to a grid whose last row is half a cell off it.
    globe = Surroundings.of(np.arange(-89.0, 90.0, 2.0), LON)
    assert checked_place(90.0, 77.0, globe)[0] == 89


@pytest.mark.parametrize("within", [0.0, -1.0, 181.0, np.nan])
def test_a_distance_that_is_none(within):
    with pytest.raises(InputError, match=r"within must lie in \(0, 180\]"):
        explain_snapshot(archive(1), "2000-01-01", -18.0, 6.0, within_deg=within)
