"""The share of the learning rate over a run."""

import math

import numpy as np
import pytest

from exastorm.train.schedule import ScheduleSettings, rate_factor


def factors(progresses, **options):
    settings = ScheduleSettings(**{"warmup_steps": 0} | options)
    return [rate_factor(settings, 0, progress) for progress in progresses]


def test_cosine_falls_to_zero():
    # (1 + cos(pi p)) / 2 at p = 0, 1/4, 1/2, 1: 1, (1 + 0.7071) / 2, 1/2, 0.
    assert factors((0, 0.25, 0.5, 1), name="cosine") == pytest.approx([1, 0.853553, 0.5, 0])


def test_constant_stays():
    assert factors((0, 0.5, 1), name="constant") == [1, 1, 1]


def test_polynomial_falls_to_zero():
    assert factors((0, 0.25, 1), name="polynomial") == pytest.approx([1, 0.75, 0])
    # (1 - p)^2: 0.75^2 = 0.5625.
    assert factors((0, 0.25, 1), name="polynomial", power=2.0) == pytest.approx([1, 0.5625, 0])


def test_step_falls_at_each_milestone():
    options = {"name": "step", "milestones": (0.3, 0.6), "gamma": 0.5}
    assert factors((0, 0.29, 0.3, 0.59, 0.6, 1), **options) == [1, 1, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("name", "middle"), [("cosine", 0.6), ("polynomial", 0.6), ("step", 0.2), ("constant", 1.0)]
)
def test_the_last_share_may_be_above_zero(name, middle):
    # Half way from 1 to 0.2 is 0.6; step would be at 0.1 after its milestone, but ends at 0.2.
    found = factors((0.0, 0.5, 1.0), name=name, final_factor=0.2)
    last = 1.0 if name == "constant" else 0.2
    assert found == pytest.approx([1.0, middle, last])


def test_warm_up_rises_in_equal_parts_and_arrives():
    settings = ScheduleSettings(name="constant", warmup_steps=4)
    found = [rate_factor(settings, step, 0.0) for step in range(6)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert found[4] == 1.0


def test_the_demo_keeps_its_learning_rates():
    # The first release had rate x warm-up x cosine, in this order; figures were made with these.
    settings = ScheduleSettings()
    for step in range(300):
        rate = 2e-3
        if step < 50:
            rate *= (step + 1) / 51
        rate *= 0.5 * (1.0 + math.cos(math.pi * (step / 300)))
        found = 2e-3 * rate_factor(settings, step, step / 300)
        # Only the order of two products differs, and weights are float32.
        assert np.float32(found) == np.float32(rate)
        if step >= 50:
            assert found == rate


@pytest.mark.parametrize("name", ["constant", "cosine", "polynomial", "step"])
def test_a_factor_is_a_share(name):
    settings = ScheduleSettings(name=name, warmup_steps=10)
    for step in range(101):
        assert 0.0 <= rate_factor(settings, step, step / 100) <= 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "linear"}, "name must be one of constant, cosine, polynomial, step, got"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative, got -1"),
        ({"power": 0.0}, "power must be positive, got 0.0"),
        ({"milestones": (0.5, 0.5)}, "milestones must rise"),
        ({"milestones": (0.5, 1.0)}, "milestones must rise"),
        ({"milestones": (0.0,)}, "milestones must rise"),
        ({"gamma": 0.0}, "gamma must be above 0 and at most 1, got 0.0"),
        ({"gamma": 1.5}, "gamma must be"),
        ({"final_factor": 1.5}, "final_factor must be from 0 to 1, got 1.5"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ScheduleSettings(**options)
