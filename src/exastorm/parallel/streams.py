"""What is queued on a GPU, and what waits there; on a CPU work is done when a call returns.

The host only queues work for a GPU and goes on. A sum that is to run beside what is computed is
queued on a stream of its own; marks say what it has to wait for, and let others wait for it.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

GPU = "cuda"


def synchronize(device: torch.device) -> None:
    """Return when a device has done all that was queued on it."""
    if device.type == GPU:
        torch.cuda.synchronize(device)


class Mark:
    """A place in the work of a device: behind all that the current stream holds by now."""

    def __init__(self, device: torch.device, *, timed: bool = False) -> None:
        """Set the mark.

        Args:
            device: A mark on a CPU is reached at once.
            timed: Whether `seconds_until` is asked for.
        """
        self._device = device
        self._event: torch.cuda.Event | None = None
        if device.type == GPU:
            self._event = torch.cuda.Event(enable_timing=timed)
            # Named, since a thread that has never used this GPU has another as its current one.
            self._event.record(torch.cuda.current_stream(device))

    def is_reached(self) -> bool:
        """Whether the device has come so far."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> None:
        """Let all that the current stream is given from now on wait; the host goes on."""
        if self._event is not None:
            self._event.wait(torch.cuda.current_stream(self._device))

    def seconds_until(self, later: "Mark") -> float:
        """Time of the device between two timed marks of a GPU that are reached."""
        assert self._event is not None
        assert later._event is not None
        return 1e-3 * float(self._event.elapsed_time(later._event))


class SideStream:
    """A stream of a GPU beside the one that computes; its work runs in the order it was given."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == GPU else None

    @contextmanager
    def after(self, mark: Mark) -> Iterator[None]:
        """Inside, this stream is the current one, and waits for a mark first."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            mark.wait()
            yield

    def uses(self, tensor: Tensor) -> None:
        """Let nobody have the memory of a tensor before what is queued here by now is done."""
        if self._stream is not None:
            tensor.record_stream(self._stream)


class WaitClock:
    """Counts how long work waits for other ranks: of the host on a CPU, of the device on a GPU.

    A host that queues a wait on a GPU goes on at once; so there marks before and behind the wait
    tell the time, once they are reached.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._spans: deque[tuple[Mark, Mark]] = deque()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Around a wait."""
        if self._device.type != GPU:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start
            return
        before = Mark(self._device, timed=True)
        yield
        self._spans.append((before, Mark(self._device, timed=True)))

    @property
    def seconds(self) -> float:
        """Waited so far; on a GPU in waits that are over."""
        while self._spans and self._spans[0][1].is_reached():
            before, behind = self._spans.popleft()
            self._seconds += before.seconds_until(behind)
        return self._seconds
