"""LAMB by hand, and that its step follows the weights."""

import pytest
import torch
from torch import nn

from exastorm.train.lamb import lamb_stretch
from exastorm.train.optimizer import OptimizerSettings, build_optimizer


def step_of(weight, gradients, **options):
    weight = nn.Parameter(weight.clone())
    optimizer = build_optimizer([weight], OptimizerSettings(name="lamb", **options))
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
    return weight.detach() - before


def test_two_steps_by_hand():
    # One weight of 2, rate 0.1, no decay: whatever the gradient, the direction has the length of
    # the weight. Step 1: 2 - 0.1 x 2 = 1.8; step 2: 1.8 - 0.18.
    weight = torch.full((1, 1), 2.0)
    gradients = [torch.full((1, 1), 3.0), torch.full((1, 1), 0.5)]
    assert float(step_of(weight, gradients, learning_rate=0.1)) == pytest.approx(-0.18, rel=1e-5)


def test_a_step_by_the_algorithm_of_the_paper():
    # You et al. 2020, algorithm 2, in float64: r = m / (sqrt(v) + eps) + decay x w, then |w| / |r|.
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 7, generator=generator)
    gradients = [torch.randn(5, 7, generator=generator) for _ in range(3)]
    now, first, second = weight.double(), torch.zeros(()), torch.zeros(())
    for number, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient.double()
        second = 0.999 * second + 0.001 * gradient.double().square()
        ratio = (first / (1 - 0.9**number)) / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
        ratio = ratio + 0.1 * now
        change = -0.02 * now.norm() / ratio.norm() * ratio
        now = now + change
    step = step_of(weight, gradients, learning_rate=0.02, weight_decay=0.1)
    torch.testing.assert_close(step, change.float(), rtol=1e-4, atol=1e-6)


def test_the_step_grows_with_the_weights():
    gradient = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    small = step_of(torch.ones(2, 2), [gradient])
    large = step_of(10 * torch.ones(2, 2), [gradient])
    torch.testing.assert_close(large, 10 * small, rtol=1e-3, atol=1e-6)


def test_weights_of_zero_take_the_step_of_adam():
    # The first direction of Adam is the sign of the gradient.
    step = step_of(torch.zeros(1, 2), [torch.tensor([[3.0, -4.0]])], learning_rate=0.1)
    torch.testing.assert_close(step, torch.tensor([[-0.1, 0.1]]))


def test_the_stretch_of_a_zero_is_one():
    stretch = lamb_stretch(torch.tensor([3.0, 0.0, 3.0]), torch.tensor([2.0, 2.0, 0.0]))
    assert stretch.tolist() == [1.5, 1.0, 1.0]
