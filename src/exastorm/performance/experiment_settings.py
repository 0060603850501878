"""Experiments as files: one question, a climate, and arms that differ in little.

```yaml
question: Does it matter how the losses of rare classes are weighted?
climate: climate96            # a file beside this one, with sections synthesize, label, prepare
train: {batch_size: 8}        # common to all arms, as in any settings file
arms:
  none: {train: {loss: {weight_law: none}}}
  4 channels: {prepare: {channels: [TMQ, U850, V850, PRECT]}}
```

Two trainings are the same if all that can change their weights is the same; `settings_hash` names
what that is, so that arms which several experiments share are trained once.
"""

import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from exastorm import __version__
from exastorm.config import from_dict, load_settings, merge, read_yaml, suggestion, to_dict
from exastorm.errors import InputError
from exastorm.labels.settings import LabelSettings
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.samples.settings import PrepareSettings
from exastorm.train.run_folder import flat
from exastorm.train.settings import TrainSettings

HASH_LENGTH = 8
"""Hexadecimal digits of a settings hash."""

NO_MATTER = (
    "compute.device", "compute.num_threads", "checkpoint.", "loader.", "log_interval",
    "num_workers", "scheduler", "block_size", "overwrite",
)  # fmt: skip
"""Beginnings of settings of any stage on which no result hangs, but for its rounding."""


@dataclass(frozen=True, kw_only=True)
class ClimateSettings:
    """A made-up climate with its labels, and how samples are made of it."""

    synthesize: SyntheticSettings = field(default_factory=SyntheticSettings)

    label: LabelSettings = field(default_factory=LabelSettings)

    prepare: PrepareSettings = field(default_factory=PrepareSettings)


@dataclass(frozen=True, kw_only=True)
class ArmFile:
    """What an arm changes, as nested plain values."""

    train: dict[str, Any] = field(default_factory=dict)
    prepare: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExperimentFile:
    """An experiment as it is written down."""

    question: str
    climate: str
    arms: dict[str, dict[str, Any] | None]
    train: dict[str, Any] = field(default_factory=dict)
    prepare: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things an experiment compares.

    Attributes:
        name: What tables call it.
        train: How it is trained; the seed is that of each repetition.
        prepare: How its samples are made.
    """

    name: str
    train: TrainSettings
    prepare: PrepareSettings


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question and what is compared to answer it.

    Attributes:
        name: Name of the file.
        question: What it asks.
        climate_name: Name of the climate's file.
        climate: The climate.
        arms: What is compared, in the order of the file.
    """

    name: str
    question: str
    climate_name: str
    climate: ClimateSettings
    arms: tuple[Arm, ...]


def shipped_folder() -> Path:
    """Where the experiments that come with the package lie."""
    return Path(str(resources.files("exastorm") / "configs" / "experiments"))


def shipped_experiments() -> list[str]:
    """Names of the experiments that come with the package; the climates beside them are none."""
    return sorted(f.stem for f in shipped_folder().glob("*.yaml") if "arms" in read_yaml(f))


def load_experiment(name: str) -> Experiment:
    """Read an experiment, every arm of it checked.

    Args:
        name: Path of a YAML file, or the name of one that comes with the package.

    Raises:
        InputError: If there is none, or a key or value of it or of its climate is wrong.
    """
    path = Path(name)
    if not path.is_file():
        if name not in shipped_experiments():
            raise InputError(
                f"must be an experiment's YAML file or a shipped experiment, got {name!r}"
                f"{suggestion(name, shipped_experiments())}"
            )
        path = shipped_folder() / f"{name}.yaml"
    content = load_settings(ExperimentFile, path)
    if not content.arms:
        raise InputError("arms must name at least one, got none", file=path)
    climate_path = path.parent / f"{content.climate}.yaml"
    if not climate_path.is_file():
        raise InputError(
            f"climate must be the name of a file beside it, got {content.climate!r}", file=path
        )
    climate = load_settings(ClimateSettings, climate_path)
    return Experiment(
        name=path.stem,
        question=content.question,
        climate_name=content.climate,
        climate=climate,
        arms=tuple(_arm(name, content, climate, path) for name in content.arms),
    )


def _arm(name: str, content: ExperimentFile, climate: ClimateSettings, path: Path) -> Arm:
    """One arm: the climate's way to samples, under what all arms share, under its own changes."""
    common = {"train": content.train, "prepare": content.prepare}
    under = {"train": {}, "prepare": to_dict(climate.prepare)}
    try:
        own = to_dict(from_dict(ArmFile, content.arms[name] or {}))
        merged = merge(merge(under, common), own)
        return Arm(
            name=name,
            train=from_dict(TrainSection, {"train": merged["train"]}).train,
            prepare=from_dict(PrepareSection, {"prepare": merged["prepare"]}).prepare,
        )
    except InputError as error:
        raise InputError(f"arm {name!r}: {error.problem}", file=path) from None


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """Settings of training under their name, so that messages have it."""

    train: TrainSettings


@dataclass(frozen=True, kw_only=True)
class PrepareSection:
    """Settings of samples under their name, so that messages have it."""

    prepare: PrepareSettings


def settings_hash(*stages: Any) -> str:
    """A short name for all that matters in the settings of some stages.

    It is made of what differs from the defaults, so that a setting which is added later, and by
    default changes nothing, leaves it as it is; and of the version, for defaults that change.

    Args:
        *stages: Settings dataclasses whose fields all have defaults.
    """
    changes = [{type(stage).__name__: _changes(stage)} for stage in stages]
    text = json.dumps([__version__, *changes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def _changes(settings: Any) -> dict[str, object]:
    """Settings that matter and are not the defaults, by dotted name."""
    default = flat(to_dict(type(settings)()))
    return {
        name: value
        for name, value in flat(to_dict(settings)).items()
        if value != default[name] and not name.startswith(NO_MATTER)
    }
