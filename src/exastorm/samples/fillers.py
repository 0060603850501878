"""Who fills batches: threads of this process, or nobody until a batch is asked for.

A filler owns a ring of batches that are filled again and again, so that a step allocates nothing.
`samples/processes.py` has the filler whose workers are processes of their own.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.sampler import IntArray


class Filler(Protocol):
    """Fills the batches of a ring, as a context manager that ends the work under way."""

    @property
    def num_slots(self) -> int:
        """Batches in the ring."""

    def start(self, slot: int, samples: IntArray, epoch: int) -> None:
        """Have a batch of the ring filled with samples of the store; it must not be in use."""

    def finish(self, slot: int) -> Batch:
        """The batch, once its samples are in it; what went wrong with one is raised here."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def first_of(batch: Batch, num_samples: int) -> Batch:
    """The first samples of a batch, without a copy."""
    return Batch(*(tensor[:num_samples] for tensor in batch))


class ThreadFiller:
    """Fills batches by threads; without threads when they are asked for.

    Reading and scaling release Python's lock, so that threads do what processes would.
    """

    def __init__(
        self, dataset: SegmentationDataset, ring: Sequence[Batch], num_threads: int
    ) -> None:
        self._dataset, self._ring = dataset, ring
        self._asked: list[tuple[IntArray, int]] = [(np.empty(0, np.int64), 0)] * len(ring)
        self._tasks: list[list[Future[None]]] = [[] for _ in ring]
        self._executor = (
            ThreadPoolExecutor(num_threads, thread_name_prefix="samples") if num_threads else None
        )

    @property
    def num_slots(self) -> int:
        """Batches in the ring."""
        return len(self._ring)

    def start(self, slot: int, samples: IntArray, epoch: int) -> None:
        """As `Filler.start`."""
        self._asked[slot] = samples, epoch
        if self._executor is not None:
            self._tasks[slot] = [
                self._executor.submit(
                    self._dataset.fill, int(sample), self._ring[slot], place, epoch
                )
                for place, sample in enumerate(samples)
            ]

    def finish(self, slot: int) -> Batch:
        """As `Filler.finish`."""
        samples, epoch = self._asked[slot]
        if self._executor is None:
            for place, sample in enumerate(samples):
                self._dataset.fill(int(sample), self._ring[slot], place, epoch)
        for task in self._tasks[slot]:
            task.result()
        return first_of(self._ring[slot], len(samples))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
