"""What a device reaches at its best: a network's biggest convolution alone, and a matrix product.

Data sheets are reached by nothing; these are measured beside the step they are compared to. A
training step is forward and backward, and so is the peak of its convolution; each is reported.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exastorm.networks.operations import OperationTable
from exastorm.performance.timing import seconds_per_call

MATRIX_SIDE = {"cuda": 8192, "cpu": 2048}
"""Rows and columns of the matrices whose product is timed, by kind of device."""

BACKWARD_WORK = 2
"""Backward's operations in forward's: a gradient of the input and one of the weights."""


@dataclass(frozen=True, kw_only=True)
class BiggestConvolution:
    """The convolution that holds the most operations of a network.

    Attributes:
        name: Where it is in the network.
        layer: The layer itself.
        in_shape: Of its input (B, C, H, W).
        operations: Of its forward pass.
    """

    name: str
    layer: nn.Conv2d
    in_shape: tuple[int, ...]
    operations: int


def biggest_convolution(network: nn.Module, table: OperationTable) -> BiggestConvolution:
    """Find a network's biggest convolution of stride 1 that is not transposed.

    Args:
        network: The network.
        table: Its layers, as `count_layers` counted them.
    """
    found = []
    for row in table.layers:
        layer = network.get_submodule(row.name) if row.kind == "Convolution" else None
        if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
            found.append((row.forward_operations, row, layer))
    operations, row, layer = max(found, key=lambda entry: entry[0])
    # Several maps may be joined in it; the row has the first one's shape.
    in_shape = (row.in_shape[0], layer.in_channels, *row.in_shape[2:])
    return BiggestConvolution(name=row.name, layer=layer, in_shape=in_shape, operations=operations)


class LoneConvolution:
    """A convolution without its network: same shapes, same numbers, edges left to the kernel."""

    def __init__(
        self,
        biggest: BiggestConvolution,
        device: torch.device,
        dtype: torch.dtype,
        layout: torch.memory_format,
    ) -> None:
        """Make its input, weights and what comes back from the layers after it.

        Args:
            biggest: Which convolution.
            device: Where it runs.
            dtype: Its numbers.
            layout: How its features lie in memory.
        """
        layer = biggest.layer
        self._dilation = layer.dilation
        self._padding = [
            d * (k // 2) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ]

        def tensor(shape: tuple[int, ...]) -> Tensor:
            values = torch.randn(shape, device=device, dtype=dtype)
            return values.contiguous(memory_format=layout)

        self._x = tensor(biggest.in_shape).requires_grad_()
        self._weight = tensor(tuple(layer.weight.shape)).requires_grad_()
        with torch.no_grad():
            self._gradient = torch.ones_like(self.forward())

    def forward(self) -> Tensor:
        """One forward pass."""
        return nn.functional.conv2d(self._x, self._weight, None, 1, self._padding, self._dilation)

    def both(self) -> None:
        """Forward and backward."""
        torch.autograd.grad(self.forward(), (self._x, self._weight), self._gradient)


def convolution_peak(
    biggest: BiggestConvolution,
    device: torch.device,
    dtype: torch.dtype,
    num_calls: int,
    num_rounds: int,
) -> dict[str, float]:
    """Rate of a convolution alone, in the layout that is faster for forward and backward together.

    Args:
        biggest: Which convolution.
        device: Where it runs.
        dtype: Its numbers.
        num_calls: Calls between two looks at the clock.
        num_rounds: Times that so many calls are timed; the best counts.

    Returns:
        Operations per second: forward, backward, and both together.
    """
    best: dict[str, float] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        alone = LoneConvolution(biggest, device, dtype, layout)
        both = seconds_per_call(alone.both, device, num_calls, num_rounds)
        with torch.no_grad():
            forward = seconds_per_call(alone.forward, device, num_calls, num_rounds)
        del alone
        backward = max(both - forward, 0.0)
        rates = {
            "forward": biggest.operations / forward,
            # Noise on a tiny convolution can leave nothing for backward.
            "backward": BACKWARD_WORK * biggest.operations / backward if backward else 0.0,
            "both": (1 + BACKWARD_WORK) * biggest.operations / both,
        }
        if not best or rates["both"] > best["both"]:
            best = rates
    return best


def matmul_peak(device: torch.device, dtype: torch.dtype, num_calls: int, num_rounds: int) -> float:
    """Operations per second of a large matrix product."""
    side = MATRIX_SIDE[device.type]
    a, b = (torch.randn((side, side), device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_per_call(lambda: a @ b, device, num_calls, num_rounds)
