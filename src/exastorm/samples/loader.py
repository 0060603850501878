"""Batches ahead of the device, in buffers that are used again.

Workers read and scale the next batches while the device works on this one, into a ring of batches
that is made once: a step allocates nothing. Workers are threads, or processes where a format's
library lets one thread read at a time. Which sample comes when is the sampler's business alone, so
neither kind nor number of workers changes what a network sees.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, cycle
from typing import Literal, NamedTuple, get_args

import torch

from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.device_feed import copied_ahead
from exastorm.samples.fillers import Filler, ThreadFiller
from exastorm.samples.processes import ProcessFiller
from exastorm.samples.sample_cache import CACHE_GB
from exastorm.samples.sampler import EpochPlan, IntArray, SamplePosition
from exastorm.samples.worker_choice import WorkerChoice, choose_workers

__all__ = ["LoaderSettings", "endless_loader", "make_loader", "resume_loader", "with_workers"]

Workers = Literal["auto", "threads", "processes"]

SPARE_SLOTS = 2
"""Batches of the ring beyond those made ahead: the one given, and one that is copied to a GPU."""


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How batches are made ready."""

    num_threads: int = 2
    """Threads, or processes, that read and scale samples; 0 does it when a batch is asked for."""

    num_ahead: int = 2
    """Batches made ready before they are asked for."""

    workers: Workers = "auto"
    """What reads samples: threads, or processes with shared memory; auto takes threads, but where
    a format's library holds a lock (HDF5 in chunks, Zarr) it measures and takes what is faster."""

    cache: str | None = None
    """Folder on a local drive in which samples of a Zarr store are kept once read; none keeps those
    that come from an address in the user's cache, and none of a local store."""

    cache_gb: float = CACHE_GB
    """Most bytes of that, GB; the samples used longest ago go first. 0 keeps none."""

    def __post_init__(self) -> None:
        if not self.cache_gb >= 0:
            raise ValueError(f"cache_gb must not be negative, got {self.cache_gb}")
        if self.num_threads < 0:
            raise ValueError(f"num_threads must not be negative, got {self.num_threads}")
        if self.num_ahead < 1:
            raise ValueError(f"num_ahead must be at least 1, got {self.num_ahead}")
        if self.workers not in get_args(Workers):
            known = ", ".join(get_args(Workers))
            raise ValueError(f"workers must be one of {known}, got {self.workers!r}")


class Step(NamedTuple):
    """What a rank reads in a step.

    Attributes:
        samples: Numbers in the store.
        epoch: From 0.
    """

    samples: IntArray
    epoch: int


def with_workers(
    settings: LoaderSettings, dataset: SegmentationDataset, num_samples: int | None = None
) -> tuple[LoaderSettings, WorkerChoice]:
    """Settings in which `workers` is chosen for a split, and the choice with its reason.

    Args:
        settings: Where it may be open.
        dataset: The split.
        num_samples: Samples that workers read before they end; None for as many as one likes.

    Raises:
        InputError: If it is to be measured and samples can't be read.
    """
    if settings.workers != "auto":
        return settings, WorkerChoice(settings.workers)
    choice = choose_workers(dataset, settings.num_threads).over(num_samples)
    return replace(settings, workers=choice.workers), choice


def make_loader(
    dataset: SegmentationDataset,
    plan: EpochPlan,
    *,
    epoch: int,
    rank: int = 0,
    start_step: int = 0,
    settings: LoaderSettings | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Batches of one epoch for one rank, in the order of the plan.

    A batch is valid until the next is asked for: then its memory is filled anew. Who keeps one
    longer must copy it.

    Args:
        dataset: The split.
        plan: Who reads what; the samples that it has the rank hold are those of `dataset`.
        epoch: From 0; decides shuffle, turns and label sets.
        rank: From 0.
        start_step: First step to give, where a run goes on in the middle of an epoch.
        settings: Workers and how far ahead they work; see `with_workers`, which spares each loader
            the measurement of "auto".
        device: Where the tensors are wanted. Batches go to a GPU from pinned memory, each while the
            one before is worked on.

    Returns:
        One batch a step. In a kept tail it may be smaller, also empty.
    """
    start = SamplePosition(epoch, min(start_step * plan.global_batch, plan.num_samples))
    return resume_loader(dataset, plan, start, rank=rank, settings=settings, device=device)


def resume_loader(
    dataset: SegmentationDataset,
    plan: EpochPlan,
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
    steps = list(_steps_of(dataset, plan, rank, start))
    if not steps:
        return iter(())
    settings = settings or LoaderSettings()
    if settings.workers == "auto":
        settings, _ = with_workers(settings, dataset, sum(len(step.samples) for step in steps))
    num_samples = max(len(step.samples) for step in steps)
    num_slots = min(settings.num_ahead + SPARE_SLOTS, len(steps))
    return _loaded(dataset, steps, (num_slots, num_samples), settings, torch.device(device))


def endless_loader(
    dataset: SegmentationDataset,
    plan: EpochPlan,
    start: SamplePosition,
    *,
    rank: int = 0,
    settings: LoaderSettings | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """As `resume_loader`, but with all epochs that follow, and without end.

    The same workers go on from epoch to epoch, and begin the next while this one's last batches are
    used: an epoch of a few steps costs no more than as many steps of a long one.
    """
    settings = settings or LoaderSettings()
    if settings.workers == "auto":
        settings, _ = with_workers(settings, dataset)
    whole = _steps_of(dataset, plan, rank, SamplePosition(start.epoch))
    size = settings.num_ahead + SPARE_SLOTS, max(len(step.samples) for step in whole)
    later = (SamplePosition(epoch) for epoch in count(start.epoch + 1))
    places = chain([start], later)
    steps = chain.from_iterable(_steps_of(dataset, plan, rank, place) for place in places)
    return _loaded(dataset, steps, size, settings, torch.device(device))


def _steps_of(
    dataset: SegmentationDataset, plan: EpochPlan, rank: int, start: SamplePosition
) -> Iterator[Step]:
    """The steps of a rank from a place in an epoch to its end."""
    if plan.num_held(rank) != len(dataset):
        raise ValueError(f"num_samples must be {len(dataset)}, got {plan.num_held(rank)}")
    for places in plan.batches_of(rank, start):
        yield Step(dataset.samples[places], start.epoch)


def _loaded(
    dataset: SegmentationDataset,
    steps: Iterable[Step],
    size: tuple[int, int],
    settings: LoaderSettings,
    device: torch.device,
) -> Iterator[Batch]:
    """The batches of some steps, through a ring of so many batches of so many samples."""
    num_slots, num_samples = size
    pin = device.type == "cuda"
    with _filler(dataset, num_samples, num_slots, settings, pin) as filler:
        batches = _filled(filler, steps, settings.num_ahead)
        yield from batches if device.type == "cpu" else copied_ahead(batches, device, num_samples)


def _filler(
    dataset: SegmentationDataset,
    num_samples: int,
    num_slots: int,
    settings: LoaderSettings,
    pin: bool,
) -> Filler:
    """Workers, and the ring of batches that they fill."""
    if settings.workers == "processes" and settings.num_threads:
        template = dataset.empty_batch(num_samples)
        return ProcessFiller(dataset, template, num_slots, settings.num_threads, pin=pin)
    ring = [dataset.empty_batch(num_samples, pin) for _ in range(num_slots)]
    return ThreadFiller(dataset, ring, settings.num_threads)


def _filled(filler: Filler, steps: Iterable[Step], num_ahead: int) -> Iterator[Batch]:
    """The batches of some steps, each given when those behind it are under way."""
    under_way: deque[int] = deque()
    for slot, step in zip(cycle(range(filler.num_slots)), steps, strict=False):
        filler.start(slot, step.samples, step.epoch)
        under_way.append(slot)
        if len(under_way) > num_ahead:
            yield filler.finish(under_way.popleft())
    while under_way:
        yield filler.finish(under_way.popleft())
