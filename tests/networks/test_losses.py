"""Weights of rare classes, and the loss they enter."""

import math

import pytest
import torch

from exastorm.networks.losses import class_weights, weighted_cross_entropy

PAPER_FREQUENCIES = [0.982, 0.00071, 0.017]


def test_inverse_square_root_gives_the_weights_of_the_paper():
    # 1 / sqrt(f) = 1.0091, 37.53, 7.670; over their sum 46.21. The paper rounded the square roots
    # to 0.991, 0.0266 and 0.13 first, hence the fourth digit of its third weight.
    weights = class_weights(PAPER_FREQUENCIES, "inverse_sqrt")
    torch.testing.assert_close(weights, torch.tensor([0.0218, 0.8120, 0.1662]), atol=3e-4, rtol=0)


def test_laws_differ_and_all_sum_to_one():
    none = class_weights([0.5, 0.3, 0.2], "none")
    inverse = class_weights([0.5, 0.3, 0.2], "inverse")
    torch.testing.assert_close(none, torch.full((3,), 1 / 3))
    # 2, 10/3, 5 over 31/3.
    torch.testing.assert_close(inverse, torch.tensor([6.0, 10.0, 15.0]) / 31)
    assert class_weights([0.5, 0.3, 0.2]).sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("law", ["none", "inverse", "inverse_sqrt"])
def test_a_class_that_never_occurs_weighs_nothing(law):
    weights = class_weights([0.9, 0.0, 0.1], law)
    assert weights[1] == 0
    assert weights.sum().item() == pytest.approx(1.0)


def test_wrong_laws_and_frequencies_are_refused():
    with pytest.raises(ValueError, match="law must be one of none, inverse, inverse_sqrt, got 'x'"):
        class_weights([1.0], "x")
    with pytest.raises(ValueError, match="frequencies must be shares"):
        class_weights([-0.1, 1.1])
    with pytest.raises(ValueError, match="frequencies must be shares"):
        class_weights([0.0, 0.0])


def test_undecided_logits_lose_log_of_the_number_of_classes():
    loss = weighted_cross_entropy(
        torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 0]]]), torch.rand(1, 2, 2) + 0.1
    )
    assert loss.item() == pytest.approx(math.log(3))


def test_each_pixel_counts_by_its_weight():
    # Pixel 1: p = e / (e + 1) for its class, loss log(1 + 1/e) = 0.3133. Pixel 2: log(1 + e) =
    # 1.3133. Weights 3 and 1: (3 x 0.3133 + 1.3133) / 4 = 0.5633.
    logits = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    labels = torch.tensor([[[0, 1]]])
    loss = weighted_cross_entropy(logits, labels, torch.tensor([[[3.0, 1.0]]]))
    assert loss.item() == pytest.approx(0.5633, abs=1e-4)


def test_pixels_without_a_label_do_not_count():
    logits = torch.tensor([[[[1.0, 5.0]], [[0.0, 0.0]]]], requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.tensor([[[0, -1]]]), torch.tensor([[[1.0, 0.0]]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3133, abs=1e-4)
    assert logits.grad[..., 1].abs().sum() == 0
    nothing = weighted_cross_entropy(logits, torch.full((1, 1, 2), -1), torch.zeros(1, 1, 2))
    assert nothing.item() == 0


def test_half_precision_logits_lose_in_single():
    # In half precision log(1 + exp(-12)) is 0; in single it is 6.1e-6.
    logits = torch.tensor([[[[12.0]], [[0.0]]]], dtype=torch.float16)
    loss = weighted_cross_entropy(
        logits, torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1)
    )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(6.1e-6, rel=0.02)
