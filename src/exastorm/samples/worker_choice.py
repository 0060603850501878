"""Threads or processes: what reads samples where the settings leave the choice open.

Threads win wherever the library lets several read at once: they start at once and share all memory.
Where it holds a lock (HDF5 has one for the whole process; Zarr decodes under Python's) a short
measurement tells: if threads together read hardly faster than one alone, processes do it, unless
so little is read that starting them would take longer than they save.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from exastorm.samples.dataset import SegmentationDataset

MIN_EFFICIENCY = 0.7
"""Threads must read at least this share of what as many lone ones would: half way, rounded down,
between all of it and the half that is left to two threads of which one always waits."""

SAMPLES_PER_THREAD = 2
"""Samples read in each measurement: enough to tell a half from a whole."""


START_S = 5.0
"""Time that processes must save to be started, s: up to their first batch they took 1.4 to 1.7 s on
two idle cores, most of it for loading torch, and take as much longer as cores are busy."""


@dataclass(frozen=True)
class WorkerChoice:
    """What reads samples, and why.

    Attributes:
        workers: Threads or processes.
        speedup: Of all threads over one, where it was measured.
        saved_s: Time that processes would save with each sample, s, where it was measured.
        is_short: Whether threads were chosen because so little is read.
    """

    workers: Literal["threads", "processes"]
    speedup: float | None = None
    saved_s: float | None = None
    is_short: bool = False

    def over(self, num_samples: int | None) -> "WorkerChoice":
        """The choice for workers that read so many samples before they end; None for no end."""
        if self.workers == "threads" or self.saved_s is None or num_samples is None:
            return self
        if num_samples * self.saved_s >= START_S:
            return self
        return replace(self, workers="threads", is_short=True)

    def to_line(self, num_workers: int) -> str:
        """One line for the user."""
        if self.speedup is None:
            return f"samples are read by {num_workers} {self.workers}"
        short = ", but processes would take longer to start than they save" if self.is_short else ""
        return (
            f"samples are read by {num_workers} {self.workers}: {num_workers} threads read"
            f" {self.speedup:.2g} times as fast as one{short}"
        )


def choose_workers(dataset: SegmentationDataset, num_workers: int) -> WorkerChoice:
    """What reads a split best; measures only where the source holds a lock.

    Args:
        dataset: The split.
        num_workers: Threads or processes.

    Raises:
        InputError: If samples can't be read.
    """
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    num_useful = min(num_workers, num_cores)
    if num_useful < 2 or not dataset.store.holds_lock:
        return WorkerChoice("threads")
    samples = dataset.samples[: SAMPLES_PER_THREAD * num_useful]
    # The first round warms caches, so that the second and third differ by threads alone.
    _seconds(dataset, samples.tolist(), 1)
    alone, together = (_seconds(dataset, samples.tolist(), n) for n in (1, num_useful))
    speedup = alone / together
    is_locked = speedup < MIN_EFFICIENCY * num_useful
    saved_s = (together - alone / num_useful) / len(samples)
    return WorkerChoice("processes" if is_locked else "threads", speedup, saved_s)


def _seconds(dataset: SegmentationDataset, samples: list[int], num_threads: int) -> float:
    """Time to read and scale samples by threads."""
    batch = dataset.empty_batch(len(samples))
    with ThreadPoolExecutor(num_threads) as executor:
        start = time.perf_counter()
        list(
            executor.map(
                lambda k: dataset.fill(samples[k], batch, k, dataset.epoch), range(len(samples))
            )
        )
        return time.perf_counter() - start
