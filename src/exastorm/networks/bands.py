"""Convolutions of maps too large to be worth a copy, in bands of rows.

oneDNN computes in a blocked order of memory, and copies what it is given into it and back: for the
two convolutions at full resolution of the paper's grid 2 GB more in backward than there are maps.
Band by band the copies are small, and the gradients are the same sums in another order.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE_BYTES = 2**26
"""Inputs from this size on are convolved in bands."""

BAND_BYTES = 2**24
"""Input of a band: small beside the maps, large enough to keep the kernels at their rate."""


def takes_bands(x: Tensor) -> bool:
    """Whether a convolution of x is worth bands: large, about to be learned from, on a CPU."""
    # Half precision has copies of half the size, which autocast makes by itself.
    plain = not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    if not plain or not torch.is_grad_enabled() or x.device.type != "cpu":
        return False
    # Last: asked while a network is exported, it would fix how many samples it takes.
    return x.numel() * x.itemsize >= LARGE_BYTES


def convolve_in_bands(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """A convolution of stride 1 without dilation, whose backward goes by bands of rows.

    Args:
        x: Maps (B, C, H, W).
        weight: Of an odd kernel (K, C, rows, columns).
        bias: (K,) or none.
        padding: Zero rows and columns beyond each edge; the rows keep H.
    """
    # Kept before the convolution runs, as torch's own layers do: where activations are computed
    # again, that ends as soon as all is there that was kept (`recompute.before_convolution`).
    kept = _Kept.apply(x, weight)  # type: ignore[no-untyped-call]
    result: Tensor = _Bands.apply(x, weight, bias, padding, kept)  # type: ignore[no-untyped-call]
    return result


class _Kept(torch.autograd.Function):
    """Keeps two tensors for the backward of another function; returns nothing but its own node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Keep them."""
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)
        return x.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Any) -> tuple[None, None]:
        """Nothing depends on it."""
        return None, None


class _Bands(torch.autograd.Function):
    """Forward as torch has it; backward band by band."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: tuple[int, int],
        kept: Tensor,
    ) -> Tensor:
        """Convolve."""
        ctx.node, ctx.padding = kept.grad_fn, padding
        reach, num_columns = padding[0], x.shape[3] + 2 * padding[1] - weight.shape[3] + 1
        result = x.new_empty(x.shape[0], weight.shape[0], x.shape[2], num_columns)
        for first, last in _bands(x):
            seen = _rows(x, first - reach, last + reach)
            result[:, :, first:last] = functional.conv2d(seen, weight, bias, 1, (0, padding[1]))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input, weight and bias."""
        x, weight = ctx.node.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grad_x = torch.empty_like(x) if wants_x else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        reach = ctx.padding[0]
        for first, last in _bands(x):
            if grad_x is not None:
                grad_x[:, :, first:last] = _input_gradient(
                    _rows(gradient, first - reach, last + reach), weight, ctx.padding, last - first
                )
            if grad_weight is not None:
                grad_weight += _weight_gradient(
                    gradient[:, :, first:last],
                    _rows(x, first - reach, last + reach),
                    weight,
                    ctx.padding,
                )
        grad_bias = gradient.sum(dim=(0, 2, 3)) if wants_bias else None
        return grad_x, grad_weight, grad_bias, None, None


def _bands(x: Tensor) -> Iterator[tuple[int, int]]:
    """First row of each band of maps, and the row after its last."""
    num_rows = x.shape[2]
    band = max(1, BAND_BYTES * num_rows // (x.numel() * x.itemsize))
    for first in range(0, num_rows, band):
        yield first, min(first + band, num_rows)


def _rows(x: Tensor, first: int, last: int) -> Tensor:
    """Rows of maps, with zeros beyond the poles."""
    top, bottom = max(first, 0), min(last, x.shape[2])
    rows = x[:, :, top:bottom]
    if (top, bottom) == (first, last):
        return rows
    return functional.pad(rows, (0, 0, top - first, last - bottom))


def _input_gradient(
    gradient: Tensor, weight: Tensor, padding: tuple[int, int], num_rows: int
) -> Tensor:
    """Gradient of so many rows of the input: (B, C, num_rows, W).

    Args:
        gradient: Of all rows of the output that see them, `padding` more on each side.
        weight: Of the convolution.
        padding: Of the convolution.
        num_rows: Rows.
    """
    num_samples, _, _, num_columns = gradient.shape
    size = (num_samples, weight.shape[1], num_rows)
    num_columns += weight.shape[3] - 1 - 2 * padding[1]
    # The input is what a convolution padded by twice as many rows would have made these rows of.
    like = gradient.new_empty(1).expand(*size, num_columns)
    rows_padding = (2 * padding[0], padding[1])
    grad_x, _, _ = _backward(gradient, like, weight, rows_padding, (True, False, False))
    return grad_x


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]
) -> Tensor:
    """Gradient of the weights from rows of the output and those of x that they have seen."""
    _, grad_weight, _ = _backward(gradient, x, weight, (0, padding[1]), (False, True, False))
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
