"""A training from the door: new or resumed, until the last step or a signal."""

import math
from pathlib import Path
from typing import Any, Literal

import torch

from exastorm.errors import InputError
from exastorm.networks.record import MODEL_NAME
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.sharing import share
from exastorm.parallel.world import World
from exastorm.samples.zarr_source import is_address
from exastorm.train.best import best_that_is_left
from exastorm.train.checkpoint import CheckpointStore, NoCheckpoints, has_checkpoint
from exastorm.train.data import TrainingData
from exastorm.train.device import compute_mode, plan_compute
from exastorm.train.loop import Trainer
from exastorm.train.run_folder import (
    SETTINGS_NAME,
    check_is_new,
    resume_run,
    samples_of_run,
    start_run,
)
from exastorm.train.settings import TrainSettings
from exastorm.train.staged import samples_here
from exastorm.train.stopping import StopRequest
from exastorm.train.summary import TrainSummary


def train(
    samples: str | Path | None,
    run: str | Path,
    settings: TrainSettings | None,
    cluster: Cluster | None = None,
    resume: bool | Literal["if_there"] = False,
) -> TrainSummary:
    """Train a network on prepared samples.

    The run folder gets settings.yaml, version.txt, samples.txt, log.jsonl, TensorBoard events,
    checkpoints, and model.safetensors with the weights of the best score on the validation split.
    SIGTERM and SIGINT end it after the step under way, with a checkpoint.

    Args:
        samples: Folder or address, as `open_samples` takes it; with `resume` None means that of
            the run.
        run: Folder to make, or with `resume` the one to go on in.
        settings: How to train; None takes the defaults, with `resume` those of the run.
        cluster: All ranks, of which each calls this; None for one process. The run folder need be
            seen by the first rank alone.
        resume: Go on from the last whole checkpoint in `run`; "if_there" if it holds a run at all.

    Raises:
        InputError: If samples or checkpoints can't be used, the settings don't fit them, or too
            many steps in a row had no finite loss.
    """
    run, cluster = Path(run), cluster or Cluster.alone()
    num_ranks = cluster.world.num_ranks
    samples, settings, resume = share(
        cluster, lambda: _what_to_train(samples, run, settings, resume, num_ranks)
    )
    one_worker = settings.network.norm == "batch"
    plan = plan_compute(settings.compute, settings.batch_size, one_worker=one_worker)
    with (
        compute_mode(settings.compute, plan),
        StopRequest() as stop,
        samples_here(cluster, samples, settings.stage) as here,
    ):
        trainer = Trainer(here, run, settings, cluster, plan)
        kind = CheckpointStore if cluster.world.is_first else NoCheckpoints
        # What goes wrong on one rank, also with its files, all hear of.
        with trainer.together, kind(run, settings.checkpoint) as checkpoints:
            if not resume and cluster.world.is_first:
                start_run(run, samples, settings)
            # A run that ended before its first checkpoint begins again.
            state = share(cluster, lambda: _last_state(checkpoints, run)) if resume else None
            if state is not None:
                trainer.load_state_dict(state)
            if not trainer.is_over():
                trainer.train(checkpoints, stop)
            elif trainer.best.step < 0:
                # The file of the best weights was lost: the last ones take its place.
                trainer.validate()
        here.is_needed_again = not trainer.is_over()
    return summary_of(trainer, stop.requested)


def check(
    samples: str | Path | None,
    run: Path,
    settings: TrainSettings,
    num_ranks: int,
    resume: bool | Literal["if_there"],
) -> None:
    """Refuse what `train` would refuse on ranks of this machine before its first step.

    Args:
        samples: As of `train`.
        run: As of `train`.
        settings: As of `train`.
        num_ranks: All ranks.
        resume: As of `train`.

    Raises:
        InputError: As `train` does, but for what only a checkpoint or a sample tells.
    """
    samples, settings, _ = _what_to_train(samples, run, settings, resume, num_ranks)
    plan_compute(settings.compute, settings.batch_size)
    world = World(rank=0, placement=(0,) * num_ranks)
    TrainingData(samples, settings, world, torch.device("cpu"))


def _last_state(checkpoints: CheckpointStore, run: Path) -> dict[str, Any] | None:
    """The state of the last whole checkpoint; None for a run that ended before its first.

    Raises:
        InputError: If none is whole.
    """
    if not has_checkpoint(run):
        return None
    state = checkpoints.load()[0]
    state["best"] = best_that_is_left(run / MODEL_NAME, state["best"])
    return state


def _what_to_train(
    samples: str | Path | None,
    run: Path,
    settings: TrainSettings | None,
    resume: bool | Literal["if_there"],
    num_ranks: int,
) -> tuple[str | Path, TrainSettings, bool]:
    """Samples and settings of a new or resumed run, and which it is.

    Raises:
        InputError: If there are none, they are not the run's, or not for so many ranks.
    """
    if resume == "if_there":
        resume = (run / SETTINGS_NAME).is_file()
    if resume:
        settings = resume_run(run, settings)
        samples = samples_of_run(run) if samples is None else samples
    else:
        check_is_new(run)
    if samples is None:
        raise InputError("a new training must be given samples, got none")
    samples = samples if is_address(samples) else Path(samples)
    if isinstance(samples, Path) and samples.resolve() in (run.resolve(), *run.resolve().parents):
        raise InputError("a run must have a folder of its own, got one in its samples", file=run)
    settings = settings or TrainSettings()
    if num_ranks > 1 and settings.network.norm == "batch":
        raise InputError("network.norm must be group where several ranks train, got batch")
    return samples, settings, resume


def summary_of(trainer: Trainer, signal: str | None) -> TrainSummary:
    """What a training came to, if a signal ended it before its last step or not."""
    loss = float(trainer.loss)
    return TrainSummary(
        run=str(trainer.run),
        model=str(trainer.run / MODEL_NAME),
        num_steps=trainer.step_number,
        minutes=trainer.minutes_now(),
        final_loss=loss if math.isfinite(loss) else None,
        best_step=trainer.best.step,
        best_mean_iou=trainer.best.mean_iou,
        best_iou=trainer.best.iou,
        num_bad_steps=trainer.stepper.check().num_total,
        bad_samples=trainer.together.found(),
        stragglers=tuple(trainer.together.stragglers()),
        # Any rank may have been asked to stop.
        stopped_by=None if trainer.is_over() else signal or "a signal to another rank",
        reached_target=trainer.best.reached_target,
        data_wait_share=trainer.data.wait.share,
    )
