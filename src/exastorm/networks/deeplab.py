"""DeepLabv3+ with a full-resolution decoder, round the globe.

The layers are those of Kurth et al. 2018 (figure 1): a ResNet v2 encoder (He et al. 2016,
pre-activation) at output stride 8, atrous spatial pyramid pooling (ASPP) with image pooling
(Chen et al. 2018), a skip of low-level features at stride 4, and three transposed convolutions
back to full resolution, where a skip of the input itself joins. Unlike theirs every layer wraps
in longitude and every convolution but the last has group norm and ReLU, in the decoder too.
The atrous rates are theirs for 1152 columns and scale with the grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from exastorm.networks.layers import (
    Convolution,
    NormReLU,
    fit_to_stride,
    normalized_convolution,
    normalized_deconvolution,
    wrap_columns,
)

OUTPUT_STRIDE = 8
"""Grid points of the input, each way, for one of the encoder's output (Kurth et al. 2018)."""

ASPP_RATES = (12, 24, 36)
"""Atrous rates at output stride 8 on a grid of `ASPP_COLUMNS` (Kurth et al. 2018, figure 1)."""

ASPP_COLUMNS = 1152
"""Columns of the SC18 grid, on which the rates above were chosen."""


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


PRESETS: dict[str, Widths] = {
    "full": Widths(
        root=64,
        units=(3, 4, 6, 3),
        pyramid=256,
        low_level=48,
        decoder=(256, 256, 256),
        skip=(64, 128),
    ),
    "half": Widths(
        root=32,
        units=(3, 4, 6, 3),
        pyramid=128,
        low_level=24,
        decoder=(128, 128, 128),
        skip=(32, 64),
    ),
    "compact": Widths(
        root=16, units=(2, 2, 2, 2), pyramid=64, low_level=16, decoder=(64, 32, 16), skip=(16, 8)
    ),
}
"""`full` has the paper's layers; `half` half its channels; `compact` is for CPUs: half the depth,
and most of its work at strides 4 and 8, where convolutions run near a CPU's peak."""


def scaled_rate(rate: int, num_lon: int) -> int:
    """An atrous rate of the paper on a grid of `num_lon` columns: same angle, at least 1."""
    return max(1, int(rate * num_lon / ASPP_COLUMNS + 0.5))


class Unit(nn.Module):
    """A pre-activation bottleneck unit: 1x1, 3x3, 1x1 convolutions beside a shortcut."""

    def __init__(
        self, num_in: int, width: int, *, stride: int = 1, dilation: int = 1, project: bool
    ) -> None:
        super().__init__()
        num_out = 4 * width
        self.stride = stride
        self.activate = NormReLU(num_in)
        self.reduce = normalized_convolution(num_in, width, 1)
        self.spatial = Convolution(width, width, stride=stride, dilation=dilation, bias=False)
        self.expand = nn.Sequential(NormReLU(width), Convolution(width, num_out, 1))
        self.project = Convolution(num_in, num_out, 1) if project else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, num_in, H, W) to output (B, 4 width, H / stride, W / stride).

        Also returns the first 1x1 convolution's output (B, width, H, W), for the low-level skip.
        """
        active = self.activate(x)
        shortcut = x if self.project is None else self.project(active)
        reduced = self.reduce(active)
        shortcut = shortcut[..., :: self.stride, :: self.stride]
        return shortcut + self.expand(self.spatial(reduced)), reduced


class Encoder(nn.Module):
    """ResNet v2 at output stride 8: the last two blocks dilate instead of striding."""

    def __init__(self, num_channels: int, widths: Widths) -> None:
        super().__init__()
        self.root = Convolution(num_channels, widths.root, 7, stride=2)
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
                        stride=2 if last_of_first else 1,
                        dilation=dilation,
                        project=unit == 0,
                    )
                )
                num_in = 4 * width
            self.blocks.append(units)
        self.num_features = num_in

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Fields (B, C, H, W) to features at stride 8 and low-level features at stride 4."""
        x = self.root(x)
        x = functional.max_pool2d(wrap_columns(x, 1, 1), 3, stride=2, padding=(1, 0))
        low_level = x
        for block, units in enumerate(self.blocks):
            assert isinstance(units, nn.ModuleList)
            for unit in units:
                x, reduced = unit(x)
                low_level = reduced if block == 0 else low_level
        return x, low_level


class Pyramid(nn.Module):
    """ASPP: 1x1, three atrous 3x3 and the mean of the whole globe, side by side."""

    def __init__(self, num_in: int, num_out: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.activate = NormReLU(num_in)
        # One norm over all branches: the same as one each, in a single pass over memory.
        self.branches = nn.ModuleList([Convolution(num_in, num_out, 1, bias=False)])
        for rate in rates:
            self.branches.append(Convolution(num_in, num_out, dilation=rate, bias=False))
        self.pooled = Convolution(num_in, num_out, 1)
        self.norm = NormReLU(num_out * len(self.branches))
        self.merge = normalized_convolution(num_out * (len(self.branches) + 1), num_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_in, H, W) to (B, num_out, H, W)."""
        x = self.activate(x)
        local = self.norm(torch.cat([branch(x) for branch in self.branches], dim=1))
        # A norm over one point and few channels would erase the mean, so it gets ReLU alone.
        pooled = functional.relu(self.pooled(x.mean(dim=(2, 3), keepdim=True)))
        merged: Tensor = self.merge(torch.cat([local, pooled.expand(-1, -1, *x.shape[2:])], dim=1))
        return merged


class Decoder(nn.Module):
    """From stride 8 to full resolution, joined by low-level features and by the input."""

    def __init__(self, num_channels: int, widths: Widths) -> None:
        super().__init__()
        quarter, half, whole = widths.decoder
        self.low_level = normalized_convolution(widths.root, widths.low_level, 1)
        self.to_quarter = normalized_deconvolution(widths.pyramid, quarter)
        self.refine = nn.Sequential(
            normalized_convolution(quarter + widths.low_level, quarter),
            normalized_convolution(quarter, quarter),
        )
        self.to_half = normalized_deconvolution(quarter, half)
        self.to_whole = normalized_deconvolution(half, whole)
        self.skip = nn.Sequential(
            normalized_convolution(num_channels, widths.skip[0]),
            normalized_convolution(widths.skip[0], widths.skip[1]),
        )
        self.head = nn.Sequential(
            normalized_convolution(whole + widths.skip[1], whole),
            normalized_convolution(whole, whole),
        )

    def forward(self, fields: Tensor, low_level: Tensor, features: Tensor) -> Tensor:
        """Fields (B, C, H, W) and features at strides 4 and 8 to (B, decoder[2], H, W)."""
        x = self.to_quarter(features)
        x = self.refine(torch.cat([x, self.low_level(low_level)], dim=1))
        x = self.to_whole(self.to_half(x))
        full: Tensor = self.head(torch.cat([x, self.skip(fields)], dim=1))
        return full


class DeepLab(nn.Module):
    """DeepLabv3+ of the module docstring: fields in, logits out, on the same grid."""

    def __init__(self, num_channels: int, num_classes: int, num_lon: int, preset: str) -> None:
        """Build it with He-normal weights (He et al. 2015) and zero biases.

        Args:
            num_channels: Input fields C.
            num_classes: Classes K.
            num_lon: Columns round the whole globe of the grid it works on, which scale the rates.
            preset: A key of `PRESETS`.
        """
        super().__init__()
        widths = PRESETS[preset]
        rates = [scaled_rate(rate, num_lon) for rate in ASPP_RATES]
        self.encoder = Encoder(num_channels, widths)
        self.pyramid = Pyramid(self.encoder.num_features, widths.pyramid, rates)
        self.decoder = Decoder(num_channels, widths)
        self.classifier = Convolution(widths.decoder[2], num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, fields: Tensor) -> Tensor:
        """Normalized fields (B, C, H, W) to logits (B, K, H, W)."""
        num_rows, num_columns = fields.shape[-2:]
        fields = fit_to_stride(fields, OUTPUT_STRIDE)
        features, low_level = self.encoder(fields)
        x = self.decoder(fields, low_level, self.pyramid(features))
        logits: Tensor = self.classifier(x)
        return logits[..., :num_rows, :num_columns]

    @torch.no_grad()
    def add_to_logits(self, bias: Sequence[float]) -> None:
        """Shift the logits of each class (K,) for good, by the classifier's bias."""
        assert self.classifier.bias is not None
        self.classifier.bias += self.classifier.bias.new_tensor(list(bias))
