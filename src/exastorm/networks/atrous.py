"""Atrous convolutions on GPUs: the gradient of the weights as products of matrices.

At the rates of DeepLabv3+'s pyramid (12, 24, 36) cuDNN finds no kernel on tensor cores for the
gradient of the weights: those of three layers took 15 of the 87 ms of a training step on an H100,
26 TF/s (docs/benchmarks/gpu.md). Each of the nine weights of a kernel sees the whole
map, shifted; in a padded map whose channels are neighbors in memory a shift is another place to
begin at, and its gradient one product of two matrices, with nothing copied.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

FROM_RATE = 8
"""Smallest rate whose weights' gradient is a product of matrices; for those of the encoder, 2 and
4, cuDNN has tensor cores (docs/benchmarks/gpu.md)."""

Pair = tuple[int, int]


def convolve_atrous(x: Tensor, weight: Tensor, padding: Pair, rate: int) -> Tensor:
    """A convolution of stride 1 whose kernel has holes.

    Args:
        x: Features (B, C, H, W).
        weight: (K, C, rows, columns).
        padding: Rows and columns of zeros on each side.
        rate: Rows and columns from one weight to the next.

    Returns:
        (B, K, as many rows and columns as fit).
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        # What is kept for backward is what is multiplied.
        dtype = torch.get_autocast_dtype(kind)
        x, weight = x.to(dtype), weight.to(dtype)
    result: Tensor = _Atrous.apply(x, weight, padding, rate)  # type: ignore[no-untyped-call]
    return result


class _Atrous(torch.autograd.Function):
    """torch's convolution, but for the gradient of the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: Pair, rate: int) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.rate = padding, rate
        return functional.conv2d(x, weight, None, 1, padding, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of features and weights."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, _, _ = ctx.needs_input_grad
        grad_x = None
        if wants_x:
            rates = (ctx.rate, ctx.rate)
            grad_x, _, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, (1, 1), ctx.padding, rates, False, (0, 0), 1,
                (True, False, False),
            )  # fmt: skip
        grad_weight = _weight_gradient(gradient, x, weight, ctx.padding, ctx.rate)
        return grad_x, grad_weight if wants_weight else None, None, None


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, padding: Pair, rate: int
) -> Tensor:
    """Gradient of the weights (K, C, rows, columns), one product for each of them.

    Args:
        gradient: Of the output (B, K, H', W').
        x: Features (B, C, H, W).
        weight: The weights.
        padding: Rows and columns of zeros on each side.
        rate: Rows and columns from one weight to the next.
    """
    num_rows, num_columns = weight.shape[2:]
    rows, columns = padding
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
    # Where a row of the padded map has columns that no output is centered on, zeros stand in the
    # gradient: then both are walked through with one step. The last of these zeros are left out,
    # for shifted as far as it goes the map has no columns for them.
    beyond = rate * (num_columns - 1)
    of_output = functional.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, beyond))
    num_points = of_output.shape[1] * of_output.shape[2] - beyond
    of_output, padded_points = of_output.flatten(1, 2)[:, :num_points], padded.flatten(1, 2)
    transposed = of_output.transpose(1, 2)
    of_weights = []
    for row in range(num_rows):
        for column in range(num_columns):
            first = rate * (row * padded.shape[2] + column)
            product = transposed @ padded_points[:, first : first + num_points]
            of_weights.append(product.sum(dim=0))
    grad: Tensor = torch.stack(of_weights, dim=-1).unflatten(-1, (num_rows, num_columns))
    return grad
