"""Dropout whose masks can be had again: after an interruption, and when a stage is recomputed.

On the CPU masks come from a generator of the calling thread, which `seed_dropout` sets. A training
that seeds it with (seed, step, part of the batch) needs to save no random state to go on as if it
had never stopped, and threads that learn from parts of a batch do not disturb one another. On GPUs
masks come from torch's generator of the device, which `seed_dropout` sets too.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_LOTS = 2**16
"""Lots from which a value's fate is drawn: a rate is met to 1 / 131072."""

_state = threading.local()


def seed_dropout(seed: int) -> None:
    """Set the masks that this thread draws from now on.

    Args:
        seed: Any 64-bit number. Before the first call masks come from torch's own generator.
    """
    if not hasattr(_state, "generator"):
        _state.generator = torch.Generator()
    _state.generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)


def mask_state() -> Tensor | None:
    """State of this thread's generator of masks; None if it was never seeded."""
    generator = getattr(_state, "generator", None)
    return None if generator is None else generator.get_state()


@contextmanager
def masks_from(state: Tensor | None) -> Iterator[None]:
    """Within, this thread draws the masks that follow a state; afterwards it goes on as before.

    Args:
        state: Of `mask_state`; None changes nothing, for torch's own generators are restored by
            those who recompute.
    """
    if state is None:
        yield
        return
    before = getattr(_state, "generator", None)
    _state.generator = torch.Generator()
    _state.generator.set_state(state)
    try:
        yield
    finally:
        if before is None:
            del _state.generator
        else:
            _state.generator = before


def _draw(x: Tensor, num_dropped: int) -> Tensor:
    """A mask of x's shape, true where a value is kept: all but `num_dropped` of `NUM_LOTS`."""
    # 64 random bits make four lots: a quarter of the time that one draw for each value takes.
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
    words.random_(-(2**63), None, generator=getattr(_state, "generator", None))
    lots = words.view(torch.int16)[: x.numel()].view(x.shape)
    return lots >= num_dropped - NUM_LOTS // 2


@torch.library.custom_op(
    "exastorm::dropout_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
def dropout_mask(x: Tensor, num_dropped: int) -> Tensor:
    """`_draw` as one operation that compilers neither look into nor merge with another draw."""
    return _draw(x, num_dropped)


@dropout_mask.register_fake
def _(x: Tensor, num_dropped: int) -> Tensor:
    return torch.empty(x.shape, dtype=torch.bool, device=x.device)


class Dropout(nn.Module):
    """Sets each value to 0 with some probability, and scales the others so that the mean stays.

    Attributes:
        rate: The probability.
        always: Also in evaluation, as in the paper's Tiramisu.
    """

    def __init__(self, rate: float, *, always: bool = False) -> None:
        super().__init__()
        if not 0.0 <= rate <= 0.99:
            raise ValueError(f"rate must be from 0 to 0.99, got {rate}")
        self.rate = rate
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if self.rate == 0.0 or not (self.training or self.always):
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.rate, training=True)
        num_dropped = round(self.rate * NUM_LOTS)
        mask = (dropout_mask if torch.compiler.is_compiling() else _draw)(x, num_dropped)
        return (x * mask).mul_(NUM_LOTS / (NUM_LOTS - num_dropped))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"rate={self.rate}, always={self.always}"
