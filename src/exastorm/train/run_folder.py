"""The folder of one run: what it is called inside, and what a new or resumed run may find there."""

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import exastorm
from exastorm.config import load_settings, read_yaml, to_dict
from exastorm.errors import InputError
from exastorm.networks.record import replace_file
from exastorm.samples.zarr_source import is_address
from exastorm.train.checkpoint import has_checkpoint
from exastorm.train.settings import TrainSettings

SETTINGS_NAME = "settings.yaml"
VERSION_NAME = "version.txt"
SAMPLES_NAME = "samples.txt"

MAY_CHANGE = (
    "compute.",
    "cluster.",
    "control.",
    "exchange.allreduce.",
    "exchange.bucket_mb",
    "exchange.order",
    "exchange.check_interval",
    "loader.",
    "checkpoint.",
    "stage.folder",
    "stage.keep",
    "stage.num_",
    "stage.on_corrupt",
    "stage.patience_s",
    "stage.steal_after_s",
    "log_interval",
    "max_bad_steps",
    "skip_bad",
)
"""Beginnings of settings that a resumed run may change. What it learns does not hang on them, but
for the rounding of another device, precision or number of threads, which also cuts batches into
other parts for dropout and batch norm."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """settings.yaml of a run: a section named as the command, so that `--config` takes the file."""

    train: TrainSettings = field(default_factory=TrainSettings)


def start_run(run: Path, samples: str | Path, settings: TrainSettings) -> None:
    """Make the folder of a new run and write down its settings, versions and samples.

    Raises:
        InputError: If the folder holds a run that can be resumed.
    """
    check_is_new(run)
    run.mkdir(parents=True, exist_ok=True)
    versions = {
        "exastorm": exastorm.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    text = "".join(f"{name} {version}\n" for name, version in versions.items())
    (run / VERSION_NAME).write_text(text, encoding="utf-8")
    found = samples if is_address(samples) else Path(samples).resolve()
    (run / SAMPLES_NAME).write_text(f"{found}\n", encoding="utf-8")
    # The last, in one move: a folder with settings is a run that can be gone on with.
    text = yaml.safe_dump(to_dict(RunSettings(train=settings)), sort_keys=False)
    replace_file(run / SETTINGS_NAME, text.encode())


def check_is_new(run: Path) -> None:
    """Refuse a folder for a new run that holds one.

    Raises:
        InputError: If it holds a run that can be resumed.
    """
    if has_checkpoint(run):
        told = f"holds a run already; go on with --resume {run}, or take another folder"
        raise InputError(told, file=run)


def resume_run(run: Path, settings: TrainSettings | None) -> TrainSettings:
    """The settings a run goes on with.

    Args:
        run: The run folder.
        settings: Those asked for, which may differ from the run's in what `MAY_CHANGE` names; None
            takes the run's.

    Raises:
        InputError: If there is nothing to resume, or a setting is given that is not the run's.
    """
    if not (run / SETTINGS_NAME).is_file():
        raise InputError(
            f"must be a run folder to resume, got one without {SETTINGS_NAME}", file=run
        )
    if "train" not in read_yaml(run / SETTINGS_NAME):
        raise InputError("must hold the settings of the run, got none", file=run / SETTINGS_NAME)
    own = load_settings(RunSettings, run / SETTINGS_NAME).train
    if settings is None:
        return own
    check_same_settings(to_dict(settings), to_dict(own), run)
    return settings


def check_same_settings(given: dict[str, Any], kept: dict[str, Any], run: Path) -> None:
    """Refuse settings that are not those a run began with, but for what may change.

    Raises:
        InputError: Naming what differs.
    """
    given, kept = flat(given), flat(kept)
    names = [n for n in {**kept, **given} if not n.startswith(MAY_CHANGE)]
    wrong = [n for n in names if given.get(n) != kept.get(n)]
    if wrong:
        pairs = ", ".join(f"{n} {kept.get(n)} (got {given.get(n)})" for n in wrong)
        raise InputError(f"a resumed run must keep its settings: {pairs}", file=run)


def samples_of_run(run: Path) -> str:
    """The samples that a run learns from.

    Raises:
        InputError: If the run does not say.
    """
    try:
        return (run / SAMPLES_NAME).read_text(encoding="utf-8").strip()
    except OSError:
        raise InputError(
            f"must be a run folder with {SAMPLES_NAME}; else name the samples too", file=run
        ) from None


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as one mapping from dotted names."""
    result: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result
