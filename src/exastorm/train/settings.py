"""What one can choose about a training; settings of its parts stand beside those parts."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from exastorm.networks.build import NetworkSettings
from exastorm.networks.losses import LossSettings, check_loss_targets
from exastorm.parallel.cluster import ClusterSettings
from exastorm.parallel.control.settings import ControlSettings
from exastorm.samples.label_sets import LabelSet, check_label_set
from exastorm.samples.loader import LoaderSettings
from exastorm.train.checkpoint import CheckpointSettings
from exastorm.train.device import ComputeSettings
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.stage_settings import SampleStageSettings
from exastorm.train.together import ExchangeSettings
from exastorm.train.validation import ValidationSettings

Targets = Literal["hard", "soft"]

AT_LEAST_ONE = ("batch_size", "part_size", "num_steps", "log_interval", "max_bad_steps")
"""Fields that count something."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained."""

    network: NetworkSettings = field(default_factory=NetworkSettings)

    batch_size: int = 2
    """Samples of one step on each rank; the paper's is 1 in fp32, 2 in fp16."""

    part_size: int | None = None
    """Most samples that go through the network at once. The gradients of the parts of a batch add
    up to those of the whole (gradient accumulation), so this bounds memory and changes nothing
    else. None cuts a batch only as cores need it."""

    num_steps: int = 2000
    """Steps to train."""

    max_minutes: float | None = None
    """Stop after so many minutes if the steps take longer; the schedule runs out with the time. A
    run that the clock stops is not reproducible."""

    loss: LossSettings = field(default_factory=LossSettings)

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)

    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    ema_decay: float | None = None
    """Keep a moving average of the weights that forgets by this factor a step, and score, save and
    segment with it; None uses the weights of the last step."""

    targets: Targets = "hard"
    """What the network learns: hard, one class a pixel, or soft, the probability of each class over
    an ensemble of thresholds, of samples prepared with soft_labels. Then the loss weights are those
    of the mean probabilities. Scores are against the hard labels in either case."""

    label_set: LabelSet = 0
    """Which of several label sets of a snapshot is learned: its number, random (one drawn anew for
    each read, as in the paper), or soft (the share of the sets that give a pixel a class). Scores
    are against the numbered one, else the first."""

    roll: bool = True
    """Turn every sample by a random longitude, anew in each epoch."""

    mirror: bool = False
    """Swap north and south of half of the samples, drawn anew in each epoch; northward winds and
    vorticity change sign. The made-up and the real climate treat hemispheres alike except for land,
    which a mirrored sample has where there is none."""

    seed: int = 0
    """Of the first weights, the order of the samples, the rolls and mirrors, and dropout."""

    skip_bad: bool = False
    """Leave a sample that can't be read, or holds values that are no numbers, out of its step, and
    say so; else it stops the run."""

    max_bad_steps: int = 10
    """A step whose loss or gradients are not finite leaves the weights as they are; so many in a
    row stop the run."""

    log_interval: int = 10
    """Steps between lines of log.jsonl; a line holds the mean loss since the line before."""

    compute: ComputeSettings = field(default_factory=ComputeSettings)

    exchange: ExchangeSettings = field(default_factory=ExchangeSettings)

    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    stage: SampleStageSettings = field(default_factory=SampleStageSettings)

    control: ControlSettings = field(default_factory=ControlSettings)

    validation: ValidationSettings = field(default_factory=ValidationSettings)

    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)

    loader: LoaderSettings = field(default_factory=LoaderSettings)

    def __post_init__(self) -> None:
        for name in AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.targets not in get_args(Targets):
            raise ValueError(
                f"targets must be one of {', '.join(get_args(Targets))}, got {self.targets!r}"
            )
        minutes = self.max_minutes
        if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
            raise ValueError(f"max_minutes must be positive, got {minutes}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, got {self.ema_decay}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")
        check_label_set(self.label_set)
        self._check_together()

    def _check_together(self) -> None:
        """Check what depends on more than one part."""
        if self.schedule.warmup_steps >= self.num_steps:
            raise ValueError(
                f"schedule.warmup_steps must be below num_steps ({self.num_steps}), "
                f"got {self.schedule.warmup_steps}"
            )
        if self.compute.deterministic and self.max_minutes is not None:
            raise ValueError(
                "max_minutes must be unset where compute.deterministic is set, "
                f"got {self.max_minutes}"
            )
        if self.targets == "soft" and self.label_set != 0:
            raise ValueError(f"label_set must be 0 where targets is soft, got {self.label_set!r}")
        check_loss_targets(self.loss, "soft" if self.learns_soft else "hard")

    @property
    def learns_soft(self) -> bool:
        """Whether each pixel has a weight for each class, in place of one class."""
        return self.targets == "soft" or self.label_set == "soft"
