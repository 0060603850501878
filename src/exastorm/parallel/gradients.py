"""Gradients of all ranks, summed in buckets while backward still runs, at once or one step late.

Buckets are fixed and in the order in which backward makes gradients, from the last parameter to the
first. Each is summed as soon as it and all before it are full, so all ranks start the same sums in
the same order. With lag 0 a step waits for the sums of its own gradients. With lag 1 it takes those
of the step before, whose exchange had all of this step to finish (Kurth et al. 2018, section V-B4);
the first step of a run then has none. Gradients in flight are part of a run's state.

A hook of torch's DistributedDataParallel can't do so: DDP makes its buckets anew after the first
step, and what a hook kept from the old ones is then added to other weights, without a word.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from exastorm.parallel.allreduce import AllReduce, Pending

Lag = Literal[0, 1]

FLOAT_BYTES = 4

FindExtra = Callable[[], Sequence[Tensor]]


def _none() -> Sequence[Tensor]:
    """No extra numbers."""
    return ()


class Bucket:
    """Where the gradients of some parameters lie one after the other, float32.

    Attributes:
        buffer: All of them (n,).
        views: For the number of each parameter its gradient, laid out in memory as the parameter.
        extra: Numbers behind the gradients, which are summed with them.
    """

    def __init__(
        self, numbers: Sequence[int], parameters: Sequence[Tensor], num_extra: int = 0
    ) -> None:
        size = sum(parameters[i].numel() for i in numbers)
        self.buffer = torch.zeros(size + num_extra, device=parameters[numbers[0]].device)
        self.extra = self.buffer[size:]
        self.views: dict[int, Tensor] = {}
        self.num_missing = len(numbers)
        self.pending: Pending | None = None
        start = 0
        for i in numbers:
            weight = parameters[i]
            flat = self.buffer[start : start + weight.numel()]
            self.views[i] = flat.as_strided(weight.size(), weight.stride(), flat.storage_offset())
            start += weight.numel()

    def wait(self) -> None:
        """Return when the sum is there."""
        if self.pending is not None:
            self.pending.wait()
            self.pending = None


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
        self.num_started = 0

    def clear(self) -> None:
        """Expect the gradients of a new step."""
        self.arrived.clear()
        self.num_started = 0
        for bucket in self.buckets:
            bucket.num_missing = len(bucket.views)
        # The extra numbers are known when backward is over.
        self.buckets[-1].num_missing += 1

    def wait(self) -> None:
        """Return when all sums are there."""
        for bucket in self.buckets:
            bucket.wait()


class GradientExchange:
    """Sums the gradients of some parameters over all ranks.

    Attributes:
        lag: Steps between gradients and their use.
        num_bytes: Of what is summed in a step.
        num_buckets: Sums a step.
        extra: Sum over ranks of the extra numbers of the step whose gradients were handed out last.
        waited_s: Seconds that this rank has waited for sums so far.
        divisor: By which gradients are divided as they come, a scalar; None for 1.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        allreduce: AllReduce,
        *,
        lag: Lag = 0,
        bucket_mb: float = 25.0,
        num_extra: int = 0,
    ) -> None:
        """Lay out buckets, and listen to the parameters' gradients.

        Args:
            parameters: What is learned, float32, in the order in which forward uses them.
            allreduce: How to sum; nobody else may use it.
            lag: Steps between gradients and their use.
            bucket_mb: Least size of a bucket but the last.
            num_extra: Numbers that are summed with the gradients of a step, as its loss.
        """
        self.lag = lag
        self.divisor: Tensor | None = None
        self.waited_s = 0.0
        self._parameters, self._allreduce = list(parameters), allreduce
        layout = bucket_layout(self._parameters, bucket_mb)
        self.num_buckets = len(layout)
        self.num_bytes = FLOAT_BYTES * (sum(p.numel() for p in self._parameters) + num_extra)
        self._generations = [
            Generation(layout, self._parameters, num_extra) for _ in range(lag + 1)
        ]
        self.extra = self._generations[0].buckets[-1].extra
        self._step = 0
        self._is_last_part = True
        self._listening = False
        self._hooks = [
            parameter.register_hook(partial(self._arrive, i))
            for i, parameter in enumerate(self._parameters)
        ]

    def learn(self, parts: Sequence[Callable[[], Any]], find_extra: FindExtra = _none) -> bool:
        """Run the backward passes of a step, and set gradients to the sum over parts and ranks.

        Args:
            parts: Each runs forward and backward of a part of the batch, in this thread.
            find_extra: Gives the extra numbers once all parts have run.

        Returns:
            Whether there are gradients: not in the first step with lag 1.

        Raises:
            ExchangeError: If a rank is gone or silent.
        """
        current = self._begin()
        self._listening = True
        for number, part in enumerate(parts):
            self._is_last_part = number + 1 == len(parts)
            part()
        self._listening = False
        return self._end(current, find_extra())

    def exchange(self, gradients: Sequence[Tensor], extra: Sequence[Tensor] = ()) -> bool:
        """The same for gradients that are there already, as of parts that ran side by side.

        Args:
            gradients: Of each parameter.
            extra: The extra numbers, scalars.

        Raises:
            ExchangeError: If a rank is gone or silent.
        """
        current = self._begin()
        self._is_last_part = True
        for number, gradient in reversed(list(enumerate(gradients))):
            self._put(number, gradient)
        return self._end(current, extra)

    def state_dict(self) -> dict[str, Any]:
        """Gradients in flight, which are the same on all ranks; waits for them."""
        flying: list[Tensor] = []
        if self.lag and self._step:
            before = self._generations[(self._step - 1) % len(self._generations)]
            before.wait()
            flying = [bucket.buffer for bucket in before.buckets]
        return {"step": self._step, "flying": flying}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, of any number of ranks."""
        self._step = state["step"]
        if state["flying"]:
            before = self._generations[(self._step - 1) % len(self._generations)]
            for bucket, buffer in zip(before.buckets, state["flying"], strict=True):
                bucket.buffer.copy_(buffer)
                bucket.pending = None

    def close(self) -> None:
        """Stop listening; wait for what is under way."""
        for hook in self._hooks:
            hook.remove()
        for generation in self._generations:
            generation.wait()

    def _begin(self) -> Generation:
        """The generation of the step that begins."""
        current = self._generations[self._step % len(self._generations)]
        current.clear()
        return current

    def _end(self, current: Generation, extra: Sequence[Tensor]) -> bool:
        """Start what is left of a step, and hand out gradients if there are any yet."""
        self._complete(current, extra)
        self._step += 1
        if self._step <= self.lag:
            return False
        ready = self._generations[self._step % len(self._generations)] if self.lag else current
        start = time.perf_counter()
        ready.wait()
        self.waited_s += time.perf_counter() - start
        self._hand_out(ready)
        return True

    def _arrive(self, number: int, gradient: Tensor) -> None:
        """Take a gradient that backward has made."""
        if self._listening:
            self._put(number, gradient)

    @torch.no_grad()
    def _put(self, number: int, gradient: Tensor) -> None:
        """Put a gradient where it belongs; start the sums of buckets that are full."""
        current = self._generations[self._step % len(self._generations)]
        bucket = current.buckets[current.of_parameter[number]]
        if self.divisor is not None:
            gradient = gradient / self.divisor
        if number in current.arrived:
            bucket.views[number].add_(gradient)
        else:
            bucket.views[number].copy_(gradient)
            current.arrived.add(number)
        if self._is_last_part:
            bucket.num_missing -= 1
            self._start_full(current)

    def _start_full(self, current: Generation) -> None:
        """Start the sums of all buckets that are full, in order."""
        while current.num_started < len(current.buckets):
            bucket = current.buckets[current.num_started]
            if bucket.num_missing:
                return
            bucket.pending = self._allreduce.start(bucket.buffer)
            current.num_started += 1

    @torch.no_grad()
    def _complete(self, current: Generation, extra: Sequence[Tensor]) -> None:
        """Count parameters without a gradient as zeros, and start what is left."""
        for place, value in zip(current.buckets[-1].extra, extra, strict=True):
            place.copy_(value)
        for bucket in current.buckets[current.num_started :]:
            for number in bucket.views.keys() - current.arrived:
                bucket.views[number].zero_()
            bucket.num_missing = 0
        self._start_full(current)

    def _hand_out(self, ready: Generation) -> None:
        """Let each parameter's gradient be its sum."""
        self.extra = ready.buckets[-1].extra
        for bucket in ready.buckets:
            for number, view in bucket.views.items():
                self._parameters[number].grad = view


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
