"""The training loop: `train` takes steps, `step` updates the weights, `learn` finds gradients.

Which samples a step sees, how they are turned and which features are dropped depends on seed and
step alone; so a run that goes on from a checkpoint ends with the weights of one that never stopped,
bit for bit on a CPU. Inside a step the host never waits for the device. All ranks take the same
steps; the first of them writes what all share.
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exastorm.config import to_dict
from exastorm.errors import InputError
from exastorm.networks.build import build_network
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.operations import count_layers
from exastorm.networks.record import MODEL_NAME
from exastorm.parallel.cluster import Cluster
from exastorm.progress import ProgressBar
from exastorm.samples.batch import Batch
from exastorm.train.best import BestModel
from exastorm.train.checkpoint import CheckpointStore
from exastorm.train.compiling import forward_of
from exastorm.train.data import TrainingData
from exastorm.train.device import ComputePlan
from exastorm.train.ema import WeightAverage
from exastorm.train.guard import DivergedError, Stepper, make_stepper
from exastorm.train.meter import RunLog
from exastorm.train.run_folder import check_same_settings
from exastorm.train.schedule import rate_factor
from exastorm.train.settings import TrainSettings
from exastorm.train.staged import SamplesHere
from exastorm.train.stopping import StopRequest
from exastorm.train.together import Together
from exastorm.train.validation import validate
from exastorm.train.workers import BatchWorkers, cut, part_seed
from exastorm.variables import NUM_CLASSES


class Trainer:
    """One training, from the settings to the last step.

    Attributes:
        step_number: Steps done.
        minutes: Time trained in earlier attempts, minutes.
        clock: The same by the first rank's clock, when ranks last agreed; the same on all.
        loss: Loss of the step whose gradients were used last, nats; a scalar on the device.
        weight: Sum of the loss weights of its samples.
    """

    settings: TrainSettings
    run: Path
    together: Together

    # What learns, from what.
    data: TrainingData
    plan: ComputePlan
    network: SegmentationNetwork
    workers: BatchWorkers
    stepper: Stepper
    average: WeightAverage | None

    # Where it stands.
    step_number: int
    minutes: float
    clock: float
    loss: Tensor
    weight: Tensor
    best: BestModel

    def __init__(
        self,
        samples: SamplesHere | str | Path,
        run: Path,
        settings: TrainSettings,
        cluster: Cluster,
        plan: ComputePlan,
    ) -> None:
        self.settings, self.run, self.plan = settings, run, plan
        self.data = TrainingData(samples, settings, cluster.world, plan.device)
        index = self.data.store.index
        torch.manual_seed(settings.seed)
        self.network = build_network(
            settings.network, len(index.channels), NUM_CLASSES, len(index.lon)
        )
        plan.place(self.network.train())
        self.network.recompute = settings.compute.recompute
        self.together = Together(
            cluster, self.network, settings.exchange, settings.control, settings.cluster.timeout_s
        )
        self.together.find = self.data.bad_samples
        self.workers = BatchWorkers(
            forward_of(self.network, plan.compile),
            list(self.network.parameters()),
            settings.loss,
            plan,
            self.data.class_weights,
            settings.part_size,
        )
        self.stepper = make_stepper(self.network, settings.optimizer, plan)
        decay = settings.ema_decay
        self.average = None if decay is None else WeightAverage(self.network, decay)
        self.step_number, self.minutes, self.clock = 0, 0.0, 0.0
        self.loss, self.weight = torch.tensor(math.nan), torch.tensor(0.0)
        path = run / MODEL_NAME if self.together.is_first else None
        self.best = BestModel(path, index, settings, self.data.class_weights)
        self._untold: list[float] = []
        self._started = time.perf_counter()

    def train(self, checkpoints: CheckpointStore, stop: StopRequest) -> None:
        """Take all steps, or those until a stop is asked for; log, score and save on the way.

        Raises:
            InputError: For a sample or steps that go wrong; what was done before is saved.
        """
        size, cost = self.data.plan.global_batch, self.tflop_per_sample()
        folder = self.run if self.together.is_first else None
        self.together.begin()
        with RunLog(folder, size, self.step_number, cost, self.data.wait) as log, self.workers:
            log.record_steps(self._untold)
            try:
                self._take_steps(log, checkpoints, stop)
            except InputError:
                checkpoints.save(self.state_dict(log), self.step_number)
                raise

    def _take_steps(self, log: RunLog, checkpoints: CheckpointStore, stop: StopRequest) -> None:
        """The steps of `train`."""
        settings = self.settings
        with ProgressBar("train", settings.num_steps, self.together.is_first) as bar:
            bar.advance(self.step_number)
            for batch in self.data.batches(self.step_number):
                log.record_step(self.step(batch))
                stopped = self.agree(stop=stop.requested is not None)
                over = self.progress() >= 1.0
                if over or self.step_number % settings.log_interval == 0:
                    self.write_steps(log)
                if over or self.step_number % settings.validation.interval == 0:
                    scores, late = self.validate(), self.together.stragglers()
                    log.write_validation(self.step_number, self.minutes_now(), scores, late)
                ends = over or self.best.reached_target or stopped
                if ends or checkpoints.is_due(self.step_number):
                    checkpoints.save(self.state_dict(log), self.step_number)
                bar.advance(note=log.note)
                if ends:
                    return

    def agree(self, *, stop: bool) -> bool:
        """Whether any rank wants to stop; takes the time from the first rank."""
        told = self.together.agree(self.step_number, stop=stop, clock=self.minutes_now())
        self.clock = self.clock if told[1] is None else told[1]
        return told[0]

    def step(self, batch: Batch) -> Tensor:
        """Update the weights by one batch; returns its loss."""
        self.set_learning_rate()
        if self.learn(batch):
            step, scaled = self.step_number - self.together.lag, self.together.exchange is None
            self.stepper.step(self.loss, step, self.weight == 0, scaled=scaled)
            if self.average is not None:
                self.average.update(self.stepper.skipped)
        self.step_number += 1
        return self.loss

    def learn(self, batch: Batch) -> bool:
        """Set the gradients, with loss and weight of the batch that they are of.

        That is this batch, or with lag the one before; False if there is none.
        """
        exchange, rank = self.together.exchange, self.data.world.rank
        seed_of = partial(part_seed, self.settings.seed, self.step_number, rank)
        whole = self.together.whole_of(batch)
        if exchange is None:
            self.weight = whole.total_weight()
            self.loss = self.workers.forward_backward(batch, seed_of, self.stepper.scale, whole)
            return True
        extra = self.workers.forward_exchange(batch, seed_of, self.stepper.scaler, exchange, whole)
        if extra is not None:
            # The buffer that they are in is used again.
            self.loss, self.weight = extra.clone().unbind()
        return extra is not None

    def set_learning_rate(self) -> None:
        """Give the optimizer the learning rate of the next step."""
        factor = rate_factor(self.settings.schedule, self.step_number, self.progress())
        self.stepper.set_rate(factor)

    def validate(self) -> dict[str, Any]:
        """Score the weights, and keep them if they are the best; returns the scores."""
        settings = self.settings.validation
        if self.average is None:
            return self._score(settings)
        with self.average.swapped():
            return self._score(settings)

    def _score(self, settings: Any) -> dict[str, Any]:
        """Score the network as it is, and offer it as the best."""
        batches, weights = self.data.validation_batches(), self.data.class_weights.tolist()
        scores = validate(self.network, batches, weights, settings, self.plan, self.together.sum)
        self.best.offer(self.network, self.step_number, scores)
        return scores

    def tflop_per_sample(self) -> float:
        """Dense operations of training on one sample, as the paper's table has them."""
        index = self.data.store.index
        table = count_layers(self.network, len(index.channels), len(index.lat), len(index.lon))
        return float(table.totals()["training_tflop_dense"])

    def write_steps(self, log: RunLog) -> None:
        """Write a line about the steps since the last one, after a look at those that were bad.

        Raises:
            DivergedError: If too many in a row were not finite, naming samples of the last one.
        """
        bad = self.stepper.check()
        log.write_steps(self.step_number, self.minutes_now(), self.stepper.rate, bad.num_total)
        if bad.num_in_a_row >= self.settings.max_bad_steps:
            error = DivergedError(
                f"loss or gradients were not finite in {bad.num_in_a_row} steps in a row, the last "
                f"of them step {bad.last_step + 1}; look at these samples, or lower "
                f"optimizer.learning_rate ({self.settings.optimizer.learning_rate:g})",
                file=self.data.store.path,
                time=", ".join(self.bad_times(bad.last_step)) or None,
            )
            error.is_told = not self.together.is_first
            raise error

    def bad_times(self, step: int) -> list[str]:
        """Times of the samples of a step, on all ranks, whose own loss is not finite, or of all."""
        times = self.data.times_of_step(step)
        samples = cut(next(self.data.batches(step)), len(times)) if times else []
        bad = [not math.isfinite(float(self.workers.loss_of(sample))) for sample in samples]
        found = [time for time, is_bad in zip(times, bad, strict=True) if is_bad]
        return self.together.gather(found) or self.together.gather(times)

    def progress(self) -> float:
        """How much of the run is over, 0 to 1: by steps or by the clock, whichever is further."""
        by_clock = self.clock / (self.settings.max_minutes or math.inf)
        return min(1.0, max(self.step_number / self.settings.num_steps, by_clock))

    def is_over(self) -> bool:
        """True after the last step, when the time is up, or when the target is reached."""
        return self.progress() >= 1.0 or self.best.reached_target

    def minutes_now(self) -> float:
        """Time trained so far, minutes."""
        return self.minutes + (time.perf_counter() - self._started) / 60.0

    def state_dict(self, log: RunLog) -> dict[str, Any]:
        """All that a run needs to go on as if it had never stopped."""
        return {
            "network": self.network.state_dict(),
            "stepper": self.stepper.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "exchange": self.together.state_dict(),
            "step": self.step_number,
            "position": list(self.data.position_of(self.step_number)),
            "order": self.data.plan.order_id,
            "minutes": self.minutes_now(),
            "loss": self.loss,
            "untold_losses": log.untold_losses(),
            "bad_samples": self.together.found(),
            "samples": self.data.store.index.checksums,
            "settings": to_dict(self.settings),
            "best": self.best.state_dict(),
            "random_state": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where a checkpoint was written.

        Raises:
            InputError: If the run began with other samples or settings.
        """
        check_same_settings(to_dict(self.settings), state["settings"], self.run)
        if state["samples"] != self.data.store.index.checksums:
            raise InputError(
                f"a resumed run must keep its samples, got others in {self.data.store.path}",
                file=self.run,
            )
        self.network.load_state_dict(state["network"])
        self.stepper.load_state_dict(state["stepper"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.together.load_state_dict(state["exchange"])
        self.step_number = state["step"]
        self.minutes = self.clock = state["minutes"]
        self.data.start_at(state["position"], self.step_number, state["order"])
        self.loss, self._untold = state["loss"], state["untold_losses"]
        self.together.recall(state["bad_samples"])
        self.best.load_state_dict(state["best"])
        torch.set_rng_state(state["random_state"])
