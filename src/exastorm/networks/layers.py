"""Convolution, pooling and resizing: on a round globe, or on the flat map of the paper.

On the globe (`wraps`) every layer takes the columns it lacks from the other side: rolling its input
by a multiple of its stride rolls its output by as much. In height (latitude) rows beyond the poles
are zeros, which are the channel means of normalized fields; so a layer can tell how far a row is
from the pole, and the padding costs nothing, for the convolution kernels do it.

On the flat map zeros lie beyond all four edges, placed as TensorFlow's "same" padding places them
(Kurth et al. 2018 trained with TensorFlow 1): where stride 2 leaves one row or column over, pooling
and transposed convolution have it at the bottom and on the right. Shapes are (B, C, H, W).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from exastorm.networks.atrous import FROM_RATE, convolve_atrous
from exastorm.networks.bands import convolve_in_bands, takes_bands

Columns = Literal["wrap", "given", "zero"]
"""What a convolution finds beyond the western and eastern edge."""


def wrap_columns(x: Tensor, left: int, right: int) -> Tensor:
    """Repeat columns from the other side of the globe on both edges: (B, C, H, W + left + right).

    Concatenation is about twice as fast as a circular `pad` on a CPU, both ways, and its gradient
    is made here in one copy: torch's own fills a map of zeros for each edge, and adds all three.

    Args:
        x: Features (B, C, H, W).
        left: Columns to add on the left; may exceed W, then the globe is gone round again.
        right: Columns to add on the right.
    """
    width = x.shape[-1]
    if left > width or right > width:
        columns = torch.arange(-left, width + right, device=x.device) % width
        return x.index_select(-1, columns)
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _joined(x, left, right)
    wrapped: Tensor = _Wrap.apply(x, left, right)  # type: ignore[no-untyped-call]
    return wrapped


def _joined(x: Tensor, left: int, right: int) -> Tensor:
    """Maps with columns of the other side on both edges."""
    parts = [x[..., x.shape[-1] - left :], x, x[..., :right]]
    return torch.cat([p for p in parts if p.shape[-1]], dim=-1)


class _Wrap(torch.autograd.Function):
    """`_joined`, whose gradient adds what the edges got to the columns they came from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: int, right: int) -> Tensor:
        """Join."""
        ctx.sizes = left, right, x.shape[-1]
        return _joined(x, left, right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Add the edges to the columns of the other side."""
        left, right, width = ctx.sizes
        inner = gradient[..., left : left + width].clone()
        inner[..., width - left :] += gradient[..., :left]
        inner[..., :right] += gradient[..., left + width :]
        return inner, None, None


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
    """A convolution with an odd kernel, centered.

    Attributes:
        reach: Columns and rows that the kernel reaches beyond its center.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        columns: Columns = "wrap",
    ) -> None:
        """Build it.

        Args:
            num_in: Channels of the input.
            num_out: Channels of the output.
            kernel_size: Odd.
            stride: Of rows and columns; zeros lie evenly on both sides, as TF-slim's
                `conv2d_same` has them.
            dilation: Of rows and columns.
            bias: Whether it adds one.
            columns: What lies beyond the edges: wrap, the other side of the globe; given, the same,
                which the input brings along, `reach` columns on each side; zero, nothing.
        """
        self.reach = dilation * (kernel_size // 2)
        self._zeros = (self.reach, self.reach if columns == "zero" else 0)
        super().__init__(
            num_in,
            num_out,
            kernel_size,
            stride=stride,
            padding=self._zeros,
            dilation=dilation,
            bias=bias,
        )
        # On each side columns of the other side of the globe, and of zeros.
        self._beyond = (self.reach * (columns == "wrap"), self.reach * (columns == "zero"))
        self._may_take_bands = stride == dilation == 1 and kernel_size > 1
        self._has_holes = stride == 1 and dilation >= FROM_RATE and kernel_size > 1 and not bias

    def forward(self, *maps: Tensor) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, H / stride, W / stride).

        Several maps are joined along their channels.
        """
        if self._may_take_bands and takes_bands(maps):
            return convolve_in_bands(maps, self.weight, self.bias, self._beyond)
        x = maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)
        num_wrapped, _ = self._beyond
        if num_wrapped:
            x = wrap_columns(x, num_wrapped, num_wrapped)
        if self._has_holes and x.is_cuda:
            return convolve_atrous(x, self.weight, self._zeros, self.dilation[0])
        if self.kernel_size == (1, 1) and _is_eager_float32_on_cpu(x):
            # A single point has no dilation; but with one, torch takes oneDNN also on one thread:
            # twice as fast there as its own 1x1 convolution, both ways (torch 2.13).
            return functional.conv2d(x, self.weight, self.bias, self.stride, dilation=2)
        return super().forward(x)


def _is_eager_float32_on_cpu(x: Tensor) -> bool:
    """Whether x is what torch calls oneDNN for at once, with no compiler between."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


class Deconvolution(nn.ConvTranspose2d):
    """A 3x3 stride-2 transposed convolution, which doubles the grid.

    On the globe it is the adjoint of the strided `Convolution`: its overhanging column is added to
    the other edge. Here one wrapped column on the right sends what would overhang on the left into
    the last column. On the flat map it is the adjoint of a strided convolution whose only padding
    is at the bottom and on the right, and what hangs over there is cropped.
    """

    def __init__(self, num_in: int, num_out: int, *, bias: bool = True, wraps: bool = True) -> None:
        # On the globe, output row of input row i and kernel row k is 2 i + k - 1: centered on even
        # rows. On the flat map it is 2 i + k.
        padding, output_padding = ((1, 1), (1, 0)) if wraps else ((0, 0), (0, 0))
        super().__init__(
            num_in, num_out, 3, stride=2, padding=padding, output_padding=output_padding, bias=bias
        )
        self.wraps = wraps

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, 2 H, 2 W)."""
        if self.wraps:
            # W + 1 columns give 2 (W + 1) - 1 = 2 W + 1 columns, of which the last is a repeat.
            return super().forward(wrap_columns(x, 0, 1), output_size)[..., :-1]
        return super().forward(x, output_size)[..., :-1, :-1]


def pool(x: Tensor, *, wraps: bool) -> Tensor:
    """Largest of 3x3 grid points at every second row and column: (B, C, H / 2, W / 2).

    On the globe windows are centered on even rows and columns; on the flat map they begin there,
    as TensorFlow has them. What lies beyond an edge never is the largest.

    Args:
        x: Features (B, C, H, W), H and W even.
        wraps: Round the globe.
    """
    if wraps:
        return functional.max_pool2d(wrap_columns(x, 1, 1), 3, stride=2, padding=(1, 0))
    return functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
