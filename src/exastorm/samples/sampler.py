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

All of this is for samples that every rank can reach; `local_sampler` has the same verbs for samples
dealt out to nodes, of which a rank reads those of its own node alone.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

Tail = Literal["drop", "keep"]


class SamplePosition(NamedTuple):
    """Where a run stands, whatever its batches: what a checkpoint keeps.

    Attributes:
        epoch: From 0.
        samples_done: Samples of the epoch's shuffle that all ranks together have done.
    """

    epoch: int = 0
    samples_done: int = 0


class EpochPlan(Protocol):
    """What a loader and a run ask of who reads what, be the samples everybody's or dealt out."""

    @property
    def num_samples(self) -> int:
        """Samples in an epoch."""

    @property
    def global_batch(self) -> int:
        """Samples of all ranks in a full step."""

    @property
    def num_steps(self) -> int:
        """Steps in an epoch, as many on each rank."""

    @property
    def order_id(self) -> str:
        """What tells the order that a `SamplePosition` is a place in from other orders."""

    def num_held(self, rank: int) -> int:
        """Samples that a rank can reach: the length of its list."""

    def steps_left(self, samples_done: int) -> int:
        """Steps from a place in an epoch to its end."""

    def batches_of(self, rank: int, start: SamplePosition) -> list[IntArray]:
        """What a rank reads in each step from a place in an epoch to its end.

        Batches (batch_size,) of places in the rank's list, fewer or none in a kept tail.
        """


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
    tail: Tail = "drop"

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
        return self.steps_left(0)

    @property
    def order_id(self) -> str:
        """Number of samples and seed: ranks and batches don't change the order."""
        return f"{self.num_samples} samples, {f'seed {self.seed}' if self.shuffle else 'in order'}"

    def num_held(self, rank: int) -> int:
        """All samples, whatever the rank."""
        assert 0 <= rank < self.num_ranks, (rank, self)
        return self.num_samples

    def steps_left(self, samples_done: int) -> int:
        """Steps from a place in an epoch to its end.

        Args:
            samples_done: Samples of the epoch done by all ranks, 0 to `num_samples`; it need be no
                multiple of the plan's global batch.
        """
        if not 0 <= samples_done <= self.num_samples:
            raise ValueError(
                f"samples_done must be from 0 to {self.num_samples}, got {samples_done}"
            )
        left = self.num_samples - samples_done
        return left // self.global_batch if self.tail == "drop" else -(-left // self.global_batch)

    def batches_of(self, rank: int, start: SamplePosition) -> list[IntArray]:
        """`batch_of` for all steps from a place in an epoch to its end."""
        num_steps = self.steps_left(start.samples_done)
        order = epoch_order(self, start.epoch)[start.samples_done :]
        return deal(order, num_steps, self.batch_size, self.num_ranks, rank)


def steps_left(plan: EpochPlan, samples_done: int) -> int:
    """Steps of a plan from a place in an epoch to its end."""
    return plan.steps_left(samples_done)


def resume_at(
    plan: EpochPlan, samples_done: int, epoch: int = 0, order_id: str | None = None
) -> SamplePosition:
    """Where a run goes on that has done so many samples of an epoch, with these or other batches.

    That is the same place; or the next epoch's beginning, where what is left fills no batch of the
    plan (and its tail is dropped), or where the plan's order is another than that of before, in
    which the place would mean other samples. So no epoch has a sample twice, and each epoch that is
    begun after is whole.

    Args:
        plan: Who shares what from here on.
        samples_done: Samples of the epoch that all ranks together have done.
        epoch: From 0.
        order_id: `EpochPlan.order_id` of before; None is sure that it is the plan's.

    Raises:
        ValueError: If an epoch of the same order has fewer samples.
    """
    if samples_done == 0:
        return SamplePosition(epoch, 0)
    if order_id not in (None, plan.order_id) or plan.steps_left(samples_done) == 0:
        return SamplePosition(epoch + 1, 0)
    return SamplePosition(epoch, samples_done)


def position_after(plan: EpochPlan, start: SamplePosition, num_steps: int) -> SamplePosition:
    """Where a run stands that began at `start` and has done so many steps of the plan."""
    epoch, samples_done = resume_at(plan, start.samples_done, start.epoch)
    left = plan.steps_left(samples_done)
    if num_steps >= left:
        more_epochs, num_steps = divmod(num_steps - left, plan.num_steps)
        epoch, samples_done = epoch + 1 + more_epochs, 0
    return SamplePosition(epoch, samples_done + num_steps * plan.global_batch)


def random_words(
    seed: int, epoch: int, num_words: int, *, stream: int = 0, item: int = 0
) -> NDArray[np.uint64]:
    """64-bit numbers of (seed, epoch, item), other than those of other streams: (num_words,).

    The counter-based generator Philox4x64-10 (Salmon et al. 2011, SC11) makes them: the same on
    every machine and numpy.
    """
    generator = np.random.Philox(
        key=np.array([seed, epoch], dtype=np.uint64),
        counter=np.array([0, stream, item, 0], dtype=np.uint64),
    )
    return generator.random_raw(num_words)


def sample_order(
    num_samples: int, seed: int, epoch: int, *, stream: int = 0, item: int = 0
) -> IntArray:
    """A shuffle that differs by seed, epoch, stream and item: (num_samples,).

    Samples are sorted by their `random_words`.
    """
    words = random_words(seed, epoch, num_samples, stream=stream, item=item)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def random_word(seed: int, epoch: int, sample: int, stream: int) -> int:
    """A 64-bit number of (seed, epoch, sample), other than those of other streams.

    For what is drawn at each read: it depends neither on the order of reads nor on who reads.

    Args:
        seed: Of the run.
        epoch: From 0.
        sample: Number of the sample in its store.
        stream: Counter word that keeps uses apart; shuffles of all samples have 0.
    """
    return int(random_words(seed, epoch, 1, stream=stream, item=sample)[0])


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
    assert 0 <= step < plan.steps_left(plan.num_samples - len(order)), (step, len(order), plan)
    assert 0 <= rank < plan.num_ranks, (rank, plan)
    batch = order[step * plan.global_batch : (step + 1) * plan.global_batch]
    return run_of(batch, plan.num_ranks, rank)


def run_of(batch: IntArray, num_ranks: int, rank: int) -> IntArray:
    """The run that a rank has of a batch of all ranks, as even as it goes."""
    first, last = (len(batch) * r // num_ranks for r in (rank, rank + 1))
    return batch[first:last]


def deal(
    order: IntArray, num_steps: int, batch_size: int, num_ranks: int, rank: int
) -> list[IntArray]:
    """The runs that a rank has of an order cut into so many batches of all ranks.

    Steps that the order does not fill have fewer samples, or none.
    """
    together = batch_size * num_ranks
    num_full = min(num_steps, len(order) // together)
    full = order[: num_full * together].reshape(num_full, num_ranks, batch_size)
    rest = [order[k * together : (k + 1) * together] for k in range(num_full, num_steps)]
    return [*full[:, rank], *(run_of(batch, num_ranks, rank) for batch in rest)]


def step_samples(plan: SamplePlan, *, epoch: int, step: int, rank: int = 0) -> IntArray:
    """`batch_of` for one step alone."""
    return batch_of(plan, epoch_order(plan, epoch), step, rank)


def rank_samples(plan: SamplePlan, *, epoch: int, rank: int = 0) -> IntArray:
    """All samples that a rank reads in an epoch, in order."""
    return np.concatenate(plan.batches_of(rank, SamplePosition(epoch)))
