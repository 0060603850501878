"""Shifting logits to the best decision."""

import pytest
import torch

from exastorm.train.decision import DecisionMeter, decision_candidates, largest_shifted


def test_candidates_begin_with_none_and_leave_the_background_alone():
    candidates = decision_candidates(3)
    assert candidates[0].tolist() == [0, 0, 0]
    assert len(candidates) == 7**2
    assert (candidates[:, 0] == 0).all()
    assert len({tuple(c) for c in candidates.tolist()}) == 7**2
    assert decision_candidates(3, tune=False).tolist() == [[0, 0, 0]]


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
    meter = DecisionMeter(2)
    logits, labels = inflated_batch()
    for part in (slice(0, 1), slice(1, 4)):
        meter.record_batch(logits[part], labels[part])
    bias, matrix = meter.best()
    # The best threshold on the true odds is a little below 0 (J / (1 + J) < 1/2), so that the
    # shift is -3 or -2.
    assert bias[0] == 0
    assert bias[1] in (-3.0, -2.0)
    assert matrix.summary()["mean_iou"] > meter.matrix(0).summary()["mean_iou"] + 0.05
    assert matrix.summary()["num_pixels"] == 4 * 28 * 30


def test_without_tuning_the_largest_logit_decides():
    logits, labels = inflated_batch()
    meter = DecisionMeter(2, tune=False)
    meter.record_batch(logits, labels)
    bias, matrix = meter.best()
    assert bias == (0.0, 0.0)
    valid = labels >= 0
    hits = (logits.argmax(dim=1)[valid] == labels[valid]).sum().item()
    assert matrix.matrix.trace() == hits


def test_flat_pixels_count_as_maps_do():
    logits, labels = inflated_batch()
    maps, flat = DecisionMeter(2), DecisionMeter(2)
    maps.record_batch(logits, labels)
    flat.record_batch(logits.movedim(1, -1).reshape(-1, 2), labels.reshape(-1))
    assert torch.equal(maps.counts, flat.counts)
    assert maps.best()[0] == pytest.approx(flat.best()[0])
