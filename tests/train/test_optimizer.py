"""The learning rate over a run."""

import pytest
import torch

from exastorm.train.optimizer import build_optimizer, learning_rate_at, progress_of
from exastorm.train.settings import TrainSettings


def settings(**options):
    return TrainSettings(**{"num_steps": 100, "warmup_steps": 0, "learning_rate": 0.1} | options)


def test_cosine_falls_to_zero():
    # (1 + cos(pi p)) / 2 at p = 0, 1/4, 1/2, 1: 1, (1 + 0.7071) / 2, 1/2, 0.
    rates = [learning_rate_at(settings(), step, 0.0) for step in (0, 25, 50, 100)]
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0], abs=1e-7)


def test_constant_stays():
    rates = {learning_rate_at(settings(schedule="constant"), step, 0.0) for step in (0, 50, 99)}
    assert rates == {0.1}


def test_warm_up_rises_in_equal_steps():
    warm = settings(schedule="constant", warmup_steps=4)
    rates = [learning_rate_at(warm, step, 0.0) for step in range(6)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_the_clock_may_run_ahead_of_the_steps():
    timed = settings(max_minutes=2.0)
    assert progress_of(timed, step=10, minutes=1.0) == 0.5
    assert progress_of(timed, step=80, minutes=1.0) == 0.8
    assert progress_of(timed, step=10, minutes=3.0) == 1.0
    assert learning_rate_at(timed, 10, 1.0) == pytest.approx(0.05)
    assert progress_of(settings(), step=10, minutes=1e9) == 0.1


def test_first_step_of_adam_is_the_learning_rate():
    # Without its epsilon Adam's first step is lr x g / |g|, whatever the gradient's size.
    layer = torch.nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    layer.weight.grad = torch.full((1, 1), 1e-3)
    build_optimizer(layer, settings()).step()
    assert before - layer.weight.item() == pytest.approx(0.1, rel=1e-4)
