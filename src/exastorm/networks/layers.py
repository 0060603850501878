"""Convolution, normalization and resizing that know the globe is round.

In width (longitude) every layer wraps: rolling its input by a multiple of its stride rolls its
output by as much. In height (latitude) rows beyond the poles are zeros, which are the channel
means of normalized fields; so a layer can tell how far a row is from the pole, and the padding
costs nothing, for the convolution kernels do it. Shapes are (B, C, H, W), W round the globe.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUP_CHANNELS = 8
"""Channels in a group of the group norm, where they divide (Wu and He 2018, Group Normalization,
table 3: 8 to 32 channels a group are within 0.5 % of one another)."""


def wrap_columns(x: Tensor, left: int, right: int) -> Tensor:
    """Repeat columns from the other side of the globe on both edges: (B, C, H, W + left + right).

    Concatenation is about twice as fast as a circular `pad` on a CPU, both ways.

    Args:
        x: Features (B, C, H, W).
        left: Columns to add on the left; may exceed W, then the globe is gone round again.
        right: Columns to add on the right.
    """
    width = x.shape[-1]
    if left > width or right > width:
        columns = torch.arange(-left, width + right, device=x.device) % width
        return x.index_select(-1, columns)
    parts = [x[..., width - left :], x, x[..., :right]]
    return torch.cat([p for p in parts if p.shape[-1]], dim=-1)


def fit_to_stride(x: Tensor, stride: int) -> Tensor:
    """Pad a field on the right and top so that the stride divides its sides.

    Columns wrap and rows repeat the last one. Crop the network's output to the old sides. Where
    the stride does not divide the width, rolling is no longer exact.

    Args:
        x: Fields (B, C, H, W).
        stride: Total stride of the network.
    """
    rows, columns = -x.shape[-2] % stride, -x.shape[-1] % stride
    if columns:
        x = wrap_columns(x, 0, columns)
    if rows:
        x = functional.pad(x, (0, 0, 0, rows), mode="replicate")
    return x


class Convolution(nn.Conv2d):
    """A convolution with an odd kernel, centered, that wraps in longitude."""

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        reach = dilation * (kernel_size // 2)
        super().__init__(
            num_in,
            num_out,
            kernel_size,
            stride=stride,
            padding=(reach, 0),
            dilation=dilation,
            bias=bias,
        )
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, H / stride, W / stride)."""
        return super().forward(wrap_columns(x, self.reach, self.reach) if self.reach else x)


class Deconvolution(nn.ConvTranspose2d):
    """A 3x3 stride-2 transposed convolution that wraps: the adjoint of the strided `Convolution`.

    Its overhanging column is added to the other edge. Here one wrapped column on the right sends
    what would overhang on the left into the last column.
    """

    def __init__(self, num_in: int, num_out: int, *, bias: bool = True) -> None:
        # Output row of input row i and kernel row k is 2 i + k - 1: centered on even rows.
        super().__init__(
            num_in, num_out, 3, stride=2, padding=(1, 1), output_padding=(1, 0), bias=bias
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, 2 H, 2 W)."""
        # W + 1 input columns give 2 (W + 1) - 1 = 2 W + 1 columns, of which the last is a repeat.
        wrapped = super().forward(wrap_columns(x, 0, 1), output_size)
        return wrapped[..., :-1]


class NormReLU(nn.GroupNorm):
    """Group norm, which works at batch 1, then ReLU in place."""

    def __init__(self, num_channels: int) -> None:
        whole = num_channels % GROUP_CHANNELS == 0
        super().__init__(num_channels // GROUP_CHANNELS if whole else 1, num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return functional.relu(super().forward(x), inplace=True)


def normalized_convolution(num_in: int, num_out: int, kernel_size: int = 3) -> nn.Sequential:
    """Convolution without bias, group norm, ReLU."""
    return nn.Sequential(Convolution(num_in, num_out, kernel_size, bias=False), NormReLU(num_out))


def normalized_deconvolution(num_in: int, num_out: int) -> nn.Sequential:
    """Deconvolution without bias (doubles the grid), group norm, ReLU."""
    return nn.Sequential(Deconvolution(num_in, num_out, bias=False), NormReLU(num_out))
