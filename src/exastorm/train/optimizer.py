"""Adam, and the learning rate at each step."""

import math

import torch
from torch import nn

from exastorm.train.settings import TrainSettings


def build_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam with the paper's betas and epsilon, fused into one pass over memory."""
    return torch.optim.Adam(
        network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True
    )


def progress_of(settings: TrainSettings, step: int, minutes: float) -> float:
    """How much of a run is over, 0 to 1: by steps or by the clock, whichever is further.

    Args:
        settings: Of the run.
        step: Steps done.
        minutes: Time trained, minutes.
    """
    by_clock = minutes / settings.max_minutes if settings.max_minutes is not None else 0.0
    return min(1.0, max(step / settings.num_steps, by_clock))


def learning_rate_at(settings: TrainSettings, step: int, minutes: float) -> float:
    """Learning rate of the step after `step` steps and `minutes` minutes.

    It rises linearly over the first `warmup_steps`; "cosine" multiplies that by
    (1 + cos(pi progress)) / 2 (Loshchilov and Hutter 2017, equation 5, without restarts).
    """
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        rate *= (step + 1) / (settings.warmup_steps + 1)
    if settings.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * progress_of(settings, step, minutes)))
    return rate
