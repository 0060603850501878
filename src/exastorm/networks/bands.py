"""Convolutions of maps too large to be worth a copy, in bands of rows.

Before a convolution maps are joined, and columns wrapped; and oneDNN computes in a blocked order of
memory, into which and back it copies what it is given. Of the maps at full resolution of the
paper's grid each such copy is a gigabyte. Band by band copies are small, stay in the cache, and
are made again for the gradients, which are the same sums in another order.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE_BYTES = 2**26
"""Inputs from this size on are convolved in bands."""

BAND_BYTES = 2**24
"""Input of a band: it fits into a cache, and is large enough to keep the kernels at their rate
(measured from 2^23 to 2^27: within 5 % of one another, and of the whole at once)."""


def takes_bands(maps: Sequence[Tensor]) -> bool:
    """Whether a convolution of maps is worth bands: large, about to be learned from, on a CPU."""
    # First of all: a compiler's batch size may be a symbol, which must not be compared.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    # Half precision has copies of half the size, which autocast makes by itself.
    plain = maps[0].device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and _num_bytes(maps) >= LARGE_BYTES


def convolve_in_bands(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None, columns: tuple[int, int]
) -> Tensor:
    """A convolution of stride 1 without dilation, which keeps the rows, by bands of rows.

    Args:
        maps: (B, C, H, W) each, joined along C.
        weight: Of an odd kernel (K, all C, rows, columns).
        bias: (K,) or none.
        columns: On each side columns of the other side of the globe, and then of zeros.

    Returns:
        (B, K, H, as many columns as fit).
    """
    # Kept before the convolution runs, as torch's own layers do: where activations are computed
    # again, that ends as soon as all is there that was kept (`recompute.before_convolution`).
    kept = _Kept.apply(weight, *maps)  # type: ignore[no-untyped-call]
    result: Tensor = _Bands.apply(kept, columns, bias, weight, *maps)  # type: ignore[no-untyped-call]
    return result


class _Kept(torch.autograd.Function):
    """Keeps tensors for the backward of another function; returns nothing but its own node."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        """Keep them."""
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tensors[0].new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Any) -> tuple[None, ...]:
        """Nothing depends on it."""
        return (None,) * len(ctx.needs_input_grad)


class _Bands(torch.autograd.Function):
    """Forward and backward, band by band."""

    @staticmethod
    def forward(
        ctx: Any,
        kept: Tensor,
        columns: tuple[int, int],
        bias: Tensor | None,
        weight: Tensor,
        *maps: Tensor,
    ) -> Tensor:
        """Convolve."""
        ctx.node, ctx.columns = kept.grad_fn, columns
        reach, (num_wrapped, num_zeros) = weight.shape[2] // 2, columns
        num_samples, _, num_rows, num_columns = maps[0].shape
        num_columns += 2 * (num_wrapped + num_zeros) - weight.shape[3] + 1
        result = weight.new_empty(num_samples, weight.shape[0], num_rows, num_columns)
        for first, last in _bands(maps):
            seen = _seen(maps, first - reach, last + reach, num_wrapped)
            result[:, :, first:last] = functional.conv2d(seen, weight, bias, 1, (0, num_zeros))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of bias, weight and maps."""
        weight, *maps = ctx.node.saved_tensors
        _, _, wants_bias, wants_weight, *wants_maps = ctx.needs_input_grad
        reach, (num_wrapped, num_zeros) = weight.shape[2] // 2, ctx.columns
        grads = [torch.empty_like(m) if w else None for m, w in zip(maps, wants_maps, strict=True)]
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        for first, last in _bands(maps):
            if any(wants_maps):
                around = _rows(gradient, first - reach, last + reach)
                of_seen = _input_gradient(around, weight, num_zeros, last - first)
                _share(_fold(of_seen, num_wrapped), grads, maps, first, last)
            if grad_weight is not None:
                seen = _seen(maps, first - reach, last + reach, num_wrapped)
                grad_weight += _weight_gradient(gradient[:, :, first:last], seen, weight, num_zeros)
        grad_bias = gradient.sum(dim=(0, 2, 3)) if wants_bias else None
        return None, None, grad_bias, grad_weight, *grads


def _num_bytes(maps: Sequence[Tensor]) -> int:
    """Bytes of some maps."""
    return sum(x.numel() * x.itemsize for x in maps)


def _bands(maps: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """First row of each band of maps, and the row after its last."""
    num_rows = maps[0].shape[2]
    band = max(1, BAND_BYTES * num_rows // _num_bytes(maps))
    for first in range(0, num_rows, band):
        yield first, min(first + band, num_rows)


def _rows(x: Tensor, first: int, last: int) -> Tensor:
    """Rows of maps, with zeros beyond the poles."""
    top, bottom = max(first, 0), min(last, x.shape[2])
    rows = x[:, :, top:bottom]
    if (top, bottom) == (first, last):
        return rows
    return functional.pad(rows, (0, 0, top - first, last - bottom))


def _seen(maps: Sequence[Tensor], first: int, last: int, num_wrapped: int) -> Tensor:
    """Rows of all maps, with columns of the other side of the globe."""
    rows = [_rows(x, first, last) for x in maps]
    joined = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
    if not num_wrapped:
        return joined
    return torch.cat([joined[..., -num_wrapped:], joined, joined[..., :num_wrapped]], dim=-1)


def _fold(gradient: Tensor, num_wrapped: int) -> Tensor:
    """Gradient of columns, that of their repeats on the other side added."""
    if not num_wrapped:
        return gradient
    inner = gradient[..., num_wrapped:-num_wrapped]
    inner[..., -num_wrapped:] += gradient[..., :num_wrapped]
    inner[..., :num_wrapped] += gradient[..., -num_wrapped:]
    return inner


def _share(
    gradient: Tensor, grads: Sequence[Tensor | None], maps: Sequence[Tensor], first: int, last: int
) -> None:
    """Write the gradient of joined rows to those of the maps they are of."""
    parts = gradient.split([x.shape[1] for x in maps], dim=1)
    for grad, part in zip(grads, parts, strict=True):
        if grad is not None:
            grad[:, :, first:last] = part


def _input_gradient(gradient: Tensor, weight: Tensor, num_zeros: int, num_rows: int) -> Tensor:
    """Gradient of so many rows of the input: (B, C, num_rows, W).

    Args:
        gradient: Of all rows of the output that see them: by the kernel's reach more on each side.
        weight: Of the convolution.
        num_zeros: Columns of zeros on each side.
        num_rows: Rows.
    """
    num_samples, _, _, num_columns = gradient.shape
    num_columns += weight.shape[3] - 1 - 2 * num_zeros
    like = gradient.new_empty(1).expand(num_samples, weight.shape[1], num_rows, num_columns)
    # A convolution that pads by all but one of its rows would have made so many of the input's.
    padding = (weight.shape[2] - 1, num_zeros)
    grad_x, _, _ = _backward(gradient, like, weight, padding, (True, False, False))
    return grad_x


def _weight_gradient(gradient: Tensor, seen: Tensor, weight: Tensor, num_zeros: int) -> Tensor:
    """Gradient of the weights from rows of the output and those of the input they have seen."""
    _, grad_weight, _ = _backward(gradient, seen, weight, (0, num_zeros), (False, True, False))
    return grad_weight


def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weights and bias of a convolution of stride 1."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, wanted
    )
    return gradients
