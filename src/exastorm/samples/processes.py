"""Batches filled by processes, for sources whose library lets one thread read at a time.

Batches lie in memory that all processes map: a worker is told a number and a place, reads the
sample straight into that place, and says when it is done; no array goes through a pipe. The memory
has no name (memfd), so nothing is left behind however the processes end, and the size of /dev/shm
does not matter. Workers come from a fork server, which loads torch once and holds none of the
parent's threads, locks or devices; they end when the pipe to their parent does.
"""

import contextlib
import math
import mmap
import multiprocessing
import os
import signal
import tempfile
import warnings
from collections import deque
from multiprocessing import connection, reduction, util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from exastorm.errors import InputError
from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.fillers import first_of
from exastorm.samples.sampler import IntArray

TASKS_IN_PIPE = 64
"""Samples that a worker is told ahead: what fits a pipe's 64 KB both ways, so that neither end
ever waits for the other to read."""

PATIENCE_S = 5.0
"""Longest wait for a worker that was told to end, before it is ended."""

ALIGN_BYTES = 4096
"""Tensors begin at multiples of a memory page."""

DTYPES = (np.float32, np.int64, np.float32)
"""Of field, label and weight."""


class Task(NamedTuple):
    """One sample to fill in.

    Attributes:
        slot: Batch of the ring.
        place: Place in the batch.
        sample: Number in the store.
        epoch: From 0.
    """

    slot: int
    place: int
    sample: int
    epoch: int


class Answer(NamedTuple):
    """What became of a task.

    Attributes:
        slot: Of the task.
        sample: Of the task.
        error: Problem, file, variable and time of what stops the run, if anything does.
        left_out: Why the sample was left out, if it was.
    """

    slot: int
    sample: int
    error: tuple[str, str | None, str | None, str | None] | None
    left_out: str | None


class SharedRing:
    """Batches in memory that processes share by passing this object to a new one.

    Attributes:
        batches: The batches, the same in all processes.
    """

    def __init__(self, template: Batch, num_slots: int) -> None:
        """Make room for so many batches of the shapes of a template."""
        self._shapes = [tuple(tensor.shape) for tensor in template]
        self._num_slots = num_slots
        # Without a name in any file system; elsewhere than on Linux a file that is unlinked.
        if hasattr(os, "memfd_create"):
            self._file: int = os.memfd_create("exastorm-samples")
        else:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        os.ftruncate(self._file, max(1, num_slots * self._slot_bytes()))
        self._map()

    def _tensor_bytes(self) -> list[int]:
        """Room of each tensor of a batch."""
        sizes = zip(self._shapes, DTYPES, strict=True)
        used = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in sizes]
        return [-(-size // ALIGN_BYTES) * ALIGN_BYTES for size in used]

    def _slot_bytes(self) -> int:
        """Room of a batch."""
        return sum(self._tensor_bytes())

    def _map(self) -> None:
        """Map the memory; the tensors keep it mapped."""
        memory = mmap.mmap(self._file, 0)
        starts = np.cumsum([0, *self._tensor_bytes()])[:-1]
        self.batches = [
            Batch(
                *(
                    torch.from_numpy(
                        np.frombuffer(
                            memory, dtype, math.prod(shape), slot * self._slot_bytes() + int(start)
                        ).reshape(shape)
                    )
                    for shape, dtype, start in zip(self._shapes, DTYPES, starts, strict=True)
                )
            )
            for slot in range(self._num_slots)
        ]

    def pin(self) -> int:
        """Pin the memory for copies to a GPU; returns its address."""
        address = self.batches[0].field.data_ptr()
        num_bytes = self._num_slots * self._slot_bytes()
        torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(address, num_bytes, 0))
        return address

    def close(self) -> None:
        """Let go of the file; what is mapped stays as long as it is used."""
        os.close(self._file)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: self.__dict__[name] for name in ("_shapes", "_num_slots")}
        return state | {"_file": reduction.DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=state["_file"].detach())
        self._map()
        self.close()


class ProcessFiller:
    """Fills batches by processes, each with a pipe of its own; see `fillers.Filler`."""

    def __init__(
        self,
        dataset: SegmentationDataset,
        template: Batch,
        num_slots: int,
        num_processes: int,
        *,
        pin: bool = False,
    ) -> None:
        """Start the processes.

        Args:
            dataset: The split.
            template: A batch of the largest size.
            num_slots: Batches in the ring.
            num_processes: Workers.
            pin: Pin the memory of the ring, for copies to a GPU.
        """
        self._dataset, self.num_slots, self._num_given = dataset, num_slots, 0
        self._num_samples, self._num_open = [0] * num_slots, [0] * num_slots
        self._pipes: list[Connection[Any, Any]] = []
        self._processes: list[BaseProcess] = []
        # Also if a caller leaves a loader half read: Python's exit would wait for the workers.
        self._end = util.Finalize(self, end, args=(self._pipes, self._processes), exitpriority=0)
        self._waiting: list[deque[Task]] = [deque() for _ in range(num_processes)]
        self._num_in_pipe = [0] * num_processes
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        ring = SharedRing(template, num_slots)
        self._ring = ring.batches
        for _ in range(num_processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(dataset, ring, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        ring.close()
        self._pinned = ring.pin() if pin else None

    def start(self, slot: int, samples: IntArray, epoch: int) -> None:
        """As `Filler.start`."""
        self._num_samples[slot] = self._num_open[slot] = len(samples)
        for place, sample in enumerate(samples):
            worker = self._num_given % len(self._pipes)
            self._waiting[worker].append(Task(slot, place, int(sample), epoch))
            self._num_given += 1
        for worker in range(len(self._pipes)):
            self._give(worker)

    def finish(self, slot: int) -> Batch:
        """As `Filler.finish`.

        Raises:
            InputError: Also if a worker has died.
        """
        while self._num_open[slot]:
            for pipe in connection.wait(self._pipes):
                worker = self._pipes.index(pipe)  # type: ignore[arg-type]
                try:
                    answer: Answer = self._pipes[worker].recv()
                except (EOFError, ConnectionError):
                    raise self._death_of(worker) from None
                self._take(worker, answer)
        return first_of(self._ring[slot], self._num_samples[slot])

    def _give(self, worker: int) -> None:
        """Tell a worker what it is to do next, as much as its pipe holds."""
        while self._waiting[worker] and self._num_in_pipe[worker] < TASKS_IN_PIPE:
            try:
                self._pipes[worker].send(self._waiting[worker].popleft())
            except ConnectionError:
                raise self._death_of(worker) from None
            self._num_in_pipe[worker] += 1

    def _take(self, worker: int, answer: Answer) -> None:
        """Take note of an answer."""
        self._num_in_pipe[worker] -= 1
        self._num_open[answer.slot] -= 1
        if answer.error is not None:
            problem, file, variable, time = answer.error
            raise InputError(problem, file=file, variable=variable, time=time)
        if answer.left_out is not None:
            self._dataset.record_bad(answer.sample, answer.left_out)
        self._give(worker)

    def _death_of(self, worker: int) -> InputError:
        """What to say of a worker that ended by itself."""
        process = self._processes[worker]
        process.join(PATIENCE_S)
        code = process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return InputError(
            f"process {process.pid}, which read samples, ended {how}: was it short of memory?"
            " loader.workers threads reads without such processes",
            file=self._dataset.store.path,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if self._pinned is not None:
            torch.cuda.synchronize()
            torch.cuda.cudart().cudaHostUnregister(self._pinned)


def end(pipes: "list[Connection[Any, Any]]", processes: list[BaseProcess]) -> None:
    """End workers by closing their pipes, or by force if they don't hear."""
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(PATIENCE_S)
        process.kill()
        process.join()
        process.close()


def work(dataset: SegmentationDataset, ring: SharedRing, pipe: "Connection[Any, Any]") -> None:
    """What a worker does: fill in samples until its parent closes the pipe, or ends."""
    # Signals go to the whole job: the parent says when it is over.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
    # The parent warns of samples left out.
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            pipe.send(_answer(dataset, ring, Task(*pipe.recv())))


def _answer(dataset: SegmentationDataset, ring: SharedRing, task: Task) -> Answer:
    """Fill in one sample."""
    error = None
    try:
        dataset.fill(task.sample, ring.batches[task.slot], task.place, task.epoch)
    except InputError as e:
        error = e.problem, e.file, e.variable, None if e.time is None else str(e.time)
    return Answer(task.slot, task.sample, error, dataset.bad_samples.pop(task.sample, None))
