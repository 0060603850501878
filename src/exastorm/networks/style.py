"""What follows a convolution, and how it treats the edges: the difference between the variants.

Both networks are written once; a `Style` says how their layers are made. The modern style wraps in
longitude and follows each convolution by a norm and an activation. The paper's styles are flat maps
with no norm: in its DeepLabv3+ every batch norm was replaced by multiplication by 0.5, so that
activations stay in fp16's range, and its Tiramisu had neither.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from exastorm.networks.channelwise_norm import normalize_by_channel
from exastorm.networks.layers import Columns, Convolution, Deconvolution

NormName = Literal["group", "batch"]
ActivationName = Literal["relu", "silu"]

GROUP_CHANNELS = 8
"""Channels in a group of the group norm, where they divide (Wu and He 2018, Group Normalization,
table 3: 8 to 32 channels a group are within 0.5 % of one another)."""

PAPER_SCALE = 0.5
"""What the paper's DeepLabv3+ has in place of batch norm (Kurth et al. 2018, their code)."""

_state = threading.local()


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply an activation, in place where that saves memory ("none" leaves x as it is)."""
    if activation == "relu":
        return functional.relu(x, inplace=True)
    # SiLU in place would keep a copy of its input for the gradient, and save nothing.
    return functional.silu(x) if activation == "silu" else x


class Activation(nn.Module):
    """An activation alone."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return activate(x, self.activation)


class GroupNorm(nn.GroupNorm):
    """Group norm, which works at batch 1, then the activation."""

    def __init__(self, num_channels: int, activation: str = "relu") -> None:
        whole = num_channels % GROUP_CHANNELS == 0
        super().__init__(num_channels // GROUP_CHANNELS if whole else 1, num_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not x.is_cuda:
            return activate(super().forward(x), self.activation)
        normalized = normalize_by_channel(x, self.num_groups, self.weight, self.bias, self.eps)
        return activate(normalized, self.activation)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that counts each batch once, also where its activations are computed twice."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not (getattr(_state, "repeats", False) and self.training):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        # Copies take the update: without any, other tensors would be kept than the first time.
        mean, var = self.running_mean.clone(), self.running_var.clone()
        return functional.batch_norm(
            x, mean, var, self.weight, self.bias, training=True, eps=self.eps
        )


@contextmanager
def repeating() -> Iterator[None]:
    """Within, this thread repeats a forward pass: batch norms leave their statistics alone."""
    _state.repeats = True
    try:
        yield
    finally:
        _state.repeats = False


class Scale(nn.Module):
    """Multiply by a constant, then the activation.

    Attributes:
        factor: The constant.
    """

    def __init__(self, factor: float, activation: str) -> None:
        super().__init__()
        self.factor = factor
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return activate(x * self.factor, self.activation)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How layers are made.

    Attributes:
        wraps: Round the globe; else the flat map of the paper.
        norm: group, batch, half (multiply by 0.5) or none.
        activation: relu, silu or none.
    """

    wraps: bool = True
    norm: Literal["group", "batch", "half", "none"] = "group"
    activation: Literal["relu", "silu", "none"] = "relu"

    def convolution(
        self,
        num_in: int,
        num_out: int,
        kernel_size: int = 3,
        *,
        wrapped: bool = False,
        **options: Any,
    ) -> Convolution:
        """A convolution alone.

        Args:
            num_in: Channels of the input.
            num_out: Channels of the output.
            kernel_size: Odd.
            wrapped: That the input brings wrapped columns along, where the style wraps.
            options: As of `Convolution`.
        """
        columns: Columns = ("given" if wrapped else "wrap") if self.wraps else "zero"
        return Convolution(num_in, num_out, kernel_size, columns=columns, **options)

    def deconvolution(self, num_in: int, num_out: int, *, bias: bool = True) -> Deconvolution:
        """A deconvolution alone."""
        return Deconvolution(num_in, num_out, bias=bias, wraps=self.wraps)

    def normalize(self, num_channels: int) -> nn.Module:
        """Norm and activation."""
        if self.norm == "group":
            return GroupNorm(num_channels, self.activation)
        if self.norm == "batch":
            return nn.Sequential(BatchNorm(num_channels), Activation(self.activation))
        if self.norm == "half":
            return Scale(PAPER_SCALE, self.activation)
        return Activation(self.activation)

    def normalized_convolution(
        self, num_in: int, num_out: int, kernel_size: int = 3, **options: Any
    ) -> nn.Sequential:
        """Convolution, norm, activation; the convolution has a bias where there is no norm."""
        layer = self.convolution(num_in, num_out, kernel_size, bias=self.norm == "none", **options)
        return nn.Sequential(layer, self.normalize(num_out))

    def normalized_deconvolution(self, num_in: int, num_out: int) -> nn.Sequential:
        """Deconvolution (doubles the grid), norm, activation; a bias where there is no norm."""
        layer = self.deconvolution(num_in, num_out, bias=self.norm == "none")
        return nn.Sequential(layer, self.normalize(num_out))


MODERN = Style()
"""Group norm and ReLU, round the globe."""
