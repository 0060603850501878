import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.samples.normalize import (
    ChannelMeter,
    ChannelStatistics,
    ClassMeter,
    channel_scaling,
    normalize,
)


def recorded(field, cuts=()):
    meter = ChannelMeter(field.shape[1])
    for part in np.split(field, cuts):
        for snapshot in part:
            meter.record_batch(snapshot)
    return meter


def test_statistics_by_hand():
    # Channel 0: 1, 2, 3, 4 then 5, 6, 7, 8: mean 4.5; variance (64 - 1) / 12 = 5.25.
    field = np.arange(1, 9, dtype=np.float32).reshape(2, 1, 2, 2)
    summary = recorded(field).summary()
    assert summary.num_values == 8
    assert summary.mean == (4.5,)
    assert summary.std[0] == pytest.approx(5.25**0.5, rel=1e-15)
    assert (summary.min, summary.max) == ((1.0,), (8.0,))


def test_a_large_mean_does_not_swallow_a_small_spread():
    # Pressures around 101325 Pa that differ by 1/128 Pa. In single precision, or with the mean of
    # squares less the square of the mean, nothing of the spread would be left.
    step = np.float32(1 / 128)
    field = np.float32(101325) + step * np.tile([-1, 1], 5000).reshape(10, 1, 20, 50)
    summary = recorded(field.astype(np.float32)).summary()
    assert summary.mean[0] == 101325.0
    assert summary.std[0] == pytest.approx(1 / 128, rel=1e-9)


@given(st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_merging_parts_in_any_way_gives_the_whole(cut, seed):
    field = np.random.default_rng(seed).normal(1e5, 3.0, (8, 2, 3, 4)).astype(np.float32)
    whole = recorded(field).summary()
    left, right = recorded(field[:cut]), recorded(field[cut:])
    right.merge(left)
    merged = right.summary()
    assert merged.mean == pytest.approx(whole.mean, rel=1e-14)
    assert merged.std == pytest.approx(whole.std, rel=1e-10)
    assert (merged.min, merged.max) == (whole.min, whole.max)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_meter_tells_which_channel_is_not_finite(bad):
    field = np.ones((2, 3, 4), np.float32)
    field[1, 2, 3] = bad
    meter = ChannelMeter(2)
    with np.errstate(invalid="ignore"):
        meter.record_batch(field)
    assert meter.is_finite().tolist() == [True, False]


def test_class_shares_by_pixel_and_by_area():
    # Two rows; the first has 3 times the area. One TC pixel in the large row, one AR pixel in the
    # small one, one pixel unlabeled: 7 pixels, areas 3 x 4 + 3 = 15.
    areas = np.array([[3.0] * 4, [1.0] * 4])
    meter = ClassMeter(areas)
    meter.record_batch(np.array([[0, 1, 0, 0], [2, -1, 0, 0]], np.int8))
    shares = meter.summary()
    assert shares.num_pixels == (5, 1, 1)
    assert shares.by_pixel == pytest.approx((5 / 7, 1 / 7, 1 / 7))
    assert shares.by_area == pytest.approx((11 / 15, 3 / 15, 1 / 15))


STATISTICS = ChannelStatistics(
    num_values=4, mean=(10.0, 7.0), std=(2.0, 0.0), min=(6.0, 7.0), max=(14.0, 7.0)
)


@pytest.mark.parametrize(
    # x = 14, mean 10, std 2, range 6 to 14: (14 - 10) / 2 = 2, or (14 - 6) / 8 = 1.
    ("mode", "expected"),
    [("zscore", 2.0), ("minmax", 1.0)],
)
def test_scaling_by_hand_and_a_constant_channel_becomes_zero(mode, expected):
    field = np.empty((2, 1, 1), np.float32)
    field[0], field[1] = 14.0, 7.0
    scaled = normalize(field, channel_scaling(STATISTICS, mode))
    assert scaled.dtype == np.float32
    assert scaled[:, 0, 0].tolist() == [expected, 0.0]
