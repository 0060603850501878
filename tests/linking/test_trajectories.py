"""Tracks out of candidates: what a day's motion and two days of wind mean, step by step."""

import numpy as np
import pandas as pd
import pytest

from exastorm.linking.trajectories import TrackLimits, link_candidates


def limits(**changes):
    given = {"max_km_per_day": 1600.0, "min_days": 0.0, "max_step_hours": 24.0, "form": "corrected"}
    return TrackLimits(**(given | changes))


def table(places, *, num_steps=None, step_hours=6.0, hours=None):
    """Candidates (step, lat, lon) as a table."""
    out = pd.DataFrame(places, columns=["step", "lat", "lon"])
    if hours is None:
        hours = np.arange(num_steps or int(out["step"].max()) + 2) * step_hours
    out.attrs["hours"] = np.asarray(hours, dtype=float)
    return out


def link(places, strong=True, *, num_steps=None, step_hours=6.0, hours=None, **changes):
    centers = table(places, num_steps=num_steps, step_hours=step_hours, hours=hours)
    strong = np.broadcast_to(strong, len(centers))
    return link_candidates(centers, strong, limits(**changes)).tolist()


def still(num, first=0, lat=15.0, lon=100.0):
    """A storm that stays where it is."""
    return [(first + n, lat, lon) for n in range(num)]


@pytest.mark.parametrize(
    ("step_hours", "degrees", "linked"),
    # 1600 km a day are 400 km in 6 hours, 3.597 degrees; 200 km in 3 hours, 1.799; 14.39 in 24.
    [(6, 3.59, True), (6, 3.61, False), (3, 1.79, True), (3, 1.81, False), (24, 14.3, True)],
)
def test_reach_is_1600_km_a_day_at_every_step(step_hours, degrees, linked):
    ids = link([(0, 0.0, 100.0), (1, degrees, 100.0)], step_hours=step_hours)
    assert (ids[0] == ids[1]) is linked


def test_speed_is_an_option():
    places = [(0, 0.0, 100.0), (1, 3.0, 100.0)]
    assert link(places) == [0, 0]
    assert link(places, max_km_per_day=1000.0) == [0, 1]


def test_nearest_candidate_goes_on():
    assert link([(0, 10.0, 100.0), (1, 13.0, 100.0), (1, 11.0, 100.0)]) == [0, 1, 0]


def test_of_equally_near_ones_the_last():
    assert link([(0, 10.0, 100.0), (1, 10.0, 101.0), (1, 10.0, 99.0)]) == [0, 1, 0]


def test_no_gap_is_bridged():
    assert link([*still(2), *still(2, first=3)]) == [0, 0, 1, 1]


def test_the_track_that_began_first_has_the_choice():
    # The second storm appears at step 1 right where the third place is; the first, 3 degrees
    # away, is older and takes it.
    places = [(0, 10.0, 100.0), (1, 10.0, 100.0), (1, 13.0, 100.0), (2, 12.9, 100.0)]
    assert link(places) == [0, 0, 1, 0]


def test_of_two_that_begin_together_the_first_in_the_table_chooses():
    assert link([(0, 10.0, 100.0), (0, 12.0, 100.0), (1, 11.5, 100.0)]) == [0, 1, 0]
    assert link([(0, 12.0, 100.0), (0, 10.0, 100.0), (1, 11.5, 100.0)]) == [0, 1, 0]


@pytest.mark.parametrize(("step_hours", "needed"), [(3, 16), (6, 8), (12, 4), (24, 2)])
def test_two_days_are_two_days_at_every_step(step_hours, needed):
    # Each strong candidate counts for one step: 48 h / step of them.
    for num, counts in ((needed, True), (needed - 1, False)):
        ids = link(still(num), num_steps=40, step_hours=step_hours, min_days=2.0)
        assert set(ids) == ({0} if counts else {-1})


def test_hours_that_binary_fractions_of_days_do_not_hold():
    # 48 steps of 1 h are two days, although 1 / 24 added 48 times is not quite 2.
    assert set(link(still(48), num_steps=60, step_hours=1.0, min_days=2.0)) == {0}


def test_strong_times_need_not_be_on_end():
    strong = np.arange(20) % 2 == 0
    assert set(link(still(16), strong[:16], min_days=2.0)) == {0}
    assert set(link(still(14), strong[:14], min_days=2.0)) == {-1}


def test_tracks_that_last_are_numbered_on():
    weak_then_strong = [*still(3, lat=-20.0), *still(9)]
    ids = link(sorted(weak_then_strong), num_steps=10, min_days=2.0)
    assert sorted(set(ids)) == [-1, 0]


def test_nothing_follows_the_last_snapshot():
    # 8 strong candidates, but from the last no time passes: 42 hours.
    assert set(link(still(8), num_steps=8, min_days=2.0)) == {-1}
    assert set(link(still(8), num_steps=9, min_days=2.0)) == {0}


def test_exact_counts_the_last_only_where_the_next_snapshot_has_any_candidate():
    assert set(link(still(8), num_steps=9, min_days=2.0, form="exact")) == {-1}
    elsewhere = [*still(8), (8, -40.0, 300.0)]
    assert link(elsewhere, num_steps=10, min_days=2.0, form="exact") == [0] * 8 + [-1]


def test_tracks_go_over_the_seam_but_not_in_exact():
    places = [(0, 15.0, 0.5), (1, 15.0, 359.5)]
    assert link(places) == [0, 0]
    assert link(places, form="exact") == [0, 1]


def test_exact_measures_on_the_plane_of_the_earlier_point():
    # From 60 N, 3 degrees north and 7 east: on the plane at 60 N sqrt(3^2 + (7 cos 60)^2) = 4.610
    # degrees, 512.6 km; on the sphere 4.484 degrees, 498.6 km.
    places = [(0, 60.0, 10.0), (1, 63.0, 17.0)]
    assert link(places, max_km_per_day=4 * 505.0) == [0, 0]
    assert link(places, max_km_per_day=4 * 505.0, form="exact") == [0, 1]
    assert link(places, max_km_per_day=4 * 513.0, form="exact") == [0, 0]


def test_a_gap_in_the_archive_ends_tracks():
    hours = np.r_[np.arange(5), 1000 + np.arange(5)] * 6.0
    assert link(still(10), hours=hours) == [0] * 5 + [1] * 5
    assert link(still(10), hours=hours, max_step_hours=1e4) == [0] * 10
    # By number the snapshots follow one another, which is all that TECA asks.
    assert link(still(10), hours=hours, form="exact") == [0] * 10
    # The candidate before the gap is not strong for 1000 hours: 4 steps of 6 hours are a day.
    assert set(link(still(5), hours=hours, min_days=1.1)) == {-1}
    assert set(link(still(5), hours=hours, min_days=1.0)) == {0}


def test_no_candidates():
    assert link_candidates(table([], num_steps=3), np.empty(0, bool), limits()).tolist() == []


def follow_one_by_one(centers, reach_km):
    """Tracks as TECA describes them: each candidate in turn is followed to its end."""
    ids = np.full(len(centers), -1)
    step, lat, lon = (centers[name].to_numpy() for name in ("step", "lat", "lon"))
    for start in range(len(centers)):
        if ids[start] >= 0:
            continue
        tip, track = start, ids.max() + 1
        ids[start] = track
        while True:
            free = np.flatnonzero((step == step[tip] + 1) & (ids < 0))
            # The candidates of this test lie on the equator.
            away = np.abs(lon[free] - lon[tip]) * 6371.0088 * np.pi / 180
            free, away = free[away <= reach_km], away[away <= reach_km]
            if free.size == 0:
                break
            tip = free[away.argmin()]
            ids[tip] = track
    assert np.all(lat == 0)
    return ids


def test_following_all_at_once_is_following_one_by_one():
    generator = np.random.default_rng(3)
    steps = np.sort(generator.integers(0, 40, 400))
    centers = table(list(zip(steps, np.zeros(400), generator.uniform(20, 80, 400), strict=True)))
    expected = follow_one_by_one(centers, 400.0)
    assert expected.max() < 300
    got = link_candidates(centers, np.ones(400), limits())
    # Numbers are given at other moments; who goes with whom is the same.
    assert len(set(zip(got.tolist(), expected.tolist(), strict=True))) == len(set(got.tolist()))
    assert len(set(got.tolist())) == len(set(expected.tolist()))
