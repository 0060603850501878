"""Tiramisu: dense blocks down to stride 16 and back up, as modified for climate fields.

The layers are those of Kurth et al. 2018 (their code; section 3.2 of the paper names the changes):
the fully convolutional DenseNet of Jegou et al. 2017 with half the layers in a block, twice the
growth and 5x5 kernels, which make fewer and fatter products; norm and activation after each
convolution instead of before it; a 1x1 convolution of stride 2 in place of pooling; and only the
new maps of a block go up. In the modern variant every layer wraps in longitude and has a norm and
an activation, transposed convolutions too, and dropout works in training alone. The paper's
variant is a flat map without norms whose transposed convolutions are linear, and its dropout,
which the logits get too, works in evaluation as well.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from exastorm.networks.dropout import Dropout
from exastorm.networks.initial import he_normal, he_uniform, initialize
from exastorm.networks.layers import wrap_columns
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.style import MODERN, Style

KERNEL_SIZE = 5
"""Of the convolutions in dense blocks and of the first one (Kurth et al. 2018)."""

PAPER_DROPOUT = 0.2
"""Rate of the paper's dropout (Kurth et al. 2018, their code; Jegou et al. 2017, section 4.1)."""

MODERN_DROPOUT = 0.1
"""Half of the paper's rate: norms regularize too, and their Tiramisu had none."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Channels and depth of one preset.

    Attributes:
        filters: Channels of the first convolution.
        layers: Layers of the dense block at each stride 1, 2, 4, 8, 16, on the way down; those on
            the way up have as many.
        growth: Channels that each layer adds, at each stride.
    """

    filters: int
    layers: tuple[int, ...]
    growth: tuple[int, ...]


PRESETS: dict[str, Sizes] = {
    "full": Sizes(filters=64, layers=(2, 2, 2, 4, 5), growth=(32,) * 5),
    "half": Sizes(filters=32, layers=(2, 2, 2, 4, 5), growth=(16,) * 5),
    "compact": Sizes(filters=8, layers=(1, 1, 2, 4, 5), growth=(8, 8, 16, 32, 32)),
}
"""`full` has the paper's layers; `half` half its channels; `compact` is for CPUs: few channels at
full resolution, and most of its work at strides 4 to 16."""


class DenseBlock(nn.Module):
    """Layers that each see all maps before them, those of the block's input too.

    Maps carry the columns that the kernels reach beyond the seam with them, so that growing costs
    one copy a layer and not two.

    Attributes:
        margin: Wrapped columns on each side of what goes in and comes out; 0 on the flat map.
        num_new: Channels that the block adds.
    """

    def __init__(
        self, num_in: int, num_layers: int, growth: int, style: Style, dropout: Dropout
    ) -> None:
        super().__init__()
        self.margin = KERNEL_SIZE // 2 if style.wraps else 0
        self.num_new = num_layers * growth
        self.layers = nn.ModuleList()
        for layer in range(num_layers):
            num_maps = num_in + layer * growth
            convolution = style.normalized_convolution(num_maps, growth, KERNEL_SIZE, wrapped=True)
            self.layers.append(nn.Sequential(convolution, dropout))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, num_in, H, W + 2 margin) to (B, num_in + num_new, H, W + 2 margin)."""
        for layer in self.layers:
            maps = torch.cat([maps, widen(layer(maps), self.margin)], dim=1)
        return maps


def widen(x: Tensor, margin: int) -> Tensor:
    """Wrap so many columns on each side."""
    return wrap_columns(x, margin, margin) if margin else x


def narrow(x: Tensor, margin: int) -> Tensor:
    """Take them off again."""
    return x[..., margin:-margin] if margin else x


class Tiramisu(SegmentationNetwork):
    """Tiramisu of the module docstring: fields in, logits out, on the same grid."""

    def __init__(
        self,
        num_channels: int,
        num_classes: int,
        sizes: Sizes,
        *,
        style: Style = MODERN,
        dropout: float = MODERN_DROPOUT,
    ) -> None:
        """Build it with fresh weights and zero biases.

        Args:
            num_channels: Input fields C.
            num_classes: Classes K.
            sizes: Channels and depth.
            style: How layers are made; the norm "none" makes the paper's variant.
            dropout: Rate of dropout after each activation but a transposed convolution's; in the
                paper's variant also on the logits, and in evaluation.
        """
        super().__init__()
        paper = style.norm == "none"
        drop = Dropout(dropout, always=paper)
        self.stride = 2 ** (len(sizes.layers) - 1)
        self.margin = KERNEL_SIZE // 2 if style.wraps else 0
        self.first = _dropping(
            style.normalized_convolution(num_channels, sizes.filters, KERNEL_SIZE), drop
        )
        self._build_down(sizes, style, drop)
        self._build_up(sizes, style, drop)
        self.classifier = style.convolution(self.num_maps, num_classes, 1)
        self.drop_logits = drop if paper else nn.Identity()
        initialize(self, he_uniform if paper else he_normal)

    def logits_of(self, fields: Tensor) -> Tensor:
        """Fields whose sides the stride divides (B, C, H, W) to logits (B, K, H, W)."""
        maps = self.run_stage(self._begin, fields)
        skips = []
        for level in range(len(self.down)):
            skips.append(maps)
            maps = self.run_stage(self._go_down, maps, level)
        x = self._new_maps(maps, self.down_blocks[-1])
        for level, skip in enumerate(reversed(skips)):
            maps = self.run_stage(self._go_up, x, skip, level)
            x = self._new_maps(maps, self.up_blocks[level])
        # The classifier is 1x1: it is cheaper to take the margin off its logits than off its maps.
        logits: Tensor = self.drop_logits(narrow(self.classifier(maps), self.margin))
        return logits

    def _build_down(self, sizes: Sizes, style: Style, drop: Dropout) -> None:
        """The way down: a dense block at each stride, and between them 1x1 convolutions."""
        self.down_blocks = nn.ModuleList()
        self.down = nn.ModuleList()
        self.num_skip_maps: list[int] = []
        num_maps = sizes.filters
        for level, (num_layers, growth) in enumerate(zip(sizes.layers, sizes.growth, strict=True)):
            if level:
                convolution = style.normalized_convolution(num_maps, num_maps, 1)
                self.down.append(_dropping(convolution, drop))
            self.down_blocks.append(DenseBlock(num_maps, num_layers, growth, style, drop))
            num_maps += num_layers * growth
            self.num_skip_maps.append(num_maps)

    def _build_up(self, sizes: Sizes, style: Style, drop: Dropout) -> None:
        """The way up: transposed convolutions, each joined by a skip, and dense blocks."""
        self.up_blocks = nn.ModuleList()
        self.up = nn.ModuleList()
        num_new = sizes.layers[-1] * sizes.growth[-1]
        linear = replace(style, activation="none") if style.norm == "none" else style
        for level in reversed(range(len(sizes.layers) - 1)):
            self.up.append(linear.normalized_deconvolution(num_new, num_new))
            num_maps = num_new + self.num_skip_maps[level]
            num_layers, growth = sizes.layers[level], sizes.growth[level]
            self.up_blocks.append(DenseBlock(num_maps, num_layers, growth, style, drop))
            num_new = num_layers * growth
            self.num_maps = num_maps + num_new

    def _begin(self, fields: Tensor) -> Tensor:
        """Fields to the maps of the first block."""
        maps: Tensor = self.down_blocks[0](widen(self.first(fields), self.margin))
        return maps

    def _go_down(self, maps: Tensor, level: int) -> Tensor:
        """Maps of a block to those of the next coarser one."""
        # Every second row and column first: the 1x1 convolution of stride 2 sees no others.
        x = self.down[level](narrow(maps, self.margin)[..., ::2, ::2])
        coarser: Tensor = self.down_blocks[level + 1](widen(x, self.margin))
        return coarser

    def _go_up(self, x: Tensor, skip: Tensor, level: int) -> Tensor:
        """New maps of a block, and the skip of the next finer one, to the maps of that one."""
        finer = widen(self.up[level](x), self.margin)
        maps: Tensor = self.up_blocks[level](torch.cat([finer, skip], dim=1))
        return maps

    def _new_maps(self, maps: Tensor, block: nn.Module) -> Tensor:
        """What a block added to its input, without the margin."""
        assert isinstance(block, DenseBlock)
        return narrow(maps[:, -block.num_new :], self.margin)


def _dropping(layers: nn.Sequential, drop: Dropout) -> nn.Sequential:
    """Layers, then dropout."""
    return nn.Sequential(*layers, drop)
