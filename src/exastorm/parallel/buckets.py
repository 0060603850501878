"""Where the gradients of a step lie: in buckets, each summed over ranks at once.

Buckets are fixed, and in the order in which backward makes gradients: from the last parameter to
the first. Behind the gradients of the last bucket lie a few extra numbers of the step.
"""

from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from exastorm.parallel.allreduce.family import Pending
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.streams import Mark

FLOAT_BYTES = 4


class Bucket:
    """Where the gradients of some parameters lie one after the other, float32.

    Attributes:
        buffer: All of them (n,).
        views: For the number of each parameter its gradient, laid out in memory as the parameter.
        extra: Numbers behind the gradients, which are summed with them.
        full: Where on the device all of them are in, once that is queued.
    """

    def __init__(
        self, numbers: Sequence[int], parameters: Sequence[Tensor], num_extra: int = 0
    ) -> None:
        size = sum(parameters[i].numel() for i in numbers)
        self.buffer = torch.zeros(size + num_extra, device=parameters[numbers[0]].device)
        self.extra = self.buffer[size:]
        self.views: dict[int, Tensor] = {}
        self.num_missing = len(numbers)
        self.full: Mark | None = None
        # Its sum under way, once that is started: another thread may do so.
        self.pending: Future[Pending] = Future()
        start = 0
        for i in numbers:
            weight = parameters[i]
            flat = self.buffer[start : start + weight.numel()]
            self.views[i] = flat.as_strided(weight.size(), weight.stride(), flat.storage_offset())
            start += weight.numel()

    def seal(self) -> None:
        """Note that all that belongs here is in, or on a GPU queued on the current stream."""
        self.num_missing = 0
        self.full = Mark(self.buffer.device)

    def wait(self) -> None:
        """Return when the sum is there, or the current stream waits for it."""
        self.pending.result().wait()


class Generation:
    """The gradients of one step, in buckets, and the extra numbers behind the last."""

    def __init__(
        self, layout: Sequence[Sequence[int]], parameters: Sequence[Tensor], num_extra: int
    ) -> None:
        last = len(layout) - 1
        self.buckets = [
            Bucket(numbers, parameters, num_extra if b == last else 0)
            for b, numbers in enumerate(layout)
        ]
        self.of_parameter = {i: b for b, bucket in enumerate(self.buckets) for i in bucket.views}
        self.arrived: set[int] = set()
        self.settle()

    def settle(self) -> None:
        """Take what is in the buckets as it is: no sum is under way."""
        for bucket in self.buckets:
            bucket.pending = Future()
            bucket.pending.set_result(Pending(Failure(), num_parts=0))

    def tensors(self) -> list[Tensor]:
        """The gradient of each parameter, in order, and the extra numbers."""
        buckets = self.buckets
        views = [buckets[b].views[i] for i, b in sorted(self.of_parameter.items())]
        return [*views, buckets[-1].extra]

    def clear(self) -> None:
        """Expect the gradients of a new step."""
        self.arrived.clear()
        for bucket in self.buckets:
            bucket.num_missing = len(bucket.views)
            bucket.pending = Future()
        # The extra numbers are known when backward is over.
        self.buckets[-1].num_missing += 1

    def wait(self) -> None:
        """Return when all sums are there, or the current stream waits for them."""
        for bucket in self.buckets:
            bucket.wait()


def bucket_layout(parameters: Sequence[Tensor], bucket_mb: float) -> list[list[int]]:
    """Numbers of the parameters of each bucket, from the last parameter to the first."""
    layout: list[list[int]] = [[]]
    size = 0
    for number in reversed(range(len(parameters))):
        layout[-1].append(number)
        size += FLOAT_BYTES * parameters[number].numel()
        if size >= bucket_mb * 1e6 and number > 0:
            layout.append([])
            size = 0
    return layout
