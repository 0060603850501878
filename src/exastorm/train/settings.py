"""What one can choose about a training."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from exastorm.networks.build import NetworkSettings
from exastorm.networks.losses import WeightLaw
from exastorm.samples.dataset import LoaderSettings

Schedule = Literal["constant", "cosine"]
Device = Literal["auto", "cpu", "cuda"]
Targets = Literal["hard", "soft"]

CHOICES = {
    "schedule": get_args(Schedule),
    "weight_law": get_args(WeightLaw),
    "device": get_args(Device),
    "targets": get_args(Targets),
}
"""Fields that take one of a few words."""

AT_LEAST_ONE = (
    "batch_size",
    "num_steps",
    "validation_interval",
    "validation_samples",
    "checkpoint_interval",
    "log_interval",
    "num_threads",
)
"""Fields that count something."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained."""

    network: NetworkSettings = field(default_factory=NetworkSettings)

    batch_size: int = 2
    """Samples of one step on each rank; the paper's is 1 in fp32."""

    num_steps: int = 2000
    """Steps to train."""

    max_minutes: float | None = None
    """Stop after so many minutes if the steps take longer; the schedule runs out with the time. A
    run that the clock stops is not reproducible."""

    learning_rate: float = 2e-3
    """Largest learning rate of Adam."""

    schedule: Schedule = "cosine"
    """constant, or cosine: fall to 0 at the last step along half a cosine."""

    warmup_steps: int = 50
    """Steps over which the learning rate rises from near 0."""

    weight_law: WeightLaw = "inverse_sqrt"
    """Loss weight of a class by its frequency f in training: inverse_sqrt (1 / sqrt f, as in the
    paper), inverse (1 / f), or none."""

    targets: Targets = "hard"
    """What the network learns: hard, one class a pixel, or soft, the probability of each class over
    an ensemble of thresholds, of samples prepared with soft_labels. Then f is the mean probability.
    Scores are against the hard labels in either case."""

    tune_decision: bool = True
    """Shift the logits of the classes so that the largest one makes the best mean IoU on the
    validation split; else rare classes are drawn too large, as their loss weights make them."""

    roll: bool = True
    """Turn every sample by a random longitude, anew in each epoch."""

    seed: int = 0
    """Of the first weights, the order of the samples, and the rolls."""

    deterministic: bool = False
    """The same weights from the same seed on the same machine: only algorithms that repeat their
    rounding, and one thread unless num_threads says otherwise."""

    validation_interval: int = 250
    """Steps between scores on the validation split; the last step is always scored."""

    validation_samples: int | None = None
    """Most samples of the validation split to score, spread over it; None scores all."""

    checkpoint_interval: int = 250
    """Steps between checkpoints; the last step always makes one."""

    log_interval: int = 10
    """Steps between lines of log.jsonl; a line holds the mean loss since the line before."""

    device: Device = "auto"
    """auto takes a GPU if there is one."""

    num_threads: int | None = None
    """Threads that compute on the CPU; None takes all cores. Samples of a batch are computed side
    by side, and threads left over work inside the operations."""

    loader: LoaderSettings = field(default_factory=LoaderSettings)

    def __post_init__(self) -> None:
        for name in AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                got = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {got!r}")
        for name in ("learning_rate", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        self._check_together()

    def _check_together(self) -> None:
        """Check what depends on more than one field, and the seed."""
        if not 0 <= self.warmup_steps < self.num_steps:
            raise ValueError(
                f"warmup_steps must be from 0 to below num_steps ({self.num_steps}), "
                f"got {self.warmup_steps}"
            )
        if self.deterministic and self.max_minutes is not None:
            raise ValueError(
                f"max_minutes must be unset where deterministic is set, got {self.max_minutes}"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")
