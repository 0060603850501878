"""LARC: how far each layer goes, and why the paper's learning rates don't carry over."""

import pytest
import torch
from torch import nn

from exastorm.train.larc import local_rates, paper_relative_step
from exastorm.train.optimizer import OptimizerSettings, build_optimizer


def relative_change(settings, weight, gradients):
    """|dw| / |w| of the last of the steps with given gradients."""
    weight = nn.Parameter(weight.clone())
    optimizer = build_optimizer([weight], settings)
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
    return float((weight.detach() - before).norm() / before.norm())


def test_rates_by_hand():
    weights, updates = torch.tensor([2.0, 2.0]), torch.tensor([4.0, 0.01])
    # |w| / |u| = 0.5 and 200; times the trust 0.1: 0.05 and 20.
    rates = local_rates(weights, updates, 0.3, 0.1, "clip")
    torch.testing.assert_close(rates, torch.tensor([0.05, 0.3]))
    # Times the rate 0.3, whatever the trust: 0.15 and 60.
    rates = local_rates(weights, updates, 0.3, 0.1, "scale")
    torch.testing.assert_close(rates, torch.tensor([0.15, 60.0]))
    rates = local_rates(weights, updates, 0.3, 0.1, "none")
    torch.testing.assert_close(rates, torch.tensor([0.3, 0.3]))


def test_a_zero_norm_falls_back_to_the_rate_of_the_paper():
    # 1/16000 with the trust of the paper, 0.002; in "scale" a rate of 1 makes it 1/32.
    weights, updates = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    rates = local_rates(weights, updates, 1.0, 0.002, "clip")
    torch.testing.assert_close(rates, torch.full((2,), 1 / 16000))
    rates = local_rates(weights, updates, 1.0, 0.002, "scale")
    torch.testing.assert_close(rates, torch.full((2,), 1 / 32))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lamb"])
def test_scale_changes_each_layer_by_the_relative_step(name):
    # Whatever the optimizer inside, its moments and decay, and the size of gradients and weights.
    settings = OptimizerSettings(name=name, larc="scale", relative_step=0.003, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-4, 1.0, 1e3):
        weight = torch.randn(20, 30, generator=generator)
        gradients = [size * torch.randn(20, 30, generator=generator) for _ in range(4)]
        assert relative_change(settings, weight, gradients) == pytest.approx(0.003, rel=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_clip_never_changes_a_layer_by_more_than_the_trust(name):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 30, generator=generator)
    gradients = [torch.randn(20, 30, generator=generator) for _ in range(4)]
    free = OptimizerSettings(name=name, learning_rate=0.1)
    bound = OptimizerSettings(name=name, learning_rate=0.1, larc="clip", trust=0.01)
    assert relative_change(free, weight, gradients) > 0.02
    assert relative_change(bound, weight, gradients) == pytest.approx(0.01, rel=1e-4)
    # And where the rate is the smaller one it is the optimizer's own step.
    slow = OptimizerSettings(name=name, learning_rate=1e-4, larc="clip", trust=0.01)
    plain = OptimizerSettings(name=name, learning_rate=1e-4)
    expected = relative_change(plain, weight, gradients)
    assert relative_change(slow, weight, gradients) == pytest.approx(expected, rel=1e-3)


def test_clip_of_lamb_bounds_its_rate():
    # LAMB at rate 0.1 changes a layer by 0.1 of its norm; the trust bounds that.
    weight, gradient = torch.ones(4, 4), torch.full((4, 4), 1e-3)
    settings = OptimizerSettings(name="lamb", learning_rate=0.1, larc="clip", trust=0.01)
    assert relative_change(settings, weight, [gradient]) == pytest.approx(0.01, rel=1e-4)


def test_scale_without_a_relative_step_is_that_of_lars():
    # Rate x trust: 0.5 x 0.004.
    settings = OptimizerSettings(name="sgd", learning_rate=0.5, larc="scale", trust=0.004)
    weight, gradient = torch.ones(4, 4), torch.full((4, 4), 7.0)
    assert relative_change(settings, weight, [gradient]) == pytest.approx(0.002, rel=1e-4)


def test_layers_of_zeros_and_layers_without_gradient_stay_finite():
    weights = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))]
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, larc="scale", relative_step=0.32)
    optimizer = build_optimizer(weights, settings)
    weights[0].grad = torch.full((2, 2), 5.0)
    weights[1].grad = torch.zeros(2, 2)
    optimizer.step()
    # From zero: 0.32 / 32 x 5. Without a gradient: no change.
    torch.testing.assert_close(weights[0].detach(), torch.full((2, 2), -0.05))
    assert torch.equal(weights[1].detach(), torch.ones(2, 2))


PAPER_RUNS = [(384, 1e-4), (1536, 0.0064), (6144, 0.4096), (12288, 3.2768)]
"""GPUs and learning rate of the paper's Tiramisu runs on Summit (ClimDeepLearn, run scripts)."""


def paper_layer():
    """A 5x5 layer of Tiramisu, 192 to 32 channels, as He initializes it, and a gradient."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 192, 5, 5, generator=generator) * (2 / (192 * 25)) ** 0.5
    return weight, torch.randn(32, 192, 5, 5, generator=generator)


def published_scaling(weight, summed, num_gpus):
    """Gradient that the paper's code gave to Adam, from the sum over all GPUs."""
    trust = 0.002
    local = trust * (1 / num_gpus) * weight.norm() / summed.norm()
    return min(float(local), 1.0) * (1 / num_gpus) * summed


@pytest.mark.parametrize(
    ("num_gpus", "rate", "expected"),
    [(*run, step) for run, step in zip(PAPER_RUNS, (1.3e-4, 5.4e-4, 2.2e-3, 4.3e-3), strict=True)],
)
def test_what_the_learning_rates_of_the_paper_amount_to(num_gpus, rate, expected):
    weight, gradient = paper_layer()
    summed = num_gpus * gradient
    scaled = published_scaling(weight, summed, num_gpus)
    # RMS of w: sqrt(2 / 4800) = 0.0204; x 0.002 / 384^2 = 2.8e-10: far below Adam's epsilon, 1e-8,
    # so Adam divides by epsilon alone and moves by rate x 0.002 |w| / N^2 / 1e-8.
    rms = float(scaled.square().mean().sqrt())
    assert rms == pytest.approx(2.8e-10 * (384 / num_gpus) ** 2, rel=0.02)
    settings = OptimizerSettings(learning_rate=rate)
    assert relative_change(settings, weight, [scaled]) == pytest.approx(expected, rel=0.03)
    # Linear in N: the rule that carries over.
    assert paper_relative_step(num_gpus) == pytest.approx(expected, rel=0.06)
    rule = OptimizerSettings(larc="scale", relative_step=paper_relative_step(num_gpus))
    for size in (1e-6, 1.0):
        change = relative_change(rule, weight, [size * gradient])
        assert change == pytest.approx(paper_relative_step(num_gpus), rel=1e-3)


def test_a_right_formula_would_explode_at_these_rates():
    # eta |w| / |g| on the mean gradient has an RMS of 4.1e-5, far above epsilon; Adam undoes the
    # scaling and moves each weight by the rate: rate / 0.0204 of the norm.
    weight, gradient = paper_layer()
    right = 0.002 * weight.norm() / gradient.norm() * gradient
    changes = [
        relative_change(OptimizerSettings(learning_rate=rate), weight, [right])
        for _, rate in PAPER_RUNS
    ]
    assert changes == pytest.approx([0.0049, 0.314, 20.1, 160.5], rel=0.01)


def test_scaling_the_gradient_of_adam_does_nothing():
    weight, gradient = paper_layer()
    one, other = (
        relative_change(OptimizerSettings(), weight, [size * gradient]) for size in (1.0, 1e-3)
    )
    assert one == pytest.approx(other, rel=1e-4)


def test_there_must_be_a_gpu():
    with pytest.raises(ValueError, match="num_gpus must be at least 1, got 0"):
        paper_relative_step(0)
