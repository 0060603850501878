"""How many operations one call of torch is, in two conventions.

**Dense**, what a convolution kernel computes: two operations (multiply, add) for each weight at
each place. A convolution meets its weights at every place of its output, a transposed one at every
place of its input. Zeros that pad an edge are counted where the kernel multiplies them.

**The paper's**, with which Kurth et al. 2018 state 14.41 and 4.188 TFLOP a sample: a walk over the
graph of TensorFlow 1.x, which knows no atrous convolution. It pads the input by the reach of the
kernel, and on until the rate divides its sides, cuts it into one small image for each phase
(space-to-batch) and convolves those without padding; the walk takes the size of that padded input
for the number of places. Strided convolutions are padded by hand before they run without padding,
and are counted alike. On 96 x 144 a 3 x 3 convolution of rate 36 is padded from 96 x 144 by 36 on
each side to 168 x 216, then to 180 x 216, which 36 divides: 2.81 times the places. A bilinear
resize is 11 operations a value.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

BILINEAR_OPERATIONS = 11
"""Operations for each value of a bilinear resize, as the paper's counter had it; none in the dense
convention, which counts multiply-adds with weights."""

aten = torch.ops.aten


def padded_side(num_out: int, kernel_size: int, stride: int, rate: int) -> int:
    """Rows (or columns) of the padded input that TensorFlow 1.x convolves.

    Args:
        num_out: Rows that come out.
        kernel_size: Rows of the kernel.
        stride: Rows of the input from one place to the next.
        rate: Atrous rate; 1 for none.

    Returns:
        Rows of the input with its padding; just those of the input for a convolution of stride 1
        that is not atrous, which TensorFlow pads inside its kernel, where no counter sees it.
    """
    if stride == 1 and (rate == 1 or kernel_size == 1):
        return num_out
    padded = num_out * stride + rate * (kernel_size - 1)
    return -(-padded // rate) * rate


def convolution_operations(
    out_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Sequence[int],
    rate: Sequence[int],
) -> tuple[int, int]:
    """Operations of a convolution.

    Args:
        out_shape: Shape of its output (B, num_out, H, W).
        weight_shape: Shape of its weights (num_out, num_in / groups, kernel height, width).
        stride: Stride each way; one value stands for both.
        rate: Atrous rate each way.

    Returns:
        Dense, and by the paper's convention.
    """
    each = 2 * out_shape[0] * prod(weight_shape)
    sides = len(out_shape) - 2
    steps, rates = (tuple(s) * sides if len(s) == 1 else tuple(s) for s in (stride, rate))
    places = Fraction(1)
    for num_out, kernel, step, dilation in zip(
        out_shape[2:], weight_shape[2:], steps, rates, strict=True
    ):
        places *= Fraction(padded_side(num_out, kernel, step, dilation), step)
    return each * prod(out_shape[2:]), round(each * places)


def transposed_operations(in_shape: Sequence[int], weight_shape: Sequence[int]) -> tuple[int, int]:
    """Operations of a transposed convolution, dense and by the paper's convention: the same.

    Args:
        in_shape: Shape of its input (B, num_in, H, W), without columns that only wrap it.
        weight_shape: Shape of its weights (num_in, num_out / groups, kernel height, width).
    """
    operations = 2 * in_shape[0] * prod(in_shape[2:]) * prod(weight_shape)
    return operations, operations


def call_operations(
    function: Any, arguments: Sequence[Any], result: Any, in_shape: Sequence[int] | None = None
) -> tuple[int, int]:
    """Operations of one call into torch.

    Args:
        function: The operator, an overload of torch.ops.
        arguments: Its positional arguments.
        result: What it returned.
        in_shape: Input of the layer that makes the call, before it wraps columns.

    Returns:
        Dense, and by the paper's convention. Element-wise work (norms, activations, sums, copies)
        is counted as none in either, as usual.
    """
    packet = getattr(function, "overloadpacket", function)
    if packet is aten.convolution:
        x, weight, _, stride, _, dilation, transposed = arguments[:7]
        if transposed:
            return transposed_operations(in_shape or x.shape, weight.shape)
        return convolution_operations(result.shape, weight.shape, stride, dilation)
    if packet is aten.upsample_bilinear2d and isinstance(result, Tensor):
        return 0, BILINEAR_OPERATIONS * result.numel()
    if packet in flop_registry:
        operations = int(flop_registry[packet](*arguments, out_val=result))
        return operations, operations
    return 0, 0
