"""In which order the buckets of a step are summed: the same on all ranks, or none would ever end.

Fixed, each bucket waits for those before it. Agreed, each goes when all ranks have it, in an order
that comes down the control tree: ranks may fill buckets in different orders, as where layers depend
on the data. Once every rank has kept its order for some steps nothing is asked any more
(`static_order.py`).
"""

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.errors import told

Start = Callable[[int, int], None]
"""Starts the sum of a bucket, by step and number."""


class Order(Protocol):
    """Decides when the sum of a bucket starts."""

    def submit(self, step: int, bucket: int) -> None:
        """A bucket is full on this rank; each of a step's is submitted once."""

    def close(self) -> None:
        """No more steps."""


class FixedOrder:
    """From the first bucket to the last."""

    def __init__(self, num_buckets: int, start: Start) -> None:
        self._num_buckets, self._start = num_buckets, start
        self._full: set[int] = set()
        self._next = 0

    def submit(self, step: int, bucket: int) -> None:
        """Start all buckets that are full, up to the first that is not."""
        self._full.add(bucket)
        while self._next in self._full:
            self._start(step, self._next)
            self._next += 1
        if self._next == self._num_buckets:
            self._full.clear()
            self._next = 0

    def close(self) -> None:
        """Nothing is under way."""


class AgreedOrder:
    """As all ranks agree, on a thread that waits for their word."""

    def __init__(
        self, control: ControlPlane, start: Start, fail: Callable[[Exception], None]
    ) -> None:
        """Start the thread.

        Args:
            control: Made for the buckets of a step.
            start: Starts a sum.
            fail: Told why no more sums will be started: the run has to end, or one can't start.
        """
        self._control, self._start, self._fail = control, start, fail
        self._steps: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._num_submitted = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="order", daemon=True)
        self._thread.start()

    def submit(self, step: int, bucket: int) -> None:
        """Say that this rank has a bucket.

        Raises:
            ExchangeError: If no more sums will be started.
        """
        if self._error is not None:
            raise self._error
        if self._num_submitted == 0:
            self._steps.put(step)
        self._control.submit(step, bucket)
        self._num_submitted += 1
        if self._num_submitted == self._control.num_buckets:
            self._control.finish(step)
            self._num_submitted = 0

    def close(self) -> None:
        """End the thread."""
        self._steps.put(None)
        self._thread.join()

    def _run(self) -> None:
        """Start sums as they are released."""
        try:
            while (step := self._steps.get()) is not None:
                for bucket in self._control.released(step):
                    self._start(step, bucket)
        except Exception as error:
            # Kept first: who expects more sums after `fail` has looked will ask for them here.
            problem = told(error)
            assert isinstance(problem, Exception)
            self._error = problem
            self._fail(problem)
