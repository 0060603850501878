"""The samples of a run: which batch each step is given, and what validation is given."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exastorm.errors import InputError
from exastorm.networks.losses import class_weights
from exastorm.parallel.watch import tell
from exastorm.parallel.world import World
from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.index import SampleIndex
from exastorm.samples.label_sets import fixed_set
from exastorm.samples.loader import LoaderSettings, endless_loader, make_loader, with_workers
from exastorm.samples.local_sampler import LocalPlan
from exastorm.samples.sampler import (
    EpochPlan,
    SamplePlan,
    SamplePosition,
    position_after,
    resume_at,
)
from exastorm.samples.source import SampleSource
from exastorm.samples.worker_choice import WorkerChoice
from exastorm.train.settings import TrainSettings
from exastorm.train.staged import SamplesHere
from exastorm.train.waiting import DataWait


class TrainingData:
    """Training and validation split of prepared samples, as one rank of a run sees them.

    Attributes:
        store: The samples.
        class_weights: Loss weight of each class (K,).
        plan: Who reads what in an epoch of training.
        world: Who sits where.
        wait: How long training waited for batches.
    """

    def __init__(
        self,
        samples: SamplesHere | str | Path,
        settings: TrainSettings,
        world: World,
        device: torch.device,
    ) -> None:
        """Open the samples.

        Args:
            samples: Where they are read; a folder or an address that all ranks see, or what a node
                has.
            settings: Of the training.
            world: Who sits where.
            device: Where batches are wanted.

        Raises:
            InputError: If they can't be read, a split is empty, a batch is larger than the
                training split, or soft targets are asked for and there are none.
        """
        here = self._here = samples if isinstance(samples, SamplesHere) else SamplesHere(samples)
        self.store: SampleSource = here.open(settings.loader)
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
        self.wait = DataWait()
        self._train = self._split(
            "train",
            soft=soft,
            roll=settings.roll,
            mirror=settings.mirror,
            label_set=settings.label_set,
        )
        self._validation = self._split("validation", label_set=fixed_set(settings.label_set))
        self._validated = here.node_sizes.get("validation") or (len(self._validation),)
        if settings.validation.num_samples is not None:
            every = max(1, -(-sum(self._validated) // settings.validation.num_samples))
            self._validation.samples = self._validation.samples[::every]
            self._validated = tuple(-(-size // every) for size in self._validated)
        try:
            self.plan = training_epochs(
                settings,
                world.placement,
                len(self._train),
                here.node_sizes.get("train", ()),
                here.shares_id,
            )
        except ValueError as error:
            raise InputError(str(error), file=here.path) from None

    def _validation_plan(self) -> EpochPlan:
        """Who scores what."""
        batch_size = self._settings.batch_size
        if not self._here.node_sizes:
            return SamplePlan(
                num_samples=len(self._validation),
                batch_size=batch_size,
                num_ranks=self.world.num_ranks,
                shuffle=False,
                tail="keep",
            )
        return LocalPlan(
            node_sizes=self._validated,
            batch_size=batch_size,
            placement=self.world.placement,
            shuffle=False,
            tail="keep",
        )

    def start_at(self, position: Sequence[int], step: int, order_id: str | None = None) -> None:
        """Go on where another attempt, perhaps with other batches, has done so many steps.

        Args:
            position: Where it stood, as `SamplePosition` has it.
            step: Steps done.
            order_id: Of its plan. Where this one's order is another, as with other nodes that have
                shares of the samples, the next epoch begins.
        """
        epoch, samples_done = position
        start = resume_at(self.plan, samples_done, epoch, order_id)
        self._start, self._start_step = start, step

    def position_of(self, run_step: int) -> SamplePosition:
        """Where the run stands after so many steps, of them all that this attempt began with."""
        return position_after(self.plan, self._start, run_step - self._start_step)

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Batches of this rank after so many steps of the run, epoch after epoch, without end."""
        return self.wait.timed(self._batches(self.position_of(start_step)))

    @cached_property
    def _choice(self) -> WorkerChoice:
        """What reads samples in training; measured once, where it must be."""
        settings = self._settings
        num_left = (settings.num_steps - self._start_step) * settings.batch_size
        choice = with_workers(settings.loader, self._train, num_left)[1]
        if choice.speedup is not None and self.world.is_first:
            tell(choice.to_line(settings.loader.num_threads))
        return choice

    def _loader(self, choice: WorkerChoice) -> LoaderSettings:
        """How batches are made ready."""
        return replace(self._settings.loader, workers=choice.workers)

    def _batches(self, position: SamplePosition) -> Iterator[Batch]:
        """Batches from a place on, without end."""
        return endless_loader(
            self._train,
            self.plan,
            position,
            rank=self.world.rank,
            settings=self._loader(self._choice),
            device=self._device,
        )

    def validation_batches(self) -> Iterator[Batch]:
        """This rank's share of the validation split, in order of time."""
        plan = self._validation_plan()
        # Workers end with each validation.
        choice = self._choice.over(plan.num_steps * self._settings.batch_size)
        return make_loader(
            self._validation,
            plan,
            epoch=0,
            rank=self.world.rank,
            settings=self._loader(choice),
            device=self._device,
        )

    def times_of_step(self, run_step: int) -> list[str]:
        """Times of the samples that this rank sees after `run_step` steps of the run.

        None of steps before this attempt, which may have had other batches.
        """
        if run_step < self._start_step:
            return []
        chosen = self.plan.batches_of(self.world.rank, self.position_of(run_step))[0]
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


def training_epochs(
    settings: TrainSettings,
    placement: tuple[int, ...],
    num_samples: int,
    node_sizes: tuple[int, ...] = (),
    shares_id: str = "",
) -> EpochPlan:
    """Who reads what in an epoch of training.

    Args:
        settings: Of the training.
        placement: Node of each rank.
        num_samples: Training samples, where all nodes have all.
        node_sizes: Training samples of each node, where each has its own.
        shares_id: Tells this deal of samples to nodes from others.

    Raises:
        ValueError: If there are fewer samples than a step takes.
    """
    batch_size, seed = settings.batch_size, settings.seed
    if node_sizes:
        return LocalPlan(
            node_sizes=node_sizes,
            batch_size=batch_size,
            placement=placement,
            seed=seed,
            shares_id=shares_id,
        )
    return SamplePlan(
        num_samples=num_samples, batch_size=batch_size, num_ranks=len(placement), seed=seed
    )


def class_frequencies(index: SampleIndex, settings: TrainSettings) -> tuple[float, ...]:
    """How often each class occurs in what is learned (K,)."""
    if settings.targets == "soft":
        assert index.soft_class_shares is not None
        return index.soft_class_shares
    return index.shares_of(settings.label_set).by_pixel
