"""Gradients of a batch, part by part: side by side on CPU threads, one after the other in each.

Two threads inside every operation must meet at its end, hundreds of times a step; where another
program holds a core for a moment, both wait (measured on two cores beside one busy program: a tenth
of the speed). Two threads that each take half of the batch meet once a step: as fast alone,
and robust in company. Which worker takes which part, and the order in which gradients are added, is
fixed; so they repeat their rounding. Dropout is seeded by step and part alone.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from exastorm.networks.dropout import seed_dropout
from exastorm.networks.losses import LossSettings, segmentation_loss
from exastorm.parallel.gradients import GradientExchange
from exastorm.samples.batch import Batch
from exastorm.train.compiling import Forward
from exastorm.train.device import ComputePlan
from exastorm.train.precision import LossScaler, autocast

Gradients = Sequence[Tensor]

Learner = Callable[[int, Batch], tuple[Tensor, Gradients]]
"""From number and samples of a part of a batch to its loss and gradients."""


@dataclass(frozen=True)
class Whole:
    """What a batch is a part of: the batches of all ranks in a step.

    Attributes:
        total_weight: Gives the sum of all weights, when it is needed.
        num_samples: Samples in all of them.
    """

    total_weight: Callable[[], Tensor]
    num_samples: int

    @classmethod
    def of(cls, batch: Batch) -> "Whole":
        """A batch that is the whole."""
        total = batch.total_weight
        return cls(lambda: total, len(batch.field))


def part_seed(seed: int, step: int, rank: int, part: int) -> int:
    """Seed of dropout in one part of a batch: 63 bits that differ by each of the four numbers."""
    words = np.random.Philox(
        key=np.array([seed, step], dtype=np.uint64),
        counter=np.array([0, rank, part, 0], dtype=np.uint64),
    ).random_raw(1)
    return int(words[0]) >> 1


class BatchWorkers:
    """Threads that learn from parts of a batch, as a context manager.

    Attributes:
        num_workers: Threads; each takes every `num_workers`-th part.
    """

    def __init__(
        self,
        forward: Forward,
        parameters: Sequence[Tensor],
        loss: LossSettings,
        plan: ComputePlan,
        class_weights: Tensor,
        part_size: int | None = None,
    ) -> None:
        """Start the threads.

        Args:
            forward: From fields (B, C, H, W) to logits (B, K, H, W), on the device.
            parameters: What is learned.
            loss: From logits to loss.
            plan: Device, workers, threads of each, layout, numbers.
            class_weights: Loss weight of each class (K,).
            part_size: Most samples of a part; None gives each worker one part.
        """
        self.num_workers = plan.num_workers
        self._forward = forward
        self._parameters = list(parameters)
        self._loss = loss
        self._plan = plan
        self._class_weights = class_weights.to(plan.device)
        self._part_size = part_size
        self._executor = ThreadPoolExecutor(
            self.num_workers,
            thread_name_prefix="learn",
            # OpenMP counts threads anew in every thread that uses it.
            initializer=torch.set_num_threads,
            initargs=(plan.threads_each,),
        )

    def __enter__(self) -> "BatchWorkers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def forward_backward(
        self,
        batch: Batch,
        seed_of_part: Callable[[int], int],
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
        whole: Whole | None = None,
    ) -> Tensor:
        """Set the gradients of all parameters to those of a batch.

        Args:
            batch: On the device.
            seed_of_part: Seed of dropout by the number of a part.
            scale: What is done to a loss before its gradients are taken (fp16).
            whole: What the batch is a part of; None for nothing else.

        Returns:
            The loss of the batch, a scalar on the device; nobody has waited for it.
        """
        learn = self._learner(seed_of_part, scale, whole or Whole.of(batch))
        loss, gradients = self._side_by_side(self._parts_of(batch), learn)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def forward_exchange(
        self,
        batch: Batch,
        seed_of_part: Callable[[int], int],
        scaler: LossScaler,
        exchange: GradientExchange,
        whole: Whole,
    ) -> Tensor | None:
        """Set the gradients of all parameters to those of all ranks' batches.

        With lag they are those of the step before. They are not scaled. They are exchanged while
        backward runs; where parts are computed side by side, when all are there.

        Args:
            batch: This rank's, on the device.
            seed_of_part: Seed of dropout by the number of a part.
            scaler: What is done to a loss before its gradients are taken (fp16).
            exchange: Of gradients, loss, and weight.
            whole: What the batch is a part of.

        Returns:
            Sums over ranks of loss and weight of the step whose gradients these are (2,); None if
            there are none yet.
        """
        parts, learn = self._parts_of(batch), self._learner(seed_of_part, scaler.scale, whole)
        weight = batch.total_weight
        # The scale may be another by the time that gradients are used.
        exchange.divisor = scaler.factor if scaler.enabled else None
        if self.num_workers > 1:
            loss, gradients = self._side_by_side(parts, learn)
            ready = exchange.exchange(gradients, [loss, weight])
        else:
            losses: list[Tensor] = []
            runs = [
                lambda number=number: losses.append(learn(number, parts[number])[0])
                for number in range(len(parts))
            ]
            ready = exchange.learn(runs, lambda: [torch.stack(losses).sum(), weight])
        return exchange.extra if ready else None

    @torch.no_grad()
    def loss_of(self, batch: Batch) -> Tensor:
        """Loss of a batch by itself, a scalar; nothing is learned."""
        whole = Whole.of(batch)
        return self._loss_of(batch, whole.total_weight, whole.num_samples)

    def _learner(
        self, seed_of_part: Callable[[int], int], scale: Callable[[Tensor], Tensor], whole: Whole
    ) -> Learner:
        """What finds loss and gradients of one part, by its number."""

        def learn(number: int, part: Batch) -> tuple[Tensor, Gradients]:
            seed_dropout(seed_of_part(number))
            loss = self._loss_of(part, whole.total_weight, whole.num_samples)
            return loss.detach(), torch.autograd.grad(scale(loss), self._parameters)

        return learn

    def _side_by_side(self, parts: list[Batch], learn: Learner) -> tuple[Tensor, Gradients]:
        """Loss and gradients of all parts together."""

        def work(worker: int) -> tuple[Tensor, Gradients]:
            losses, gradients = [], None
            for number in range(worker, len(parts), self.num_workers):
                loss, found = learn(number, parts[number])
                losses.append(loss)
                # Kept apart from what a replayed graph will write its next gradients to.
                gradients = _sum_of(gradients, found, keep=len(parts) > 1)
            assert gradients is not None
            return torch.stack(losses).sum(), gradients

        workers = range(min(self.num_workers, len(parts)))
        results = [work(0)] if len(workers) == 1 else list(self._executor.map(work, workers))
        gradients: Gradients | None = None
        for _, found in results:
            gradients = _sum_of(gradients, found)
        assert gradients is not None
        return torch.stack([loss for loss, _ in results]).sum(), gradients

    def _parts_of(self, batch: Batch) -> list[Batch]:
        """The parts that a batch is learned in."""
        return cut(batch, self.num_parts(len(batch.field)))

    def num_parts(self, num_samples: int) -> int:
        """Parts that so many samples are cut into."""
        parts = min(self.num_workers, num_samples)
        if self._part_size is not None:
            parts = max(parts, -(-num_samples // self._part_size))
        return parts

    def _loss_of(self, part: Batch, total: Callable[[], Tensor], num_samples: int) -> Tensor:
        """Loss of a part of a batch; parts add up to the whole batch's."""
        # Here, in the worker: each thread has its own autocast.
        with autocast(self._plan.device, self._plan.precision):
            logits = self._forward(part.field.contiguous(memory_format=self._plan.memory_format))
        return segmentation_loss(
            logits,
            part.label,
            part.weight,
            self._loss,
            # Other ranks' weights have had the forward pass to arrive.
            total_weight=total(),
            num_samples=num_samples,
            class_weight=self._class_weights,
        )


def _sum_of(so_far: Gradients | None, found: Gradients, keep: bool = False) -> Gradients:
    """Gradients added to those so far, in their place; with `keep` the first are copied."""
    if so_far is None:
        return [g.clone() for g in found] if keep else found
    torch._foreach_add_(list(so_far), list(found))
    return so_far


def cut(batch: Batch, num_parts: int) -> list[Batch]:
    """A batch in parts of nearly equal size, at most one a sample."""
    num_parts = min(num_parts, len(batch.field))
    pieces = [torch.tensor_split(tensor, num_parts) for tensor in batch]
    return [Batch(*piece) for piece in zip(*pieces, strict=True)]
