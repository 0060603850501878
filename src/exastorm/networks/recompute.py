"""Activations that backward computes again instead of keeping them.

By stage (`again`), for about a third more operations. Or only what is cheap (`before_convolution`):
norm, activation, joining and wrapping, which read and write memory, beside a convolution of the
same maps that takes twenty times as long; its input is then the one tensor of several that is kept.
Masks of dropout and statistics of batch norms are those of the first time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from exastorm.networks.dropout import mask_state, masks_from
from exastorm.networks.style import repeating

T = TypeVar("T")

LARGE_BYTES, LARGE_CHANNELS = 2**23, 64
"""Maps from this size on are not kept for the sake of a cheap operation. With fewer channels, norm
and activation are no longer cheap beside a convolution (16 channels: 4 % of a training step), and
smaller maps are not worth the bookkeeping."""


def again(stage: Callable[..., T], *inputs: Any) -> T:
    """Run a stage, keep its inputs alone, and run it again in backward.

    Args:
        stage: A part of a network. It must not change its inputs in place.
        inputs: Its inputs.
    """
    if not torch.compiler.is_compiling():
        result: T = checkpoint(stage, *inputs, use_reentrant=False, context_fn=_contexts)
        return result
    if inputs[0].device.type == "cpu":
        # Compiled code would draw other masks from the thread's generator the second time.
        return stage(*inputs)
    # On GPUs compilers repeat torch's own masks, and update statistics once, by themselves.
    compiled: T = checkpoint(stage, *inputs, use_reentrant=False)
    return compiled


def before_convolution(stage: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """Run a stage that ends with a convolution, and in backward again what comes before that.

    The convolution itself is not repeated: recomputing stops once all that backward needs is
    there, and what a convolution needs is its input. Small maps are kept as ever, and compilers
    decide for themselves what to keep.

    Args:
        stage: A part of a network without dropout. It must not change its inputs in place.
        maps: Its inputs (B, C, H, W).
    """
    keeps = torch.compiler.is_compiling() or not torch.is_grad_enabled()
    if keeps or not _are_large(maps):
        return stage(*maps)
    result: Tensor = checkpoint(
        stage, *maps, use_reentrant=False, preserve_rng_state=False, context_fn=_contexts
    )
    return result


def _are_large(maps: Sequence[Tensor]) -> bool:
    """Whether maps are worth computing again what is cheap to compute from them."""
    num_channels = sum(x.shape[1] for x in maps)
    num_bytes = sum(x.numel() * x.itemsize for x in maps)
    return num_channels >= LARGE_CHANNELS and num_bytes >= LARGE_BYTES


@contextmanager
def _again(masks: Tensor | None) -> Iterator[None]:
    """Within, a forward pass is repeated: same masks of dropout, statistics left alone."""
    with masks_from(masks), repeating():
        yield


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a stage: when it is run, and when it is run again."""
    return nullcontext(), _again(mask_state())
