import cftime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.errors import InputError
from exastorm.samples.splits import DROPPED, block_splits, drop_gaps, hours_since_first, split_times

PAPER = (0.8, 0.1, 0.1)


def hourly(num, step_hours=3, calendar="noleap"):
    units = "hours since 2000-01-01"
    return cftime.num2date(np.arange(num) * step_hours, units, calendar=calendar)


hours_strategy = st.lists(st.integers(min_value=1, max_value=200), min_size=1, max_size=300).map(
    lambda steps: np.cumsum(steps).astype(float) - steps[0]
)


@given(
    hours=hours_strategy,
    block_days=st.floats(1.0, 40.0),
    gap_share=st.floats(0.0, 0.99),
    fractions=st.sampled_from([PAPER, (0.6, 0.2, 0.2), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)]),
)
def test_no_two_splits_are_nearer_than_the_gap(hours, block_days, gap_share, fractions):
    gap_hours = gap_share * 12 * block_days
    splits = drop_gaps(hours, block_splits(hours, block_days, fractions), gap_hours)
    apart = np.abs(hours[:, None] - hours[None, :])
    different = (splits[:, None] != splits[None, :]) & (splits[:, None] != DROPPED)
    different &= splits[None, :] != DROPPED
    assert np.all(apart[different] >= gap_hours)
    for split, fraction in enumerate(fractions):
        assert fraction > 0 or not np.any(splits == split)


def test_ten_years_keep_the_fractions_and_every_split_sees_every_season():
    times = hourly(3650 * 4, step_hours=6)
    splits = split_times(times, PAPER, 10.0, 48.0)
    shares = np.array([np.mean(splits == s) for s in range(3)])
    # 365 blocks: whole blocks are within one block of the asked shares; validation and test keep
    # theirs, and training gives up 48 h at each side of the 73 blocks of the others where it is the
    # neighbor: at most 73 x 2 x 2 of 3650 days, 8 %.
    assert shares[1:] == pytest.approx([0.1, 0.1], abs=0.003)
    assert 0.71 < shares[0] < 0.80
    months = np.array([t.month for t in times])
    for split in range(3):
        assert set(months[splits == split]) == set(range(1, 13))


def test_blocks_go_to_one_split_as_a_whole():
    splits = split_times(hourly(800), PAPER, 10.0, 0.0)  # 100 days, no gap
    blocks = splits.reshape(10, 80)
    assert np.all(blocks == blocks[:, :1])
    assert np.bincount(blocks[:, 0]).tolist() == [8, 1, 1]


def test_longer_archive_keeps_the_splits_it_had():
    hours = np.arange(0, 24 * 400, 6.0)
    first = block_splits(hours[:600], 7.0, PAPER)
    # The last block of the shorter archive is cut short; it may count for less.
    whole = hours[:600] < (hours[599] // 168) * 168
    assert np.array_equal(block_splits(hours, 7.0, PAPER)[:600][whole], first[whole])


def test_larger_gap_drops_more_and_training_gives_way():
    times = hourly(1600)
    near = split_times(times, PAPER, 10.0, 0.0)
    far = split_times(times, PAPER, 10.0, 96.0)
    assert np.count_nonzero(far == DROPPED) > 0
    for split in (1, 2):
        assert np.count_nonzero(far == split) == np.count_nonzero(near == split)
    assert np.all(near[far == DROPPED] == 0)


def test_time_is_counted_in_the_calendar_of_the_archive():
    # From 28 February to 1 March: 3 days where every month has 30, 1 day without leap years, and
    # 2 days in the leap year 2000.
    for calendar, days in (("360_day", 3), ("noleap", 1), ("standard", 2)):
        times = [cftime.datetime(2000, m, d, calendar=calendar) for m, d in ((2, 28), (3, 1))]
        assert hours_since_first(times).tolist() == [0.0, 24.0 * days]


def test_short_archive_is_told_which_block_would_do():
    with pytest.raises(InputError, match=r"validation split.*set block_days to") as caught:
        split_times(hourly(160), PAPER, 10.0, 12.0)  # 20 days: two blocks
    advised = float(str(caught.value).rsplit(" ", 1)[1])
    splits = split_times(hourly(160), PAPER, advised, 12.0)
    assert set(splits) >= {0, 1, 2}


def test_hopelessly_short_archive_says_so():
    with pytest.raises(InputError, match="give a longer archive"):
        split_times(hourly(8), PAPER, 10.0, 48.0)
