"""Which share of its time a training waits for data: what it waits for the next batch of all."""

import time
from collections.abc import Iterator

from exastorm.samples.batch import Batch


class DataWait:
    """Counts waits for batches, and the time between them.

    Attributes:
        waited_s: From asking for a batch to getting it, in all.
        worked_s: From getting a batch to asking for the next, in all.
    """

    def __init__(self) -> None:
        self.waited_s, self.worked_s = 0.0, 0.0

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, with the clock running."""
        asked = time.perf_counter()
        for batch in batches:
            given = time.perf_counter()
            self.waited_s += given - asked
            yield batch
            asked = time.perf_counter()
            self.worked_s += asked - given

    @property
    def share(self) -> float:
        """Share of the time so far that was waited, 0 to 1; 0 before the first batch."""
        return self.waited_s / max(self.waited_s + self.worked_s, 1e-9)
