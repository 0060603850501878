"""Shifting logits to the best decision."""

import math

import pytest
import torch

from exastorm.train.decision import (
    DecisionMeter,
    class_shifts,
    decision_candidates,
    image_iou,
    largest_shifted,
)

PAPER_WEIGHTS = (0.0218, 0.8120, 0.1662)


def test_candidates_begin_with_none_and_leave_the_background_alone():
    candidates = decision_candidates(PAPER_WEIGHTS)
    assert candidates[0].tolist() == [0, 0, 0]
    assert len(candidates) == 7**2
    assert (candidates[:, 0] == 0).all()
    assert len({tuple(c) for c in candidates.tolist()}) == 7**2
    assert decision_candidates(PAPER_WEIGHTS, tune=False).tolist() == [[0, 0, 0]]


def test_stronger_weights_have_lower_shifts():
    # 1 / f of the paper's frequencies inflates cyclones by log(0.982 / 0.00071) = 7.2 and rivers by
    # log(0.982 / 0.017) = 4.1: seven shifts from -8 and from -5, and none.
    assert class_shifts(math.log(0.982 / 0.00071)) == [0, -2, -3, -4, -5, -6, -7, -8]
    assert class_shifts(math.log(0.982 / 0.017)) == [0, 1, -1, -2, -3, -4, -5]
    candidates = decision_candidates([1 / 0.982, 1 / 0.00071, 1 / 0.017])
    assert candidates.shape == (8 * 7, 3)
    # A class without weight, for it never occurs, is shifted as one without inflation.
    assert decision_candidates([0.5, 0.0, 0.5]).shape == (49, 3)


def test_largest_shifted_is_argmax():
    columns = torch.tensor([[1.0, 0.0, 2.0], [0.5, 3.0, 2.0], [0.0, 1.0, 2.0]])
    assert largest_shifted(columns, [0.0, 0.0, 0.0]).tolist() == [0, 1, 0]  # the first of equals
    # Rows shifted by 0, -2.5, 0.5: (1, -2, 0.5), (0, 0.5, 1.5), (2, -0.5, 2.5).
    assert largest_shifted(columns, [0.0, -2.5, 0.5]).tolist() == [0, 2, 2]


def inflated_batch():
    """True log odds, with class 1 inflated by 3 as loss weights would; -1 where unlabeled."""
    generator = torch.Generator().manual_seed(0)
    odds = 3.0 * torch.randn(4, 30, 30, generator=generator) - 3.0
    labels = (torch.rand(4, 30, 30, generator=generator) < torch.sigmoid(odds)).long()
    labels[:, :2] = -1
    return torch.stack([torch.zeros_like(odds), odds + 3.0], dim=1), labels


def test_the_inflation_of_weights_is_taken_back():
    meter = DecisionMeter([1.0, 1.0])
    logits, labels = inflated_batch()
    for part in (slice(0, 1), slice(1, 4)):
        meter.record_batch(logits[part], labels[part])
    bias, matrix = meter.shift(meter.best()), meter.matrix(meter.best())
    # The best threshold on the true odds is a little below 0 (J / (1 + J) < 1/2), so that the
    # shift is -3 or -2.
    assert bias[0] == 0
    assert bias[1] in (-3.0, -2.0)
    assert matrix.summary()["mean_iou"] > meter.matrix(0).summary()["mean_iou"] + 0.05
    assert matrix.summary()["num_pixels"] == 4 * 28 * 30


def test_without_tuning_the_largest_logit_decides():
    logits, labels = inflated_batch()
    meter = DecisionMeter([1.0, 1.0], tune=False)
    meter.record_batch(logits, labels)
    bias, matrix = meter.shift(meter.best()), meter.matrix(meter.best())
    assert bias == (0.0, 0.0)
    valid = labels >= 0
    hits = (logits.argmax(dim=1)[valid] == labels[valid]).sum().item()
    assert matrix.matrix.trace() == hits


def test_flat_pixels_count_as_maps_do():
    logits, labels = inflated_batch()
    maps, flat = DecisionMeter([1.0, 1.0]), DecisionMeter([1.0, 1.0])
    maps.record_batch(logits, labels)
    flat.record_batch(logits.movedim(1, -1).reshape(-1, 2), labels.reshape(-1))
    assert torch.equal(maps.counts, flat.counts)
    assert maps.best() == flat.best()


def test_the_score_of_an_image_counts_absent_classes_as_right():
    # MLPerf DeepCAM: all-background answers have 0.33 on a map with both events and 1.0 on a map
    # without any. Classes with IoU 1/2 (1 hit, 1 miss) and absent from both maps:
    matrices = torch.tensor(
        [
            [[4, 0, 0], [1, 0, 0], [1, 0, 0]],
            [[6, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[4, 0, 0], [0, 1, 0], [0, 1, 0]],
        ]
    )
    expected = [[4 / 6, 0, 0], [1, 1, 1], [1, 1 / 2, 0]]
    torch.testing.assert_close(image_iou(matrices), torch.tensor(expected, dtype=torch.float64))


def test_the_mean_over_images_is_not_the_pooled_score():
    # Two images of 4 pixels. One all background and found so: 1. In the other one pixel of class 1
    # is missed: background 3/4, class 1 0, mean 3/8. Pooled: background 7/8, class 1 0: 7/16.
    labels = torch.zeros(2, 2, 2, dtype=torch.int64)
    labels[1, 0, 0] = 1
    logits = torch.zeros(2, 2, 2, 2)
    logits[:, 0] = 1.0
    meter = DecisionMeter([1.0, 1.0], tune=False)
    meter.record_batch(logits, labels)
    assert meter.mean_iou_per_image(0) == pytest.approx((1 + 3 / 8) / 2)
    assert meter.matrix(0).summary()["mean_iou"] == pytest.approx(7 / 16)


def test_each_metric_has_its_best_decision():
    # Odds of class 1 in three images of 4 pixels, true ones marked:
    #   A and B, nothing true: one pixel at 0.5.    C: three true pixels at 0.5.
    # Unshifted A and B have a false pixel each (background 3/4, class 1 0: mean 3/8), C is right:
    #   per image (3/8 + 3/8 + 1) / 3 = 0.58, pooled class 1 3/5, background 7/9: mean 0.69.
    # Shifted by -1 A and B are right, C misses all (background 1/4, class 1 0: mean 1/8):
    #   per image (1 + 1 + 1/8) / 3 = 0.71, pooled class 1 0, background 9/12: mean 0.375.
    odds = torch.full((3, 1, 4), -9.0)
    odds[0, 0, 0] = odds[1, 0, 0] = 0.5
    odds[2, 0, :3] = 0.5
    labels = torch.zeros(3, 1, 4, dtype=torch.int64)
    labels[2, 0, :3] = 1
    meter = DecisionMeter([1.0, 1.0])
    meter.record_batch(torch.stack([torch.zeros_like(odds), odds], dim=1), labels)
    assert meter.shift(meter.best("mean_iou")) == (0.0, 0.0)
    assert meter.shift(meter.best("mean_iou_per_image")) == (0.0, -1.0)
    assert meter.mean_iou_per_image(meter.best("mean_iou_per_image")) == pytest.approx(17 / 24)


def test_an_image_without_labels_has_no_score():
    meter = DecisionMeter([1.0, 1.0], tune=False)
    logits = torch.zeros(2, 2, 2, 2)
    logits[:, 0] = 1.0
    labels = torch.zeros(2, 2, 2, dtype=torch.int64)
    labels[0, 0, 0] = 1  # background 3/4, class 1 missed: 3/8
    labels[1] = -1
    meter.record_batch(logits, labels)
    assert meter.mean_iou_per_image(0) == pytest.approx(3 / 8)
