"""From shards to field, label and weight tensors, one sample at a time.

A sample is read, checked, scaled and turned straight into its place in a batch; `samples/loader.py`
does so ahead of the device. Random turns and label sets depend on (seed, epoch, sample) alone, so
neither the number of threads nor a restart changes what a network sees.
"""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from exastorm.errors import InputError
from exastorm.grid import area_weights, is_global_in_longitude, is_symmetric_in_latitude
from exastorm.readers.schema import NO_LABEL
from exastorm.samples.augmentation import Turn, drawn_turn
from exastorm.samples.batch import Batch, empty_batch
from exastorm.samples.checking import BadSampleError
from exastorm.samples.label_sets import LabelSet, chosen_label
from exastorm.samples.scaler import FieldScaler
from exastorm.samples.target_filling import TargetFiller
from exastorm.variables import NUM_CLASSES

if TYPE_CHECKING:
    # Each kind of source brings a library, and a worker process needs that of its own kind alone.
    from exastorm.samples.source import SampleSource


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
        mirror: Swap north and south in half of the reads, drawn anew in each epoch; northward
            components and vorticity change sign. Labels and weights go along.
        seed: Of the turns and of the label sets drawn.
        skip_bad: Give a sample that can't be read, or holds what it can't have held when it was
            prepared, as one without any label, and warn; else it stops the run.
        samples: Number in the store of each sample of the split (N,).
        epoch: Epoch of the random turns and label sets; see `set_epoch`.
        bad_samples: Number in the store of each sample that was left out, and why. Worker processes
            keep their own.

    Raises:
        InputError: If the split is empty, soft labels or label sets are asked for and there are
            none, or rolls on a grid that does not go round the globe, or mirror images on one whose
            latitudes are not symmetric about the equator.
        ValueError: If weights are missing, or label sets are drawn or voted outside training.
    """

    store: "SampleSource"
    split: str
    _: KW_ONLY
    class_weights: Sequence[float]
    soft: bool = False
    label_set: LabelSet = 0
    area_weighting: bool = False
    roll: bool = False
    mirror: bool = False
    seed: int = 0
    skip_bad: bool = False

    def __post_init__(self) -> None:
        index = self.store.index
        if len(self.class_weights) != NUM_CLASSES:
            raise ValueError(f"class_weights must be {NUM_CLASSES}, got {len(self.class_weights)}")
        if self.roll and not is_global_in_longitude(index.lon):
            raise InputError("roll needs longitudes that go round the globe", file=self.store.path)
        if self.mirror and not is_symmetric_in_latitude(index.lat):
            raise InputError(
                "mirror needs latitudes that are symmetric about the equator, got"
                f" {index.lat[0]:g} to {index.lat[-1]:g}",
                file=self.store.path,
            )
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
        """Choose the epoch whose random turns and label sets come next."""
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
        """Read, check, scale and turn one sample of the store into a place of a batch.

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
            self.record_bad(sample, str(error))

    def turn_of(self, sample: int, epoch: int) -> Turn:
        """How a sample is turned in an epoch."""
        return drawn_turn(
            self.seed,
            epoch,
            sample,
            num_lon=self.store.index.layout.shape[2],
            roll=self.roll,
            mirror=self.mirror,
        )

    def _fill(self, sample: int, batch: Batch, place: int, epoch: int) -> None:
        """`fill` for a sample that must be good."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = np.empty(self.store.index.layout.stride, np.uint8)
        raw = self.store.read_raw(sample, self._local.buffer)
        label = chosen_label(raw.labels, self.label_set, seed=self.seed, epoch=epoch, sample=sample)
        turn = self.turn_of(sample, epoch)
        field, label_out, weight = (tensor[place].numpy() for tensor in batch)
        try:
            self._targets.fill(raw, label, turn, label_out, weight)
            self._scaler.fill(raw.field, turn, field)
        except BadSampleError as bad:
            where = self.store.place_of(sample)
            raise InputError(bad.problem, variable=bad.variable, **where) from None

    def record_bad(self, sample: int, problem: str) -> None:
        """Keep why a sample was left out, and warn of it the first time."""
        with self._lock:
            is_new = sample not in self.bad_samples
            self.bad_samples.setdefault(sample, problem)
        if is_new:
            warnings.warn(f"sample left out: {problem}", RuntimeWarning, stacklevel=2)
