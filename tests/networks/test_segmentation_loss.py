"""What training minimizes: it adds over parts of a batch, and every choice of it counts."""

import math

import pytest
import torch

from exastorm.networks.losses import (
    LossSettings,
    check_loss_targets,
    segmentation_loss,
    soft_cross_entropy,
    weighted_cross_entropy,
)
from exastorm.networks.overlap import overlap_loss

WEIGHTS = torch.tensor([0.0218, 0.8120, 0.1662])


def made_up(dtype=torch.float32, num_samples=2):
    """Logits, labels with some unlabeled pixels, and probabilities that differ from them."""
    generator = torch.Generator().manual_seed(4)
    size = (num_samples, 6, 8)
    logits = torch.randn(num_samples, 3, 6, 8, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(-1, 3, size, generator=generator)
    shares = torch.rand(num_samples, 3, 6, 8, generator=generator) * (labels >= 0).unsqueeze(1)
    return logits, labels, shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9)


def weighed(labels):
    return torch.where(labels >= 0, WEIGHTS[labels.clamp(min=0)], 0.0)


def test_no_focal_factor_is_the_plain_loss_bit_for_bit():
    logits, labels, shares = made_up()
    weights, soft_weights = weighed(labels), shares * WEIGHTS[:, None, None]
    plain = weighted_cross_entropy(logits, labels, weights)
    assert weighted_cross_entropy(logits, labels, weights, focal_gamma=0.0).equal(plain)
    assert weighted_cross_entropy(logits, labels, weights, focal_gamma=1.0) < plain
    plain = soft_cross_entropy(logits, soft_weights)
    assert soft_cross_entropy(logits, soft_weights, focal_gamma=0.0).equal(plain)
    assert soft_cross_entropy(logits, soft_weights, focal_gamma=1.0) < plain


ALL_SETTINGS = [
    LossSettings(),
    LossSettings(focal_gamma=2.0),
    LossSettings(overlap="dice"),
    LossSettings(overlap="dice", overlap_weight=0.3),
    LossSettings(overlap="dice", overlap_classes="all"),
    LossSettings(overlap="lovasz"),
]


def loss_of(logits, label, weight, settings, **more):
    total = (weight.sum(dim=1) if weight.dim() == 4 else weight).sum()
    more = {"total_weight": total, "num_samples": len(logits), "class_weight": WEIGHTS} | more
    return segmentation_loss(logits, label, weight, settings, **more)


@pytest.mark.parametrize("soft", [False, True])
def test_every_choice_changes_the_loss(soft):
    logits, labels, shares = made_up()
    weight = shares * WEIGHTS[:, None, None] if soft else weighed(labels)
    some = [s for s in ALL_SETTINGS if not soft or s.overlap != "lovasz"]
    losses = [loss_of(logits, labels, weight, settings).item() for settings in some]
    assert len(set(losses)) == len(some)
    plain = (
        soft_cross_entropy(logits, weight)
        if soft
        else weighted_cross_entropy(logits, labels, weight)
    )
    assert losses[0] == plain.item()
    # The term is added times its weight.
    assert losses[3] - losses[0] == pytest.approx(0.3 * (losses[2] - losses[0]), rel=1e-4)


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_gradients_are_slopes(settings):
    logits, labels, shares = made_up(torch.float64)
    logits.requires_grad_()
    area = torch.linspace(0.2, 1.8, 6)[:, None]
    weight = weighed(labels) * area
    check = torch.autograd.gradcheck
    assert check(lambda values: loss_of(values, labels, weight, settings), logits)
    if settings.overlap != "lovasz":
        weight = shares * WEIGHTS[:, None, None] * area
        assert check(lambda values: loss_of(values, labels, weight, settings), logits)


@pytest.mark.parametrize("settings", ALL_SETTINGS)
@pytest.mark.parametrize("soft", [False, True])
def test_parts_of_a_batch_add_up(settings, soft):
    if soft and settings.overlap == "lovasz":
        return
    logits, labels, shares = made_up(torch.float64, num_samples=3)
    weight = shares * WEIGHTS[:, None, None] if soft else weighed(labels)
    # Samples of very different weight: parts must not be averaged as if they were alike.
    scale = torch.tensor([1.0, 10.0, 0.1]).reshape(-1, *[1] * (weight.dim() - 1))
    weight = weight * scale
    whole = loss_of(logits, labels, weight, settings)
    total = (weight.sum(dim=1) if soft else weight).sum()
    parts = [
        loss_of(logits[p], labels[p], weight[p], settings, total_weight=total, num_samples=3).item()
        for p in (slice(0, 2), slice(2, 3), slice(3, 3))
    ]
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-6)
    assert parts[2] == 0


def test_overlap_counts_area_and_not_the_weight_of_the_class():
    logits, labels, shares = made_up()
    area = torch.linspace(0.2, 1.8, 6)[:, None].expand(2, 6, 8) * (labels >= 0)
    for kind in ("dice", "lovasz"):
        settings = LossSettings(overlap=kind, area_weighting=True)
        weight = weighed(labels) * area
        term = loss_of(logits, labels, weight, settings) - loss_of(
            logits, labels, weight, LossSettings()
        )
        expected = overlap_loss(logits, labels, area, kind, 2)
        assert term.item() == pytest.approx(expected.item(), rel=1e-5)
        flat = overlap_loss(logits, labels, (labels >= 0).float(), kind, 2)
        assert abs(term.item() - flat.item()) > 1e-3
    weight = shares * WEIGHTS[:, None, None] * area.unsqueeze(1)
    settings = LossSettings(overlap="dice")
    term = loss_of(logits, labels, weight, settings) - loss_of(
        logits, labels, weight, LossSettings()
    )
    expected = overlap_loss(logits, shares, area, "dice", 2)
    assert term.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_hard_labels_without_areas_need_no_class_weights(kind):
    logits, labels, _ = made_up()
    settings = LossSettings(overlap=kind)
    with_weights = loss_of(logits, labels, weighed(labels), settings)
    without = loss_of(logits, labels, weighed(labels), settings, class_weight=None)
    assert without.item() == with_weights.item()


def test_a_class_of_weight_zero_has_no_area():
    # Class 1 never occurs in training, so its pixels are as unlabeled ones to the term too.
    logits, labels, _ = made_up()
    weights = torch.tensor([0.2, 0.0, 0.8])
    weight = torch.where(labels >= 0, weights[labels.clamp(min=0)], 0.0)
    settings = LossSettings(overlap="dice")
    loss = loss_of(logits, labels, weight, settings, class_weight=weights)
    unlabeled = torch.where(labels == 1, -1, labels)
    expected = loss_of(logits, unlabeled, weight, settings, class_weight=weights)
    assert loss.item() == expected.item()


@pytest.mark.parametrize("settings", ALL_SETTINGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_changes_nothing_but_the_logits(settings, dtype):
    logits, labels, _ = made_up(dtype)
    weight = weighed(labels)
    expected = loss_of(logits.float(), labels, weight, settings)
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_of(logits, labels, weight, settings).equal(expected)
        assert loss_of(logits.float(), labels, weight, settings).equal(expected)
    assert loss_of(logits, labels, weight, settings).equal(expected)


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_compiles_in_one_piece(settings):
    # One graph without a break: nothing in it looks at a value.
    logits, labels, _ = made_up()
    weight = weighed(labels)
    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    loss = compiled(logits, labels, weight, settings)
    assert loss.item() == pytest.approx(loss_of(logits, labels, weight, settings).item(), rel=1e-6)


def test_wrong_settings_are_refused():
    for wrong, message in (
        ({"weight_law": "x"}, "weight_law must be one of none, .*, got 'x'"),
        ({"overlap": "x"}, "overlap must be one of none, dice, lovasz, got 'x'"),
        ({"overlap_classes": "x"}, "overlap_classes must be one of storms, all, got 'x'"),
        ({"focal_gamma": -1.0}, "focal_gamma must not be negative, got -1.0"),
        ({"focal_gamma": math.inf}, "focal_gamma must"),
        ({"overlap_weight": 0.0}, "overlap_weight must be positive, got 0.0"),
        ({"overlap_weight": math.nan}, "overlap_weight must"),
    ):
        with pytest.raises(ValueError, match=message):
            LossSettings(**wrong)


def test_losses_that_targets_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="overlap must be none or dice where targets is soft"):
        check_loss_targets(LossSettings(overlap="lovasz"), "soft")
    check_loss_targets(LossSettings(overlap="lovasz"), "hard")
    check_loss_targets(LossSettings(overlap="dice"), "soft")
    logits, labels, shares = made_up()
    weight = shares * WEIGHTS[:, None, None]
    with pytest.raises(ValueError, match="class_weight must be given"):
        loss_of(logits, labels, weight, LossSettings(overlap="dice"), class_weight=None)
    settings = LossSettings(overlap="dice", area_weighting=True)
    with pytest.raises(ValueError, match="class_weight must be given"):
        loss_of(logits, labels, weighed(labels), settings, class_weight=None)
