"""Convolutions of maps too large to be worth a copy, in bands of rows.

oneDNN computes in a blocked order of memory, and copies what it is given into it and back: for the
two convolutions at full resolution of the paper's grid 2 GB more in backward than there are maps.
Band by band the copies are small, and the gradients are the same sums in another order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE_BYTES = 2**28
"""Inputs from this size on are convolved in bands."""

BAND_BYTES = 2**27
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
    result: Tensor = _Bands.apply(x, weight, bias, padding)  # type: ignore[no-untyped-call]
    return result


class _Bands(torch.autograd.Function):
    """Forward as torch has it; backward band by band."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return functional.conv2d(x, weight, bias, 1, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input, weight and bias."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        grad_x = torch.zeros_like(x) if wants_x else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        num_rows, reach = x.shape[2], ctx.padding[0]
        band = max(1, BAND_BYTES * num_rows // (x.numel() * x.itemsize))
        for first in range(0, num_rows, band):
            last = min(first + band, num_rows)
            # Rows of x that these rows of the output have seen, and zeros beyond the poles.
            top, bottom = max(first - reach, 0), min(last + reach, num_rows)
            beyond = (top - (first - reach), last + reach - bottom)
            seen = functional.pad(x[:, :, top:bottom], (0, 0, *beyond))
            of_seen, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient[:, :, first:last],
                seen,
                weight,
                None,
                (1, 1),
                (0, ctx.padding[1]),
                (1, 1),
                False,
                (0, 0),
                1,
                (wants_x, wants_weight, False),
            )
            if grad_x is not None:
                grad_x[:, :, top:bottom] += of_seen[:, :, beyond[0] : of_seen.shape[2] - beyond[1]]
            if grad_weight is not None:
                grad_weight += of_weight
        grad_bias = gradient.sum(dim=(0, 2, 3)) if wants_bias else None
        return grad_x, grad_weight, grad_bias, None
