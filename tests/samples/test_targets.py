"""Shares of ensembles become probabilities of classes, and weights in the loss."""

import itertools

import numpy as np
import pytest

from exastorm.samples.targets import (
    PIXELS_AT_ONCE,
    TargetMeter,
    class_probabilities,
    fill_class_weights,
    stored_shares,
)

# Shares 0.2 and 0.4 are stored as 51 and 102.
STORED = np.array([[[51, 255, 0, 0]], [[102, 102, 102, 0]]], np.uint8)
# p(TC) = c; p(AR) = (1 - c) r = 0.8 x 0.4, 0, 0.4, 0; background is the rest.
PROBABILITIES = np.array([[[0.48, 0.0, 0.6, 1.0]], [[0.2, 1.0, 0.0, 0.0]], [[0.32, 0.0, 0.4, 0.0]]])


def test_probabilities_by_hand():
    found = class_probabilities(STORED)
    assert found.dtype == np.float32
    assert found == pytest.approx(PROBABILITIES, abs=1e-6)


def test_probabilities_are_shares_of_all_pairs_of_members():
    # 3 sets of thresholds for cyclones and 5 for rivers: 15 class maps, cyclones over rivers.
    rng = np.random.default_rng(0)
    cyclones, rivers = rng.random((3, 8, 9)) < 0.3, rng.random((5, 8, 9)) < 0.4
    maps = [np.where(c, 1, np.where(r, 2, 0)) for c, r in itertools.product(cyclones, rivers)]
    shares = {"cyclone_share": cyclones.mean(0), "river_share": rivers.mean(0)}
    # Thirds and fifths of 255 are whole numbers, so nothing is rounded.
    found = class_probabilities(stored_shares(np.zeros((8, 9), np.int8), shares))
    for flag in range(3):
        assert found[flag] == pytest.approx(np.mean([m == flag for m in maps], axis=0), abs=1e-6)


def test_every_pair_of_bytes_gives_probabilities():
    stored = np.array(np.meshgrid(range(256), range(256)), np.uint8)
    found = class_probabilities(stored)
    assert found.min() == 0
    assert found.max() == 1
    assert found.sum(axis=0) == pytest.approx(1, abs=1e-6)


def test_shares_are_kept_to_the_nearest_byte_and_only_where_there_is_a_label():
    label = np.array([[0, 2, -1, 0]], np.int8)
    # 0.501 x 255 = 127.755 becomes 128; a missing value without a label does no harm.
    share = np.array([[0.501, 1.0, np.nan, 0.001]], np.float32)
    stored = stored_shares(label, {"cyclone_share": share, "river_share": share})
    assert stored.tolist() == [[[128, 255, 0, 0]]] * 2


@pytest.mark.parametrize(("given", "row", "flag"), [("river_share", 0, 1), ("cyclone_share", 1, 2)])
def test_a_class_without_an_ensemble_keeps_its_cells(given, row, flag):
    label = np.array([[0, 1, 2, -1]], np.int8)
    stored = stored_shares(label, {given: np.full((1, 4), 0.2)})
    assert stored[row].tolist() == np.where(label == flag, 255, 0).tolist()
    assert stored[1 - row].tolist() == [[51, 51, 51, 0]]


def test_weights_are_probabilities_times_those_of_the_classes():
    label = np.array([[0, 1, 2, -1]], np.int8)
    weights = np.array([1.0, 30.0, 10.0], np.float32)
    out = np.empty((3, 1, 4), np.float32)
    fill_class_weights(STORED, label, weights, out)
    expected = PROBABILITIES * weights[:, None, None]
    expected[:, 0, 3] = 0
    assert out == pytest.approx(expected, abs=1e-5)


def test_large_maps_are_weighed_in_parts_alike():
    width = PIXELS_AT_ONCE // 3
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 256, (2, 8, width), dtype=np.uint8)
    label = rng.integers(-1, 3, (8, width)).astype(np.int8)
    weights = np.array([1.0, 30.0, 10.0], np.float32)
    whole, rows = np.empty((2, 3, 8, width), np.float32)
    fill_class_weights(stored, label, weights, whole)
    for row in range(8):
        part = slice(row, row + 1)
        fill_class_weights(stored[:, part], label[part], weights, rows[:, part])
    assert np.array_equal(whole, rows)


def test_mean_probabilities_count_labeled_pixels():
    meter = TargetMeter()
    meter.record_batch(STORED, np.array([[0, 1, 2, -1]], np.int8))
    meter.record_batch(STORED[..., 3:], np.array([[0]], np.int8))
    # Four pixels: (0.48 + 0 + 0.6 + 1) / 4, (0.2 + 1) / 4, (0.32 + 0.4) / 4.
    assert meter.summary() == pytest.approx((0.52, 0.3, 0.18))
