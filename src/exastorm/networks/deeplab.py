"""DeepLabv3+ with a full-resolution decoder.

The layers are those of Kurth et al. 2018 (figure 1): a ResNet v2 encoder (He et al. 2016,
pre-activation) at output stride 8, atrous spatial pyramid pooling (ASPP) with image pooling
(Chen et al. 2018), a skip of low-level features at stride 4, and three transposed convolutions
back to full resolution, where a skip of the input itself joins. In the modern variant every layer
wraps in longitude, every convolution but the last has a norm and an activation, in the decoder
too, and the atrous rates, which are theirs for 1152 columns, scale with the grid. The paper's
variant is a flat map without norms, linear from the second transposed convolution on.
"""

from torch import Tensor

from exastorm.networks.deeplab_parts import Decoder, Encoder, Pyramid, Widths
from exastorm.networks.dropout import Dropout
from exastorm.networks.initial import he_normal, he_uniform, initialize, slim_normal
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.recompute import before_convolution
from exastorm.networks.style import MODERN, Style

OUTPUT_STRIDE = 8
"""Grid points of the input, each way, for one of the encoder's output (Kurth et al. 2018)."""

ASPP_RATES = (12, 24, 36)
"""Atrous rates at output stride 8 on a grid of `ASPP_COLUMNS` (Kurth et al. 2018, figure 1)."""

ASPP_COLUMNS = 1152
"""Columns of the SC18 grid, on which the rates above were chosen."""

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


class DeepLab(SegmentationNetwork):
    """DeepLabv3+ of the module docstring: fields in, logits out, on the same grid."""

    stride = OUTPUT_STRIDE

    def __init__(
        self,
        num_channels: int,
        num_classes: int,
        num_lon: int,
        preset: str,
        *,
        style: Style = MODERN,
        dropout: float = 0.0,
    ) -> None:
        """Build it with fresh weights and zero biases.

        Args:
            num_channels: Input fields C.
            num_classes: Classes K.
            num_lon: Columns round the whole globe of the grid it works on, which scale the rates
                (modern).
            preset: A key of `PRESETS`.
            style: How layers are made; the norm "half" makes the paper's variant.
            dropout: Rate of dropout in training on what the pyramid found.
        """
        super().__init__()
        widths = PRESETS[preset]
        rates = [scaled_rate(rate, num_lon) for rate in ASPP_RATES] if style.wraps else ASPP_RATES
        self.encoder = Encoder(num_channels, widths, style)
        self.pyramid = Pyramid(self.encoder.num_features, widths.pyramid, rates, style)
        self.dropout = Dropout(dropout)
        self.decoder = Decoder(num_channels, widths, style)
        self.classifier = style.convolution(widths.decoder[2], num_classes, 1)
        self._initialize(paper=style.norm == "half")

    def logits_of(self, fields: Tensor) -> Tensor:
        """Fields whose sides the stride divides (B, C, H, W) to logits (B, K, H, W)."""
        run = self.run_stage
        features, low_level = self.encoder(fields, run)
        features = self.dropout(run(self.pyramid, features))
        full = self.decoder(fields, low_level, features, run)
        return before_convolution(lambda x: self.classifier(self.decoder.activate(x)), full)

    def _initialize(self, *, paper: bool) -> None:
        """Draw weights: the paper's are He-uniform but for those of TF-slim's convolutions."""
        initialize(self, he_uniform if paper else he_normal)
        if paper:
            slim = (self.encoder, self.pyramid, self.decoder.low_level, self.decoder.refine)
            for part in slim:
                initialize(part, slim_normal)
