"""Gradients of all ranks, summed in buckets while backward still runs, at once or one step late.

Buckets are fixed (`buckets.py`); each is summed when it is full, all ranks starting the same sums
in the same order (`order.py`). With lag 0 a step waits for sums of its own gradients. With lag 1
it takes those of the step before, whose exchange had all of this step to finish (Kurth et al. 2018,
section V-B4); the first step of a run then has none. Gradients in flight are part of its state.

A hook of torch's DistributedDataParallel can't do so: DDP makes its buckets anew after the first
step, and what a hook kept from the old ones is then added to other weights, without a word.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from exastorm.parallel.allreduce.family import AllReduce
from exastorm.parallel.buckets import FLOAT_BYTES, Generation, bucket_layout
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.order import AgreedOrder, FixedOrder, Order
from exastorm.parallel.streams import SideStream, WaitClock, synchronize

Lag = Literal[0, 1]

FindExtra = Callable[[], Sequence[Tensor]]


def _none() -> Sequence[Tensor]:
    """No extra numbers."""
    return ()


class GradientExchange:
    """Sums the gradients of some parameters over all ranks.

    Attributes:
        lag: Steps between gradients and their use.
        num_bytes: Of what is summed in a step.
        num_buckets: Sums a step.
        extra: Sum over ranks of the extra numbers of the step whose gradients were handed out last.
        divisor: By which gradients are divided as they come, a scalar; None for 1.
        waiting: Makes a context around waits for other ranks, as `ControlPlane.waiting`.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        allreduce: AllReduce,
        *,
        lag: Lag = 0,
        bucket_mb: float = 25.0,
        num_extra: int = 0,
        control: ControlPlane | None = None,
    ) -> None:
        """Lay out buckets, and listen to the parameters' gradients.

        Args:
            parameters: What is learned, float32, in the order in which forward uses them.
            allreduce: How to sum; nobody else may use it.
            lag: Steps between gradients and their use.
            bucket_mb: Least size of a bucket but the last.
            num_extra: Numbers that are summed with the gradients of a step, as its loss.
            control: Through which ranks agree on the order of sums; None for a fixed one.
        """
        self.lag = lag
        self.divisor: Tensor | None = None
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        self._parameters, self._allreduce = list(parameters), allreduce
        self._device = self._parameters[0].device
        self._clock, self._starting = WaitClock(self._device), SideStream(self._device)
        layout = bucket_layout(self._parameters, bucket_mb)
        self.num_buckets = len(layout)
        self.num_bytes = FLOAT_BYTES * (sum(p.numel() for p in self._parameters) + num_extra)
        self._generations = [
            Generation(layout, self._parameters, num_extra) for _ in range(lag + 1)
        ]
        self.extra = self._generations[0].buckets[-1].extra
        self._step = 0
        self._order: Order = FixedOrder(self.num_buckets, self._start)
        if control is not None:
            self._order = AgreedOrder(control, self._start, self._fail)
        self._is_last_part = True
        self._listening = False
        self._hooks = [
            parameter.register_hook(partial(self._arrive, i))
            for i, parameter in enumerate(self._parameters)
        ]

    @property
    def waited_s(self) -> float:
        """Seconds that this rank, or its GPU, has waited for sums so far."""
        return self._clock.seconds

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
            with self.waiting():
                before.wait()
            flying = before.tensors()
        return {"step": self._step, "flying": flying}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, of any number of ranks."""
        self._step = state["step"]
        if state["flying"]:
            before = self._generations[(self._step - 1) % len(self._generations)]
            for tensor, saved in zip(before.tensors(), state["flying"], strict=True):
                tensor.copy_(saved)
            before.settle()

    def close(self) -> None:
        """Stop listening; wait for what is under way."""
        for hook in self._hooks:
            hook.remove()
        with self.waiting():
            for generation in self._generations:
                generation.wait()
            synchronize(self._device)
        self._order.close()

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
        with self.waiting(), self._clock.counting():
            ready.wait()
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
            self._fill(current, current.of_parameter[number])

    def _fill(self, current: Generation, number: int) -> None:
        """Note that one more thing is in a bucket; if all are, it may be summed."""
        bucket = current.buckets[number]
        bucket.num_missing -= 1
        if bucket.num_missing == 0:
            bucket.seal()
            self._order.submit(self._step, number)

    def _fail(self, error: Exception) -> None:
        """Let sums that will never be started fail where they are waited for."""
        for generation in self._generations:
            for bucket in generation.buckets:
                if not bucket.pending.done():
                    bucket.pending.set_exception(error)

    def _start(self, step: int, bucket: int) -> None:
        """Start the sum of a bucket; on whichever thread the order calls for it."""
        ready = self._generations[step % len(self._generations)].buckets[bucket]
        assert ready.full is not None
        # Not behind what another thread has queued for the GPU since: a sum waits for its bucket.
        with self._starting.after(ready.full):
            pending = self._allreduce.start(ready.buffer)
        ready.pending.set_result(pending)

    @torch.no_grad()
    def _complete(self, current: Generation, extra: Sequence[Tensor]) -> None:
        """Count parameters without a gradient as zeros, and start what is left."""
        for place, value in zip(current.buckets[-1].extra, extra, strict=True):
            place.copy_(value)
        for number, bucket in enumerate(current.buckets):
            if bucket.num_missing:
                for missing in bucket.views.keys() - current.arrived:
                    bucket.views[missing].zero_()
                bucket.seal()
                self._order.submit(self._step, number)

    def _hand_out(self, ready: Generation) -> None:
        """Let each parameter's gradient be its sum."""
        self.extra = ready.buckets[-1].extra
        for bucket in ready.buckets:
            for number, view in bucket.views.items():
                self._parameters[number].grad = view
