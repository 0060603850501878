"""Stages with a thread each, through which pieces of work go in order, several at a time.

While one chunk crosses between nodes, the next is summed inside them. Each stage does one thing at
a time, first in first out, and has process groups of its own, so collectives are called in the same
order on all ranks; those called from where others end (`Future.then`) are not.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Failure:
    """The first error of a pipeline, which ends all that is under way and all that follows."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def set(self, error: BaseException) -> None:
        """Note an error, unless there is one."""
        if self.error is None:
            self.error = error


class Stages(Generic[Job]):
    """Threads in a row; each job passes all of them."""

    def __init__(
        self,
        work: Sequence[Callable[[Job], None]],
        done: Callable[[Job], None],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the threads.

        Args:
            work: What each stage does with a job.
            done: Called in the last thread with each job that has passed, or failed.
            prepare: Called in each thread when it starts.
        """
        self.failure = Failure()
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in work]
        self._done = done
        self._prepare = prepare
        self._threads = [
            threading.Thread(target=self._run, args=(i, step), name=f"stage-{i}", daemon=True)
            for i, step in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Give a job to the first stage."""
        self._queues[0].put(job)

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        self._queues[0].put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, work: Callable[[Job], None]) -> None:
        """Take jobs until there are no more; after an error pass them on untouched."""
        self._prepare()
        last = number + 1 == len(self._queues)
        while (job := self._queues[number].get()) is not None:
            if self.failure.error is None:
                try:
                    work(job)
                except Exception as error:
                    self.failure.set(error)
            if last:
                self._done(job)
            else:
                self._queues[number + 1].put(job)
        if not last:
            self._queues[number + 1].put(None)
