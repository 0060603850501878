"""The folder of one run: what it is called inside, and what a new or resumed run may find there."""

import platform
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import exastorm
from exastorm.config import load_settings, save_settings, to_dict
from exastorm.errors import InputError
from exastorm.train.checkpoint import CHECKPOINT_NAME
from exastorm.train.settings import TrainSettings

SETTINGS_NAME = "settings.yaml"
VERSION_NAME = "version.txt"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """settings.yaml of a run: a section named as the command, so that `--config` takes the file."""

    train: TrainSettings = field(default_factory=TrainSettings)


def start_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder of a new run and write down its settings and versions.

    Raises:
        InputError: If the folder holds a run that can be resumed.
    """
    if (run / CHECKPOINT_NAME).exists():
        raise InputError("holds a run already; resume it, or choose another folder", file=run)
    run.mkdir(parents=True, exist_ok=True)
    save_settings(RunSettings(train=settings), run / SETTINGS_NAME)
    versions = {
        "exastorm": exastorm.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    text = "".join(f"{name} {version}\n" for name, version in versions.items())
    (run / VERSION_NAME).write_text(text, encoding="utf-8")


def resume_run(run: Path, settings: TrainSettings) -> TrainSettings:
    """The settings a run goes on with: its own.

    Raises:
        InputError: If there is nothing to resume, or a setting is given that is not the run's.
    """
    if not (run / CHECKPOINT_NAME).is_file():
        raise InputError("must hold a checkpoint to resume from, got none", file=run)
    own = load_settings(RunSettings, run / SETTINGS_NAME).train
    given, kept, default = (to_dict(s) for s in (settings, own, TrainSettings()))
    changed = [n for n in kept if given[n] != kept[n] and given[n] != default[n]]
    if changed:
        pairs = ", ".join(f"{n} {kept[n]} (got {given[n]})" for n in changed)
        raise InputError(f"a resumed run must keep its settings: {pairs}", file=run)
    return own
