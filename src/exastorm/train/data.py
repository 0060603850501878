"""The samples of a run: which batch each step is given, and what validation is given."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exastorm.errors import InputError
from exastorm.networks.losses import class_weights
from exastorm.parallel.world import World
from exastorm.samples.dataset import Batch, SegmentationDataset, make_loader, resume_loader
from exastorm.samples.index import SampleIndex
from exastorm.samples.label_sets import fixed_set
from exastorm.samples.sampler import (
    SamplePlan,
    SamplePosition,
    batch_of,
    epoch_order,
    position_after,
)
from exastorm.samples.shards import SampleStore
from exastorm.train.settings import TrainSettings


class TrainingData:
    """Training and validation split of prepared samples, as one rank of a run sees them.

    Attributes:
        store: The samples.
        class_weights: Loss weight of each class (K,).
        plan: Who reads what in an epoch of training.
        world: Who sits where.
    """

    def __init__(
        self, samples: Path, settings: TrainSettings, world: World, device: torch.device
    ) -> None:
        """Open the samples.

        Raises:
            InputError: If they can't be read, a split is empty, a batch is larger than the
                training split, or soft targets are asked for and there are none.
        """
        self.store = SampleStore(samples)
        soft = settings.targets == "soft"
        if soft:
            self.store.require_soft_labels()
        self.store.require_label_set(settings.label_set)
        self.class_weights: Tensor = class_weights(
            class_frequencies(self.store.index, settings), settings.loss.weight_law
        )
        self._settings = settings
        self.world = world
        self._start, self._start_step = SamplePosition(), 0
        self._device = device
        self._train = self._split(
            "train", soft=soft, roll=settings.roll, label_set=settings.label_set
        )
        self._validation = self._split("validation", label_set=fixed_set(settings.label_set))
        if settings.validation.num_samples is not None:
            every = -(-len(self._validation) // settings.validation.num_samples)
            self._validation.samples = self._validation.samples[::every]
        try:
            self.plan = SamplePlan(
                num_samples=len(self._train),
                batch_size=settings.batch_size,
                num_ranks=world.num_ranks,
                seed=settings.seed,
            )
        except ValueError as error:
            raise InputError(str(error), file=samples) from None

    def start_at(self, position: SamplePosition, step: int) -> None:
        """Go on where another attempt, perhaps with other batches, has done so many steps."""
        self._start, self._start_step = position, step

    def position_of(self, run_step: int) -> SamplePosition:
        """Where the run stands after so many steps, of them all that this attempt began with."""
        return position_after(self.plan, self._start, run_step - self._start_step)

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Batches of this rank after so many steps of the run, epoch after epoch, without end."""
        position = self.position_of(start_step)
        while True:
            yield from resume_loader(
                self._train,
                self.plan,
                position,
                rank=self.world.rank,
                settings=self._settings.loader,
                device=self._device,
            )
            position = SamplePosition(position.epoch + 1, 0)

    def validation_batches(self) -> Iterator[Batch]:
        """This rank's share of the validation split, in order of time."""
        plan = SamplePlan(
            num_samples=len(self._validation),
            batch_size=self._settings.batch_size,
            num_ranks=self.world.num_ranks,
            shuffle=False,
            tail="keep",
        )
        return make_loader(
            self._validation,
            plan,
            epoch=0,
            rank=self.world.rank,
            settings=self._settings.loader,
            device=self._device,
        )

    def times_of_step(self, run_step: int) -> list[str]:
        """Times of the samples that this rank sees after `run_step` steps of the run.

        None of steps before this attempt, which may have had other batches.
        """
        if run_step < self._start_step:
            return []
        epoch, samples_done = self.position_of(run_step)
        order = epoch_order(self.plan, epoch)[samples_done:]
        chosen = batch_of(self.plan, order, 0, self.world.rank)
        return [str(self.store.time(int(self._train.samples[i]))) for i in chosen]

    def bad_samples(self) -> tuple[str, ...]:
        """Samples that this rank has left out in this attempt, a line each."""
        found = self._train.bad_samples | self._validation.bad_samples
        return tuple(sorted(found.values()))

    def _split(self, name: str, **options: Any) -> SegmentationDataset:
        """A split with this run's class weights."""
        settings = self._settings
        return SegmentationDataset(
            self.store,
            name,
            class_weights=self.class_weights.tolist(),
            area_weighting=settings.loss.area_weighting,
            seed=settings.seed,
            skip_bad=settings.skip_bad,
            **options,
        )


def class_frequencies(index: SampleIndex, settings: TrainSettings) -> tuple[float, ...]:
    """How often each class occurs in what is learned (K,)."""
    if settings.targets == "soft":
        assert index.soft_class_shares is not None
        return index.soft_class_shares
    return index.shares_of(settings.label_set).by_pixel
