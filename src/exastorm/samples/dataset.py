"""From shards to field, label and weight tensors, ahead of the device.

Threads read and scale the next batches while the device works on this one; both release Python's
lock, so threads do what worker processes would, without copying samples between them. Which sample
comes when is the sampler's business alone, and random rolls depend on (seed, epoch, sample), so
neither the number of threads nor a restart changes what a network sees.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exastorm.errors import InputError
from exastorm.grid import is_global_in_longitude
from exastorm.samples.sampler import IntArray, SamplePlan, batch_of, epoch_order
from exastorm.samples.shards import SampleStore
from exastorm.samples.targets import fill_class_weights
from exastorm.variables import NUM_CLASSES

VALUES_AT_ONCE = 32_768
"""Values scaled at a time: 128 KB stay in a core's cache, and torch does not split such small work
among threads (at::internal::GRAIN_SIZE)."""

ROLL_STREAM = 1
"""Counter word of the rolls' random numbers; the shuffles have 0 there."""


class SegmentationDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Samples of one split as networks see them.

    Attributes:
        store: The samples.
        samples: Number in the store of each sample of the split (N,).
        epoch: Epoch of the random rolls; see `set_epoch`.
    """

    def __init__(
        self,
        store: SampleStore,
        split: str,
        *,
        class_weights: Sequence[float],
        soft: bool = False,
        roll: bool = False,
        seed: int = 0,
    ) -> None:
        """Choose a split.

        Args:
            store: The samples.
            split: "train", "validation" or "test".
            class_weights: Loss weight of each class (K,); pixels without a label weigh 0.
            soft: Weigh each class in each pixel by the soft labels, in place of each pixel.
            roll: Turn each sample by a random longitude, which costs nothing and shows every storm
                in every place; the globe looks the same to a network that wraps.
            seed: Of the rolls.

        Raises:
            InputError: If the split is empty, soft labels are asked for and there are none, or
                rolls on a grid that does not go round the globe.
        """
        if len(class_weights) != NUM_CLASSES:
            raise ValueError(f"class_weights must be {NUM_CLASSES}, got {len(class_weights)}")
        if roll and not is_global_in_longitude(store.index.lon):
            raise InputError("roll needs longitudes that go round the globe", file=store.path)
        if soft:
            store.require_soft_labels()
        self.store = store
        self.samples = store.indices(split)
        self.epoch = 0
        self._soft = soft
        self._roll = roll
        self._seed = seed
        # The last weight is that of label -1, unlabeled.
        self._weights = np.array([*class_weights, 0.0], dtype=np.float32)
        layout, scaling = store.index.layout, store.index.scaling
        center, unit = np.array(layout.center), np.array(layout.unit)
        shift, scale = np.array(scaling.shift), np.array(scaling.scale)
        # Stored numbers straight to scaled ones: ((x unit + center) - shift) / scale.
        self._shift = ((shift - center) / unit).astype(np.float32)
        self._factor = (unit / scale).astype(np.float32)
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but this thread's buffer, for worker processes."""
        return {k: v for k, v in self.__dict__.items() if k != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random rolls come next."""
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

    def empty_batch(self, num_samples: int, pin: bool = False) -> "Batch":
        """Tensors for a batch, not yet filled; pinned ones for copies to a GPU."""
        num_channels, num_lat, num_lon = self.store.index.layout.shape
        size = (num_samples, num_lat, num_lon)
        weight = (num_samples, NUM_CLASSES, num_lat, num_lon) if self._soft else size
        field = (num_samples, num_channels, num_lat, num_lon)
        if pin:
            return Batch(
                field=torch.empty(field, pin_memory=True),
                label=torch.empty(size, dtype=torch.int64, pin_memory=True),
                weight=torch.empty(weight, pin_memory=True),
            )
        # numpy asks for large pages: filling such memory first is 3 times as fast as torch's.
        return Batch(
            field=torch.from_numpy(np.empty(field, np.float32)),
            label=torch.from_numpy(np.empty(size, np.int64)),
            weight=torch.from_numpy(np.empty(weight, np.float32)),
        )

    def fill(self, sample: int, batch: "Batch", place: int, epoch: int) -> None:
        """Read, scale and roll one sample of the store into a place of a batch."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = np.empty(self.store.index.layout.stride, np.uint8)
        raw, label, shares = self.store.read_raw(sample, self._local.buffer)
        roll = self.roll_of(sample, epoch)
        self._scale(raw, roll, batch.field[place].numpy())
        if roll:
            label = np.roll(label, roll, axis=-1)
        batch.label[place].numpy()[...] = label
        weight = batch.weight[place].numpy()
        if self._soft:
            shares = np.roll(shares, roll, axis=-1) if roll else shares
            fill_class_weights(shares, label, self._weights[:-1], weight)
        else:
            np.take(self._weights, label, out=weight, mode="wrap")

    def roll_of(self, sample: int, epoch: int) -> int:
        """Grid columns by which a sample is turned to the east in an epoch."""
        if not self._roll:
            return 0
        generator = np.random.Philox(
            key=np.array([self._seed, epoch], dtype=np.uint64),
            counter=np.array([0, ROLL_STREAM, sample, 0], dtype=np.uint64),
        )
        return int(generator.random_raw()) % self.store.index.layout.shape[2]

    def _scale(self, raw: NDArray[Any], roll: int, out: NDArray[np.float32]) -> None:
        """Scale and roll a field (C, H, W) in one go through memory."""
        num_channels, num_lat, num_lon = raw.shape
        num_rows = max(1, VALUES_AT_ONCE // num_lon)
        scratch = np.empty((num_rows, num_lon), np.float32)
        for c in range(num_channels):
            for row in range(0, num_lat, num_rows):
                stored, target = raw[c, row : row + num_rows], out[c, row : row + num_rows]
                scaled = scratch[: len(stored)] if roll else target
                if stored.dtype != np.float32:
                    # Torch widens half precision three times as fast as numpy.
                    torch.from_numpy(scaled).copy_(torch.from_numpy(stored))
                    stored = scaled
                np.subtract(stored, self._shift[c], out=scaled)
                np.multiply(scaled, self._factor[c], out=scaled)
                if roll:
                    target[:, roll:], target[:, :roll] = scaled[:, :-roll], scaled[:, -roll:]


class Batch(NamedTuple):
    """What a network is given and asked for.

    Attributes:
        field: (B, C, H, W) float32, scaled.
        label: (B, H, W) int64; -1 where unlabeled.
        weight: Of each pixel, (B, H, W) float32; of soft labels that of each class in each pixel,
            (B, K, H, W). 0 where unlabeled.
    """

    field: Tensor
    label: Tensor
    weight: Tensor

    @property
    def is_soft(self) -> bool:
        """Whether the weights are those of soft labels."""
        return self.weight.dim() == self.field.dim()

    @property
    def total_weight(self) -> Tensor:
        """Sum of all weights, a scalar: of a pixel first, so that hard and soft sums are alike."""
        return (self.weight.sum(dim=1) if self.is_soft else self.weight).sum()


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
        epoch: From 0; decides shuffle and rolls.
        rank: From 0.
        start_step: First step to give, where a run goes on in the middle of an epoch.
        settings: Threads and how far ahead they work.
        device: Where the tensors are wanted; copies to a GPU come from pinned memory.

    Yields:
        One batch a step. In a kept tail it may be smaller, also empty.
    """
    settings = settings or LoaderSettings()
    if plan.num_samples != len(dataset):
        raise ValueError(f"num_samples must be {len(dataset)}, got {plan.num_samples}")
    order = dataset.samples[epoch_order(plan, epoch)]
    steps = [batch_of(plan, order, s, rank) for s in range(start_step, plan.num_steps)]
    device = torch.device(device)
    for batch in _filled(dataset, steps, epoch, settings, pin=device.type == "cuda"):
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
