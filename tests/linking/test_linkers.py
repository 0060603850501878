"""Storms keep their identity from one time to the next, and no memory of the archive is needed."""

import numpy as np
import pytest

from exastorm.linking.overlaps import RegionLinker
from exastorm.linking.points import LinkSettings, PointLinker
from exastorm.regions import label_regions


def test_two_storms_keep_their_numbers_across_the_seam():
    linker = PointLinker()
    assert linker.link(0, [10.0, -20.0], [359.0, 100.0]).tolist() == [0, 1]
    # In another order, one having crossed 0/360.
    assert linker.link(3, [-20.5, 10.2], [101.0, 0.5]).tolist() == [1, 0]
    assert linker.num_storms == 2


def test_each_storm_is_linked_once_and_the_closest_wins():
    linker = PointLinker()
    linker.link(0, [10.0], [100.0])
    # Two points in reach (1 and 2 degrees): the closer goes on, the other is new.
    assert linker.link(3, [10.0, 10.0], [102.0, 101.0]).tolist() == [1, 0]


def test_reach_grows_with_time_up_to_its_limit():
    settings = LinkSettings()
    # 200 km + 1600 km/day: 400 km after 3 h, 600 km after 6 h, capped at 890 km.
    np.testing.assert_allclose(settings.reach_km([3, 6, 24]), [400.0, 600.0, 890.0])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        # The point is 3 degrees = 334 km away after 3 h.
        ({"max_speed_km_per_day": 800.0}, False),  # 200 + 100 km
        ({"position_error_km": 100.0}, False),  # 100 + 200 km
        ({"max_distance_km": 330.0}, False),
        ({"max_gap_hours": 2.0}, False),
    ],
)
def test_every_setting_decides(change, same):
    linker = PointLinker(LinkSettings(**change))
    linker.link(0, [0.0], [50.0])
    assert (linker.link(3, [0.0], [53.0]).tolist() == [0]) is same


def test_a_gap_is_bridged_and_a_longer_one_is_not():
    linker = PointLinker()
    linker.link(0, [10.0], [100.0])
    assert linker.link(12, [], []).tolist() == []
    assert linker.link(24, [11.0], [101.0]).tolist() == [0]
    assert linker.link(49, [11.0], [101.0]).tolist() == [1]


def test_a_forgotten_storm_takes_no_memory():
    linker = PointLinker()
    for hour in range(0, 3000, 30):
        linker.link(hour, [0.0], [0.0])
    assert linker.num_storms == 100
    assert len(linker._open) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_speed_km_per_day": 0.0},
        {"max_distance_km": -1.0},
        {"max_gap_hours": 0.0},
        {"position_error_km": -1.0},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        LinkSettings(**wrong)


def test_time_must_run_forward():
    linker = PointLinker()
    linker.link(3, [], [])
    with pytest.raises(ValueError, match="hour must come after 3, got 3"):
        linker.link(3, [], [])


def test_regions_are_linked_by_overlap():
    linker = RegionLinker(np.ones((1, 12)))

    def link(*rows):
        labels, num = label_regions(np.array([rows], dtype=bool), wrap=False)
        return linker.link(labels, num).tolist()

    assert link(1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0) == [0, 1]
    # The first splits in 1 and 2 cells: the larger overlap keeps the number. The other moves on.
    assert link(1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0) == [2, 0, 1]
    # All merge: the largest overlap, 2 cells of storm 0 against 1 and 2, the first linked first.
    assert link(0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0) == [0]
    assert link(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) == [3]
    assert linker.num_regions == 4


def test_overlap_counts_area_not_cells():
    # Two old regions reach into a new one with one cell each; that of the larger cell wins.
    linker = RegionLinker(np.array([[1.0, 1.0, 1.0, 5.0, 1.0]]))
    labels, num = label_regions(np.array([[1, 1, 0, 1, 1]], bool), wrap=False)
    assert linker.link(labels, num).tolist() == [0, 1]
    labels, num = label_regions(np.array([[0, 1, 1, 1, 0]], bool), wrap=False)
    assert linker.link(labels, num).tolist() == [1]
