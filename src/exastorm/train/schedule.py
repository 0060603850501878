"""The learning rate over a run, as a share of its largest.

It depends on the step and on how much of the run is over, so that it also runs out where the clock,
not the number of steps, ends a run.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

ScheduleName = Literal["constant", "cosine", "polynomial", "step"]


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """How the learning rate changes over a run."""

    name: ScheduleName = "cosine"
    """constant; cosine (falls along half a cosine); polynomial (falls as (1 - p)^power, p the share
    of the run that is over); or step (times gamma at each milestone)."""

    warmup_steps: int = 50
    """Steps over which the rate rises in equal parts from near 0; the step after them has all of
    it."""

    power: float = 1.0
    """Of polynomial; 1 is a straight line."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the run, each between 0 and 1, at which step lowers the rate."""

    gamma: float = 0.1
    """What step multiplies the rate by at a milestone, above 0 and at most 1."""

    final_factor: float = 0.0
    """Share of the largest rate at which cosine and polynomial end, and below which step does not
    go; 0 to 1."""

    def __post_init__(self) -> None:
        if self.name not in get_args(ScheduleName):
            names = ", ".join(get_args(ScheduleName))
            raise ValueError(f"name must be one of {names}, got {self.name!r}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {self.warmup_steps}")
        if not (math.isfinite(self.power) and self.power > 0):
            raise ValueError(f"power must be positive, got {self.power}")
        edges = (0.0, *self.milestones, 1.0)
        if not all(a < b for a, b in pairwise(edges)):
            raise ValueError(
                f"milestones must rise, each between 0 and 1, got {list(self.milestones)}"
            )
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}")
        if not 0 <= self.final_factor <= 1:
            raise ValueError(f"final_factor must be from 0 to 1, got {self.final_factor}")


def rate_factor(settings: ScheduleSettings, step: int, progress: float) -> float:
    """Learning rate of a step, as a share of the largest; 0 to 1.

    Args:
        settings: The schedule.
        step: Steps done.
        progress: Share of the run that is over, 0 to 1.
    """
    factor = _decay(settings, progress)
    if step < settings.warmup_steps:
        # Step number warmup_steps + 1 would be the first with a share of 1, and is.
        factor *= (step + 1) / (settings.warmup_steps + 1)
    return factor


def _decay(settings: ScheduleSettings, progress: float) -> float:
    """Share that is left of the largest rate, warm-up aside."""
    if settings.name == "constant":
        return 1.0
    if settings.name == "step":
        num_passed = sum(milestone <= progress for milestone in settings.milestones)
        return max(settings.gamma**num_passed, settings.final_factor)
    if settings.name == "cosine":
        # Loshchilov and Hutter 2017, equation 5, without restarts.
        share = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        share = (1.0 - progress) ** settings.power
    return settings.final_factor + (1.0 - settings.final_factor) * share
