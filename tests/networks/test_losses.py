"""Weights of rare classes, and the losses they enter."""

import math

import pytest
import torch

from exastorm.networks.losses import class_weights, soft_cross_entropy, weighted_cross_entropy

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


def test_inverse_eighth_gives_the_ratios_of_deepcam():
    # MLPerf's weights 1.0017, 2.6146, 1.7164 are f^-1/8 themselves; ours sum to 1.
    weights = class_weights([0.986268, 0.000457871, 0.0132743], "inverse_eighth")
    published = torch.tensor([1.0017, 2.6146, 1.7164])
    torch.testing.assert_close(weights, published / published.sum(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("law", ["none", "inverse", "inverse_sqrt", "inverse_eighth"])
def test_a_class_that_never_occurs_weighs_nothing(law):
    weights = class_weights([0.9, 0.0, 0.1], law)
    assert weights[1] == 0
    assert weights.sum().item() == pytest.approx(1.0)


def test_wrong_laws_and_frequencies_are_refused():
    with pytest.raises(ValueError, match="law must be one of none, inverse, "):
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


WEIGHTS = torch.tensor([0.0218, 0.8120, 0.1662])


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()


def test_certain_soft_labels_lose_as_hard_ones_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 9, 14, generator=generator)
    labels = torch.randint(0, 3, (2, 9, 14), generator=generator)
    each_class = one_hot(labels) * WEIGHTS[:, None, None]
    # Two pixels without a label.
    each_class[:, :, 3, 5] = 0
    each_pixel = each_class.sum(dim=1)
    labels[:, 3, 5] = -1
    for total in (None, torch.tensor(37.0)):
        hard, soft = (logits.clone().requires_grad_() for _ in range(2))
        hard_loss = weighted_cross_entropy(hard, labels, each_pixel, total)
        soft_loss = soft_cross_entropy(soft, each_class, total)
        assert soft_loss.item() == hard_loss.item()
        hard_loss.backward()
        soft_loss.backward()
        assert torch.equal(hard.grad, soft.grad)


def test_soft_loss_by_hand():
    # The pixel of the test above, to equal shares of two classes of weights 3 and 1:
    # (0.5 x 3 x 0.3133 + 0.5 x 1 x 1.3133) / (0.5 x 3 + 0.5 x 1) = 0.5633.
    logits = torch.tensor([[[[1.0]], [[0.0]]]])
    loss = soft_cross_entropy(logits, torch.tensor([[[[1.5]], [[0.5]]]]))
    assert loss.item() == pytest.approx(0.5633, abs=1e-4)
    assert soft_cross_entropy(logits, torch.zeros(1, 2, 1, 1)).item() == 0


def test_soft_loss_is_the_hard_one_over_the_members_of_an_ensemble():
    # Four class maps side by side as four samples, or their shares in one.
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 6, 8, generator=generator)
    members = torch.randint(0, 3, (4, 6, 8), generator=generator)
    hard = weighted_cross_entropy(logits.expand(4, -1, -1, -1), members, WEIGHTS[members])
    shares = one_hot(members).mean(dim=0, keepdim=True)
    soft = soft_cross_entropy(logits, shares * WEIGHTS[:, None, None])
    assert soft.item() == pytest.approx(hard.item(), rel=1e-6)


def test_soft_loss_is_least_at_the_weighted_probabilities():
    # As with hard labels the best share of a class is p_k w_k / sum_j p_j w_j: what the decision
    # is tuned for holds for both.
    probabilities = torch.tensor([0.9, 0.04, 0.06])
    weighted = (probabilities * WEIGHTS)[None, :, None, None]
    logits = weighted.log().requires_grad_()
    least = soft_cross_entropy(logits, weighted)
    least.backward()
    assert logits.grad.abs().max() < 1e-6
    for k in range(3):
        moved = logits.detach().clone()
        moved[0, k] += 0.1
        assert soft_cross_entropy(moved, weighted) > least


def test_double_logits_lose_in_double():
    # log(1 + exp(-20)) = 2.06e-9 is 0 in single precision, where 1 + 2e-9 is 1.
    logits = torch.tensor([[[[20.0]], [[0.0]]]], dtype=torch.float64)
    label, certain = torch.zeros(1, 1, 1, dtype=torch.long), torch.tensor([[[[1.0]], [[0.0]]]])
    hard = weighted_cross_entropy(logits, label, torch.ones(1, 1, 1))
    for loss in (hard, soft_cross_entropy(logits, certain)):
        assert loss.item() == pytest.approx(2.06e-9, rel=1e-2)


def test_focal_factor_by_hand():
    # Shares 0.8 and 0.2: -(0.2)^2 log 0.8 = 0.0089257 and -(0.8)^2 log 0.2 = 1.0300403, gamma 2
    # (Lin et al. 2017). Weights 3 and 1: (0.0267771 + 1.0300403) / 4 = 0.2642044.
    logits = torch.tensor([0.8, 0.2]).log()[None, :, None, None].expand(-1, -1, 1, 2)
    weights = torch.tensor([[[3.0, 1.0]]])
    hard = weighted_cross_entropy(logits, torch.tensor([[[0, 1]]]), weights, focal_gamma=2.0)
    assert hard.item() == pytest.approx(0.2642044, rel=1e-6)
    # The same as probabilities 3/4 and 1/4 of one pixel.
    soft = soft_cross_entropy(logits[..., :1], torch.tensor([[[[3.0]], [[1.0]]]]), focal_gamma=2.0)
    assert soft.item() == pytest.approx(0.2642044, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_certainty_has_finite_gradients(gamma):
    # Where s is 1 to all digits, (1 - s)^gamma is 0 and for gamma < 1 infinitely steep.
    logits = torch.tensor([[[[200.0]], [[0.0]]]], requires_grad=True)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    weighted_cross_entropy(logits, label, torch.ones(1, 1, 1), focal_gamma=gamma).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
