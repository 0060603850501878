"""The training loop: `train` takes steps, `step` updates the weights, `forward_backward` learns.

Which samples a step sees, and how they are turned, depends on seed and step alone; so a run that
goes on from a checkpoint ends with the weights of one that never stopped, bit for bit on a CPU.
"""

import math
import time
from pathlib import Path

import torch

from exastorm.errors import InputError
from exastorm.networks.build import build_network
from exastorm.networks.deeplab import DeepLab
from exastorm.networks.record import MODEL_NAME
from exastorm.parallel.world import World
from exastorm.progress import ProgressBar
from exastorm.samples.dataset import Batch
from exastorm.train.best import BestModel
from exastorm.train.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from exastorm.train.data import TrainingData
from exastorm.train.device import ComputePlan, compute_mode
from exastorm.train.meter import RunLog
from exastorm.train.optimizer import build_optimizer, learning_rate_at, progress_of
from exastorm.train.run_folder import resume_run, start_run
from exastorm.train.settings import TrainSettings
from exastorm.train.summary import TrainSummary
from exastorm.train.workers import BatchWorkers
from exastorm.variables import NUM_CLASSES


class Trainer:
    """One training, from the settings to the last step.

    Attributes:
        step_number: Steps done.
        minutes: Time trained in earlier attempts, minutes.
        loss: Loss of the last step, nats.
    """

    settings: TrainSettings
    run: Path

    # What learns, from what.
    data: TrainingData
    network: DeepLab
    workers: BatchWorkers
    optimizer: torch.optim.Optimizer

    # Where it stands.
    step_number: int
    minutes: float
    loss: float
    best: BestModel

    def __init__(
        self, samples: Path, run: Path, settings: TrainSettings, world: World, plan: ComputePlan
    ) -> None:
        self.settings, self.run = settings, run
        self.data = TrainingData(samples, settings, world, plan.device)
        index = self.data.store.index
        torch.manual_seed(settings.seed)
        network = build_network(settings.network, len(index.channels), NUM_CLASSES, len(index.lon))
        self.network = network.to(plan.device)
        self.workers = BatchWorkers(plan.num_workers, plan.threads_each)
        self.optimizer = build_optimizer(self.network, settings)
        self.step_number, self.minutes, self.loss = 0, 0.0, math.nan
        self.best = BestModel(run / MODEL_NAME, index, settings, self.data.class_weights)
        self._started = time.perf_counter()

    def train(self) -> None:
        """Take all steps; log, score and save on the way."""
        settings = self.settings
        with (
            RunLog(self.run, self.data.plan.global_batch, self.step_number) as log,
            ProgressBar("train", settings.num_steps) as bar,
            self.workers,
        ):
            bar.advance(self.step_number)
            for batch in self.data.batches(self.step_number):
                log.record_step(self.step(batch))
                over = self.is_over()
                if over or self.step_number % settings.log_interval == 0:
                    log.write_steps(self.step_number, self.minutes_now(), self.learning_rate())
                if over or self.step_number % settings.validation_interval == 0:
                    scores = self.best.offer(
                        self.network, self.step_number, self.data.validation_batches()
                    )
                    log.write_validation(self.step_number, self.minutes_now(), scores)
                if over or self.step_number % settings.checkpoint_interval == 0:
                    self.save()
                bar.advance(note=log.note)
                if over:
                    return

    def step(self, batch: Batch) -> float:
        """Update the weights by one batch; returns its loss."""
        rate = learning_rate_at(self.settings, self.step_number, self.minutes_now())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.loss = self.forward_backward(batch)
        self.optimizer.step()
        self.step_number += 1
        return self.loss

    def forward_backward(self, batch: Batch) -> float:
        """Gradients of one batch; returns its loss.

        Raises:
            InputError: If the loss is not a finite number, naming the samples.
        """
        loss = self.workers.forward_backward(self.network, batch)
        if not math.isfinite(loss):
            raise InputError(
                f"loss became {loss} in step {self.step_number + 1}; look at these samples, or "
                f"lower learning_rate ({self.settings.learning_rate:g})",
                file=self.data.store.path,
                time=", ".join(self.data.times_of_step(self.step_number)),
            )
        return loss

    def is_over(self) -> bool:
        """True after the last step, or when the time is up."""
        return progress_of(self.settings, self.step_number, self.minutes_now()) >= 1.0

    def minutes_now(self) -> float:
        """Time trained so far, minutes."""
        return self.minutes + (time.perf_counter() - self._started) / 60.0

    def learning_rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def save(self) -> None:
        """Write a checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step_number,
            "minutes": self.minutes_now(),
            "loss": self.loss,
            "samples": self.data.store.index.checksums,
            "best": self.best.state_dict(),
            "random_state": torch.get_rng_state(),
        }
        save_checkpoint(self.run / CHECKPOINT_NAME, state)

    def load(self) -> None:
        """Go back to where the checkpoint was written.

        Raises:
            InputError: If the run began with other samples, or the checkpoint cannot be read.
        """
        state = load_checkpoint(self.run / CHECKPOINT_NAME)
        if state["samples"] != self.data.store.index.checksums:
            raise InputError(
                f"a resumed run must keep its samples, got others in {self.data.store.path}",
                file=self.run,
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.minutes = state["step"], state["minutes"]
        self.loss = state["loss"]
        self.best.load_state_dict(state["best"])
        torch.set_rng_state(state["random_state"])


def train(
    samples: str | Path,
    run: str | Path,
    settings: TrainSettings,
    world: World | None = None,
    resume: bool = False,
) -> TrainSummary:
    """Train a network on prepared samples.

    The run folder gets settings.yaml, version.txt, log.jsonl, TensorBoard events, the checkpoint,
    and model.safetensors with the weights of the best mean IoU on the validation split.

    Args:
        samples: Folder that `prepare_samples` made.
        run: Folder to make, or with `resume` the one to go on in.
        settings: How to train; with `resume` the defaults, or those of the run.
        world: Where this process sits; None for one process.
        resume: Go on from the checkpoint in `run`.

    Raises:
        InputError: If samples or checkpoint can't be used, the settings don't fit them, or the loss
            is not a finite number.
    """
    samples, run, world = Path(samples), Path(run), world or World.single()
    if world.num_ranks > 1:
        raise InputError(f"training must be in one process, got num_ranks {world.num_ranks}")
    if resume:
        settings = resume_run(run, settings)
    with compute_mode(settings) as plan:
        trainer = Trainer(samples, run, settings, world, plan)
        if resume:
            trainer.load()
        else:
            start_run(run, settings)
        if not trainer.is_over():
            trainer.train()
    return TrainSummary(
        run=str(run),
        model=str(run / MODEL_NAME),
        num_steps=trainer.step_number,
        minutes=trainer.minutes_now(),
        final_loss=trainer.loss,
        best_step=trainer.best.step,
        best_mean_iou=trainer.best.mean_iou,
        best_iou=trainer.best.iou,
    )
