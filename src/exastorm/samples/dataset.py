"""From shards to field, label and weight tensors, ahead of the device.

Threads read and scale the next batches while the device works on this one; both release Python's
lock, so threads do what worker processes would, without copying samples between them. Which sample
comes when is the sampler's business alone, and random rolls and label sets depend on (seed, epoch,
sample), so neither the number of threads nor a restart changes what a network sees.
"""

import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exastorm.errors import InputError
from exastorm.grid import area_weights, is_global_in_longitude
from exastorm.readers.schema import NO_LABEL
from exastorm.samples.batch import Batch, empty_batch
from exastorm.samples.checking import BadSampleError
from exastorm.samples.label_sets import LabelSet, chosen_label
from exastorm.samples.sampler import (
    IntArray,
    SamplePlan,
    SamplePosition,
    batch_of,
    epoch_order,
    random_word,
    steps_left,
)
from exastorm.samples.scaler import FieldScaler
from exastorm.samples.shards import SampleStore
from exastorm.samples.target_filling import TargetFiller
from exastorm.variables import NUM_CLASSES

__all__ = ["Batch", "LoaderSettings", "SegmentationDataset", "make_loader", "resume_loader"]

ROLL_STREAM = 1
"""Counter word of the rolls' random numbers; the shuffles have 0 there."""


@dataclass(eq=False)
class SegmentationDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Samples of one split as networks see them.

    Attributes:
        store: The samples.
        split: "train", "validation" or "test".
        class_weights: Loss weight of each class (K,); pixels without a label weigh 0.
        soft: Weigh each class in each pixel by the soft labels, in place of each pixel.
        label_set: Which label set is learned: its number, "random" for one drawn at each read, or
            "soft" to weigh each class in each pixel by the share of sets that give it.
        area_weighting: Weigh pixels by their area too, with a mean of 1 over all rows.
        roll: Turn each sample by a random longitude, which costs nothing and shows every storm in
            every place; the globe looks the same to a network that wraps.
        seed: Of the rolls and of the label sets drawn.
        skip_bad: Give a sample that can't be read, or holds what it can't have held when it was
            prepared, as one without any label, and warn; else it stops the run.
        samples: Number in the store of each sample of the split (N,).
        epoch: Epoch of the random rolls and label sets; see `set_epoch`.
        bad_samples: Number in the store of each sample that was left out, and why. Worker processes
            keep their own.

    Raises:
        InputError: If the split is empty, soft labels or label sets are asked for and there are
            none, or rolls on a grid that does not go round the globe.
        ValueError: If weights are missing, or label sets are drawn or voted outside training.
    """

    store: SampleStore
    split: str
    _: KW_ONLY
    class_weights: Sequence[float]
    soft: bool = False
    label_set: LabelSet = 0
    area_weighting: bool = False
    roll: bool = False
    seed: int = 0
    skip_bad: bool = False

    def __post_init__(self) -> None:
        index = self.store.index
        if len(self.class_weights) != NUM_CLASSES:
            raise ValueError(f"class_weights must be {NUM_CLASSES}, got {len(self.class_weights)}")
        if self.roll and not is_global_in_longitude(index.lon):
            raise InputError("roll needs longitudes that go round the globe", file=self.store.path)
        if self.soft:
            self.store.require_soft_labels()
        self.store.require_label_set(self.label_set)
        if self.split != "train" and isinstance(self.label_set, str):
            raise ValueError(f"label_set of {self.split} must be a number, got {self.label_set!r}")
        self.samples = self.store.indices(self.split)
        self.epoch = 0
        self.bad_samples: dict[int, str] = {}
        self._targets = TargetFiller(
            self.class_weights,
            soft=self.soft,
            label_set=self.label_set,
            row_weights=area_weights(index.lat) if self.area_weighting else None,
        )
        self._scaler = FieldScaler(index)
        self._local = threading.local()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but this thread's buffer and the lock, for worker processes."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_local", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local(), _lock=threading.Lock())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random rolls and label sets come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sample at a position of the split.

        Returns:
            Field (C, H, W) float32, scaled; label (H, W) int64, -1 where unlabeled; weight (H, W)
            float32, of soft labels (K, H, W).
        """
        batch = self.empty_batch(1)
        self.fill(int(self.samples[position]), batch, 0, self.epoch)
        return batch.field[0], batch.label[0], batch.weight[0]

    def empty_batch(self, num_samples: int, pin: bool = False) -> Batch:
        """Tensors for a batch, not yet filled; pinned ones for copies to a GPU."""
        layout = self.store.index.layout
        return empty_batch(layout, num_samples, soft=self._targets.is_soft, pin=pin)

    def fill(self, sample: int, batch: Batch, place: int, epoch: int) -> None:
        """Read, check, scale and roll one sample of the store into a place of a batch.

        Raises:
            InputError: If it can't be read, or holds what it can't have held when it was prepared,
                unless bad samples are skipped.
        """
        try:
            self._fill(sample, batch, place, epoch)
        except InputError as error:
            if not self.skip_bad:
                raise
            batch.field[place].zero_()
            batch.label[place].fill_(NO_LABEL)
            batch.weight[place].zero_()
            self._record_bad(sample, error)

    def roll_of(self, sample: int, epoch: int) -> int:
        """Grid columns by which a sample is turned to the east in an epoch."""
        if not self.roll:
            return 0
        word = random_word(self.seed, epoch, sample, ROLL_STREAM)
        return word % self.store.index.layout.shape[2]

    def _fill(self, sample: int, batch: Batch, place: int, epoch: int) -> None:
        """`fill` for a sample that must be good."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = np.empty(self.store.index.layout.stride, np.uint8)
        raw = self.store.read_raw(sample, self._local.buffer)
        label = chosen_label(raw.labels, self.label_set, seed=self.seed, epoch=epoch, sample=sample)
        roll = self.roll_of(sample, epoch)
        field, label_out, weight = (tensor[place].numpy() for tensor in batch)
        try:
            self._targets.fill(raw, label, roll, label_out, weight)
            self._scaler.fill(raw.field, roll, field)
        except BadSampleError as bad:
            where = self.store.place_of(sample)
            raise InputError(bad.problem, variable=bad.variable, **where) from None

    def _record_bad(self, sample: int, error: InputError) -> None:
        """Keep why a sample was left out, and warn of it the first time."""
        with self._lock:
            is_new = sample not in self.bad_samples
            self.bad_samples.setdefault(sample, str(error))
        if is_new:
            warnings.warn(f"sample left out: {error}", RuntimeWarning, stacklevel=2)


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How batches are made ready."""

    num_threads: int = 2
    """Threads that read and scale samples; 0 does it when a batch is asked for."""

    num_ahead: int = 2
    """Batches made ready before they are asked for."""

    def __post_init__(self) -> None:
        if self.num_threads < 0:
            raise ValueError(f"num_threads must not be negative, got {self.num_threads}")
        if self.num_ahead < 1:
            raise ValueError(f"num_ahead must be at least 1, got {self.num_ahead}")


def make_loader(
    dataset: SegmentationDataset,
    plan: SamplePlan,
    *,
    epoch: int,
    rank: int = 0,
    start_step: int = 0,
    settings: LoaderSettings | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Batches of one epoch for one rank, in the order of the plan.

    Args:
        dataset: The split.
        plan: Who reads what; its `num_samples` is the length of `dataset`.
        epoch: From 0; decides shuffle, rolls and label sets.
        rank: From 0.
        start_step: First step to give, where a run goes on in the middle of an epoch.
        settings: Threads and how far ahead they work.
        device: Where the tensors are wanted; copies to a GPU come from pinned memory.

    Returns:
        One batch a step. In a kept tail it may be smaller, also empty.
    """
    start = SamplePosition(epoch, min(start_step * plan.global_batch, plan.num_samples))
    return resume_loader(dataset, plan, start, rank=rank, settings=settings, device=device)


def resume_loader(
    dataset: SegmentationDataset,
    plan: SamplePlan,
    start: SamplePosition,
    *,
    rank: int = 0,
    settings: LoaderSettings | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """As `make_loader`, from any place in an epoch to its end, also one that other batches left.

    Args are those of `make_loader`, but for `start`: the epoch, and how many of its samples all
    ranks together have done.
    """
    settings = settings or LoaderSettings()
    if plan.num_samples != len(dataset):
        raise ValueError(f"num_samples must be {len(dataset)}, got {plan.num_samples}")
    num_steps = steps_left(plan, start.samples_done)
    order = dataset.samples[epoch_order(plan, start.epoch)[start.samples_done :]]
    steps = [batch_of(plan, order, step, rank) for step in range(num_steps)]
    device = torch.device(device)
    for batch in _filled(dataset, steps, start.epoch, settings, pin=device.type == "cuda"):
        if device.type == "cpu":
            yield batch
        else:
            yield Batch(*(t.to(device, non_blocking=True) for t in batch))


def _filled(
    dataset: SegmentationDataset,
    steps: list[IntArray],
    epoch: int,
    settings: LoaderSettings,
    pin: bool,
) -> Iterator[Batch]:
    """The batches of some steps, filled ahead by threads."""
    if settings.num_threads == 0:
        for samples in steps:
            batch = dataset.empty_batch(len(samples), pin)
            for place, sample in enumerate(samples):
                dataset.fill(int(sample), batch, place, epoch)
            yield batch
        return
    under_way: deque[tuple[Batch, list[Future[None]]]] = deque()
    executor = ThreadPoolExecutor(settings.num_threads, thread_name_prefix="samples")
    try:
        for samples in steps:
            batch = dataset.empty_batch(len(samples), pin)
            tasks = [
                executor.submit(dataset.fill, int(sample), batch, place, epoch)
                for place, sample in enumerate(samples)
            ]
            under_way.append((batch, tasks))
            if len(under_way) > settings.num_ahead:
                yield _finished(*under_way.popleft())
        while under_way:
            yield _finished(*under_way.popleft())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _finished(batch: Batch, tasks: list[Future[None]]) -> Batch:
    """A batch, once its samples are in it; a thread's error is raised here."""
    for task in tasks:
        task.result()
    return batch
