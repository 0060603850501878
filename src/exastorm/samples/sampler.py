"""Which rank reads which sample at which step: a pure function of seed, epoch, rank and step.

An epoch is one shuffle of all samples, cut into global batches in order; each rank takes its own
run of each global batch. So every rank knows what every other reads without a word between them, a
run goes on at any step, and a run that goes on with another number of ranks but the same global
batch sees the same samples in the same steps.

The tail, when samples do not fill the last global batch: with "drop" it is left out of this epoch
(the next shuffles anew, so no sample is left out for good) and every rank does full batches, as
training in lockstep needs; with "keep" it is dealt out as evenly as it goes, so that every sample
is seen exactly once and some ranks get one fewer, or none, as scoring needs.

Where a run stands is told in samples, not in steps: the epoch, and how many of its shuffle all
ranks together have done. A run that goes on with another global batch cuts what is left of the
epoch into its own batches, and repeats none and misses none.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """The integers that decide who reads what.

    Attributes:
        num_samples: Samples in an epoch.
        batch_size: Samples per rank and step.
        num_ranks: Ranks that share an epoch.
        seed: Of the shuffle.
        shuffle: False reads in order, as scoring does.
        tail: What becomes of samples that do not fill the last global batch.
    """

    num_samples: int
    batch_size: int
    num_ranks: int = 1
    seed: int = 0
    shuffle: bool = True
    tail: Literal["drop", "keep"] = "drop"

    def __post_init__(self) -> None:
        for name in ("num_samples", "batch_size", "num_ranks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.tail not in ("drop", "keep"):
            raise ValueError(f"tail must be drop or keep, got {self.tail!r}")
        if self.num_steps == 0:
            raise ValueError(
                f"batch_size x num_ranks must be at most the {self.num_samples} samples,"
                f" got {self.batch_size} x {self.num_ranks}"
            )

    @property
    def global_batch(self) -> int:
        """Samples of all ranks in a full step."""
        return self.batch_size * self.num_ranks

    @property
    def num_steps(self) -> int:
        """Steps in an epoch."""
        if self.tail == "drop":
            return self.num_samples // self.global_batch
        return -(-self.num_samples // self.global_batch)


class SamplePosition(NamedTuple):
    """Where a run stands, whatever its batches: what a checkpoint keeps.

    Attributes:
        epoch: From 0.
        samples_done: Samples of the epoch's shuffle that all ranks together have done.
    """

    epoch: int = 0
    samples_done: int = 0


def steps_left(plan: SamplePlan, samples_done: int) -> int:
    """Steps from a place in an epoch to its end.

    Args:
        plan: Who shares what.
        samples_done: Samples of the epoch done by all ranks, 0 to `num_samples`; it need be no
            multiple of the plan's global batch.
    """
    if not 0 <= samples_done <= plan.num_samples:
        raise ValueError(f"samples_done must be from 0 to {plan.num_samples}, got {samples_done}")
    left = plan.num_samples - samples_done
    return left // plan.global_batch if plan.tail == "drop" else -(-left // plan.global_batch)


def resume_at(plan: SamplePlan, samples_done: int, epoch: int = 0) -> SamplePosition:
    """Where a run goes on that has done so many samples of an epoch, with these or other batches.

    That is the same place, or the next epoch's beginning where what is left fills no batch of the
    plan (and its tail is dropped).

    Args:
        plan: Who shares what from here on; only `num_samples`, `seed` and `shuffle` must be those
            of before.
        samples_done: Samples of the epoch that all ranks together have done.
        epoch: From 0.

    Raises:
        ValueError: If an epoch has fewer samples.
    """
    if steps_left(plan, samples_done) == 0:
        return SamplePosition(epoch + 1, 0)
    return SamplePosition(epoch, samples_done)


def position_after(plan: SamplePlan, start: SamplePosition, num_steps: int) -> SamplePosition:
    """Where a run stands that began at `start` and has done so many steps of the plan."""
    epoch, samples_done = resume_at(plan, start.samples_done, start.epoch)
    left = steps_left(plan, samples_done)
    if num_steps >= left:
        more_epochs, num_steps = divmod(num_steps - left, plan.num_steps)
        epoch, samples_done = epoch + 1 + more_epochs, 0
    return SamplePosition(epoch, samples_done + num_steps * plan.global_batch)


def sample_order(num_samples: int, seed: int, epoch: int) -> IntArray:
    """A shuffle of the samples that differs by seed and epoch: (num_samples,).

    Samples are sorted by the 64-bit words that the counter-based generator Philox4x64-10 (Salmon et
    al. 2011, SC11) makes of (seed, epoch): the same on every machine and numpy.
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(num_samples)
    return np.argsort(words, kind="stable").astype(np.int64)


def random_word(seed: int, epoch: int, sample: int, stream: int) -> int:
    """A 64-bit number of (seed, epoch, sample), other than those of other streams.

    For what is drawn at each read: it depends neither on the order of reads nor on who reads.

    Args:
        seed: Of the run.
        epoch: From 0.
        sample: Number of the sample in its store.
        stream: Counter word that keeps uses apart; `sample_order` has 0.
    """
    generator = np.random.Philox(
        key=np.array([seed, epoch], dtype=np.uint64),
        counter=np.array([0, stream, sample, 0], dtype=np.uint64),
    )
    return int(generator.random_raw())


def epoch_order(plan: SamplePlan, epoch: int) -> IntArray:
    """Order in which an epoch goes through the samples: (num_samples,)."""
    if plan.shuffle:
        return sample_order(plan.num_samples, plan.seed, epoch)
    return np.arange(plan.num_samples, dtype=np.int64)


def batch_of(plan: SamplePlan, order: IntArray, step: int, rank: int) -> IntArray:
    """Samples that a rank reads in a step of an epoch: (batch_size,), fewer in a kept tail.

    Args:
        plan: Who shares what.
        order: `epoch_order` of the epoch, or what is left of it where a run goes on within.
        step: Step from where `order` begins, from 0.
        rank: From 0.
    """
    assert 0 <= step < steps_left(plan, plan.num_samples - len(order)), (step, len(order), plan)
    assert 0 <= rank < plan.num_ranks, (rank, plan)
    batch = order[step * plan.global_batch : (step + 1) * plan.global_batch]
    first, last = (len(batch) * r // plan.num_ranks for r in (rank, rank + 1))
    return batch[first:last]


def step_samples(plan: SamplePlan, *, epoch: int, step: int, rank: int = 0) -> IntArray:
    """`batch_of` for one step alone."""
    return batch_of(plan, epoch_order(plan, epoch), step, rank)


def rank_samples(plan: SamplePlan, *, epoch: int, rank: int = 0) -> IntArray:
    """All samples that a rank reads in an epoch, in order."""
    order = epoch_order(plan, epoch)
    return np.concatenate([batch_of(plan, order, s, rank) for s in range(plan.num_steps)])
