"""The parts of DeepLabv3+: encoder, pyramid and decoder, in the style of either variant.

Where the paper's network is linear (pre-activations and the tail of the decoder), `before_unit` and
`tail` say so; all else follows from the style.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from exastorm.networks.layers import pool
from exastorm.networks.network import run_plainly
from exastorm.networks.recompute import before_convolution
from exastorm.networks.style import Style

Run = Callable[..., Any]
"""Runs a stage with its inputs: `SegmentationNetwork.run_stage`, or plainly."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Channels and depth of one preset.

    Attributes:
        root: Channels of the first convolution and of the first block's 3x3 convolutions; they
            double with each block, and a block's output has four times as many.
        units: Residual units in each of the four blocks.
        pyramid: Channels of each ASPP branch and of its output.
        low_level: Channels of the low-level skip.
        decoder: Channels of the decoder at strides 4, 2 and 1.
        skip: Channels of the input skip's two convolutions.
    """

    root: int
    units: tuple[int, int, int, int]
    pyramid: int
    low_level: int
    decoder: tuple[int, int, int]
    skip: tuple[int, int]


def before_unit(style: Style) -> Style:
    """Style of pre-activations: with the paper's batch norms their ReLUs went too."""
    return replace(style, activation="none") if style.norm == "half" else style


def tail(style: Style) -> Style:
    """Style of what the paper's decoder has as plain linear layers."""
    return replace(style, norm="none", activation="none") if style.norm == "half" else style


class Unit(nn.Module):
    """A pre-activation bottleneck unit: 1x1, 3x3, 1x1 convolutions beside a shortcut."""

    def __init__(
        self,
        num_in: int,
        width: int,
        style: Style,
        *,
        stride: int = 1,
        dilation: int = 1,
        project: bool,
    ) -> None:
        super().__init__()
        num_out = 4 * width
        self.stride = stride
        self.activate = before_unit(style).normalize(num_in)
        self.reduce = style.normalized_convolution(num_in, width, 1)
        self.spatial = style.convolution(width, width, stride=stride, dilation=dilation, bias=False)
        self.expand = nn.Sequential(style.normalize(width), style.convolution(width, num_out, 1))
        self.project = style.convolution(num_in, num_out, 1) if project else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, num_in, H, W) to output (B, 4 width, H / stride, W / stride).

        Also returns the first 1x1 convolution's output (B, width, H, W), before its norm, for the
        low-level skip.
        """
        convolution, normalize = _halves(self.reduce)
        if self.project is None:
            reduced = before_convolution(lambda x: convolution(self.activate(x)), x)
            shortcut = x
        else:
            active = self.activate(x)
            reduced, shortcut = convolution(active), self.project(active)
        spatial = before_convolution(lambda x: self.spatial(normalize(x)), reduced)
        shortcut = shortcut[..., :: self.stride, :: self.stride]
        return shortcut + before_convolution(self.expand, spatial), reduced


class Encoder(nn.Module):
    """ResNet v2 at output stride 8: the last two blocks dilate instead of striding."""

    def __init__(self, num_channels: int, widths: Widths, style: Style) -> None:
        super().__init__()
        self.wraps = style.wraps
        self.root = style.convolution(num_channels, widths.root, 7, stride=2)
        self.blocks = nn.ModuleList()
        num_in = widths.root
        for block, (num_units, dilation) in enumerate(zip(widths.units, (1, 1, 2, 4), strict=True)):
            width = widths.root * 2**block
            units = nn.ModuleList()
            for unit in range(num_units):
                last_of_first = block == 0 and unit == num_units - 1
                units.append(
                    Unit(
                        num_in,
                        width,
                        style,
                        stride=2 if last_of_first else 1,
                        dilation=dilation,
                        project=unit == 0,
                    )
                )
                num_in = 4 * width
            self.blocks.append(units)
        self.num_features = num_in

    def forward(self, x: Tensor, run: Run = run_plainly) -> tuple[Tensor, Tensor]:
        """Fields (B, C, H, W) to features at stride 8 and low-level features at stride 4."""
        x, low_level = run(self._begin, x)
        for block in range(1, len(self.blocks)):
            x, _ = run(self._run_block, x, block)
        return x, low_level

    def _begin(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Fields to the output of the first block, and the low-level features in it."""
        x, reduced = self._run_block(pool(self.root(fields), wraps=self.wraps), 0)
        units = self.blocks[0]
        assert isinstance(units, nn.ModuleList)
        last = units[-1]
        assert isinstance(last, Unit)
        _, normalize = _halves(last.reduce)
        return x, normalize(reduced)

    def _run_block(self, x: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Output of a block, and what its last unit reduced, before its norm."""
        units = self.blocks[block]
        assert isinstance(units, nn.ModuleList)
        reduced = x
        for unit in units:
            x, reduced = unit(x)
        return x, reduced


class Pyramid(nn.Module):
    """ASPP: 1x1, three atrous 3x3 and the mean of the whole globe, side by side."""

    def __init__(self, num_in: int, num_out: int, rates: Sequence[int], style: Style) -> None:
        super().__init__()
        paper = style.norm == "half"
        self.activate = nn.Identity() if paper else style.normalize(num_in)
        # One norm over all branches: the same as one each, in a single pass over memory.
        self.branches = nn.ModuleList([style.convolution(num_in, num_out, 1, bias=False)])
        for rate in rates:
            self.branches.append(style.convolution(num_in, num_out, dilation=rate, bias=False))
        # A norm over one point and few channels would erase the mean, so it gets a bias instead.
        plain = style if paper else replace(style, norm="none")
        self.pooled = style.convolution(num_in, num_out, 1, bias=not paper)
        self.norm = style.normalize(num_out * len(self.branches))
        self.merge = style.normalized_convolution(num_out * (len(self.branches) + 1), num_out, 1)
        self.activate_pooled = plain.normalize(num_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, H, W)."""
        # The activation is computed for each branch, and kept for none (if the maps are large).
        branches = [
            before_convolution(lambda x, branch=branch: branch(self.activate(x)), x)
            for branch in self.branches
        ]
        local = self.norm(torch.cat(branches, dim=1))
        mean = before_convolution(lambda x: self.activate(x).mean(dim=(2, 3), keepdim=True), x)
        pooled = self.activate_pooled(self.pooled(mean))
        merged: Tensor = self.merge(torch.cat([local, pooled.expand(-1, -1, *x.shape[2:])], dim=1))
        return merged


class Decoder(nn.Module):
    """From stride 8 to full resolution, joined by low-level features and by the input."""

    def __init__(self, num_channels: int, widths: Widths, style: Style) -> None:
        super().__init__()
        quarter, half, whole = widths.decoder
        last = tail(style)
        self.low_level = style.normalized_convolution(widths.root, widths.low_level, 1)
        self.to_quarter = last.normalized_deconvolution(widths.pyramid, quarter)
        self.refine = nn.Sequential(
            style.normalized_convolution(quarter + widths.low_level, quarter),
            style.normalized_convolution(quarter, quarter),
        )
        self.to_half = last.normalized_deconvolution(quarter, half)
        self.to_whole = last.normalized_deconvolution(half, whole)
        self.skip = nn.Sequential(
            last.normalized_convolution(num_channels, widths.skip[0]),
            last.normalized_convolution(widths.skip[0], widths.skip[1]),
        )
        self.head = nn.Sequential(
            last.normalized_convolution(whole + widths.skip[1], whole),
            last.normalized_convolution(whole, whole),
        )

    def forward(
        self, fields: Tensor, low_level: Tensor, features: Tensor, run: Run = run_plainly
    ) -> Tensor:
        """Fields (B, C, H, W) and features at strides 4 and 8 to (B, decoder[2], H, W).

        The norm and activation of what comes out are left to `activate`.
        """
        x = run(self._to_quarter, features, low_level)
        x = run(self._to_whole, x)
        x = run(self._join, x, run(self._skip, fields))
        full: Tensor = run(self._finish, x)
        return full

    def _to_quarter(self, features: Tensor, low_level: Tensor) -> Tensor:
        """Features at strides 8 and 4 to features at stride 4."""
        both = [self.to_quarter(features), self.low_level(low_level)]
        refined: Tensor = self.refine(torch.cat(both, dim=1))
        return refined

    # From here on maps are large, and what passes on is what a convolution returned: norm and
    # activation come first in the next stage, so that they can be computed again.

    def _to_whole(self, x: Tensor) -> Tensor:
        """Features at stride 4 to those at full resolution, without norm."""
        to_half, normalize = _halves(self.to_half)
        to_whole, _ = _halves(self.to_whole)
        return before_convolution(lambda x: to_whole(normalize(x)), to_half(x))

    def _skip(self, fields: Tensor) -> Tensor:
        """The input's own features, without norm."""
        first, normalize = _halves(self.skip[0])
        second, _ = _halves(self.skip[1])
        return before_convolution(lambda x: second(normalize(x)), first(fields))

    def _join(self, x: Tensor, skip: Tensor) -> Tensor:
        """What the encoder found and the input itself, at full resolution, without norm."""
        _, normalize = _halves(self.to_whole)
        _, normalize_skip = _halves(self.skip[1])
        join, _ = _halves(self.head[0])
        return before_convolution(lambda x, skip: join(normalize(x), normalize_skip(skip)), x, skip)

    def _finish(self, x: Tensor) -> Tensor:
        """The last large convolution, without norm."""
        _, normalize = _halves(self.head[0])
        finish, _ = _halves(self.head[1])
        return before_convolution(lambda x: finish(normalize(x)), x)

    def activate(self, x: Tensor) -> Tensor:
        """Norm and activation of what `forward` returned."""
        _, normalize = _halves(self.head[1])
        return normalize(x)


def _halves(layer: nn.Module) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """The convolution of a normalized one, and its norm with the activation."""
    assert isinstance(layer, nn.Sequential)
    convolution, normalize = layer
    return convolution, normalize
