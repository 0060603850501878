"""Batches ahead of the device, in buffers that are used again.

Workers read and scale the next batches while the device works on this one, into a ring of batches
that is made once: a step allocates nothing. Workers are threads, or processes where a format's
library lets one thread read at a time. Which sample comes when is the sampler's business alone, so
neither kind nor number of workers changes what a network sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.device_feed import copied_ahead
from exastorm.samples.fillers import Filler, ThreadFiller
from exastorm.samples.processes import ProcessFiller
from exastorm.samples.sample_cache import CACHE_GB
from exastorm.samples.sampler import EpochPlan, IntArray, SamplePosition
from exastorm.samples.worker_choice import WorkerChoice, choose_workers

__all__ = ["LoaderSettings", "make_loader", "resume_loader", "with_workers"]

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


def with_workers(
    settings: LoaderSettings, dataset: SegmentationDataset
) -> tuple[LoaderSettings, WorkerChoice]:
    """Settings in which `workers` is chosen for a split, and the choice with its reason.

    Raises:
        InputError: If it is to be measured and samples can't be read.
    """
    if settings.workers != "auto":
        return settings, WorkerChoice(settings.workers)
    choice = choose_workers(dataset, settings.num_threads)
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
    if plan.num_held(rank) != len(dataset):
        raise ValueError(f"num_samples must be {len(dataset)}, got {plan.num_held(rank)}")
    steps = [dataset.samples[places] for places in plan.batches_of(rank, start)]
    if not steps:
        return
    settings, device = settings or LoaderSettings(), torch.device(device)
    if settings.workers == "auto":
        settings, _ = with_workers(settings, dataset)
    num_samples = max(len(samples) for samples in steps)
    num_slots = min(settings.num_ahead + SPARE_SLOTS, len(steps))
    pin = device.type == "cuda"
    with _filler(dataset, num_samples, num_slots, settings, pin) as filler:
        batches = _filled(filler, steps, start.epoch, settings.num_ahead)
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


def _filled(filler: Filler, steps: list[IntArray], epoch: int, num_ahead: int) -> Iterator[Batch]:
    """The batches of some steps, each given when those behind it are under way."""
    num_slots = filler.num_slots
    for ahead, samples in enumerate(steps[:num_ahead]):
        filler.start(ahead % num_slots, samples, epoch)
    for step in range(len(steps)):
        ahead = step + num_ahead
        if ahead < len(steps):
            filler.start(ahead % num_slots, steps[ahead], epoch)
        yield filler.finish(step % num_slots)
