"""From settings to a network: one place that knows all of them by name."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from exastorm.networks import tiramisu
from exastorm.networks.deeplab import DeepLab
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.style import ActivationName, NormName, Style
from exastorm.networks.tiramisu import MODERN_DROPOUT, PAPER_DROPOUT, Tiramisu

NetworkName = Literal["deeplabv3plus", "tiramisu"]
VariantName = Literal["modern", "paper"]
PresetName = Literal["compact", "half", "full"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network, and how large."""

    name: NetworkName = "deeplabv3plus"
    """Architecture: deeplabv3plus, DeepLabv3+ with a full-resolution decoder, or tiramisu, dense
    blocks down to stride 16 and back up."""

    variant: VariantName = "modern"
    """modern wraps in longitude and has norms; paper is the network as it was trained for Kurth et
    al. 2018: a flat map, no norms, a linear decoder tail, dropout in evaluation too."""

    preset: PresetName = "compact"
    """Size: full has the paper's layers and channels, half has half the channels, compact trains on
    a CPU."""

    filters: int | None = None
    """Channels of Tiramisu's first convolution; empty takes the preset's. The paper's network of 4
    input channels has 48."""

    norm: NormName = "group"
    """Of the modern variant: group works at any batch size, batch needs many samples a step."""

    activation: ActivationName = "relu"
    """Of the modern variant: relu or silu."""

    dropout: float | None = None
    """Rate of dropout; empty takes the network's own: Tiramisu 0.1 (modern) or 0.2 (paper),
    DeepLabv3+ none."""

    def __post_init__(self) -> None:
        for field, choices in (
            ("name", NetworkName),
            ("variant", VariantName),
            ("preset", PresetName),
            ("norm", NormName),
            ("activation", ActivationName),
        ):
            value = getattr(self, field)
            if value not in get_args(choices):
                raise ValueError(
                    f"{field} must be one of {', '.join(get_args(choices))}, got {value!r}"
                )
        if self.dropout is not None and not 0.0 <= self.dropout <= 0.99:
            raise ValueError(f"dropout must be from 0 to 0.99, got {self.dropout}")
        self._check_effect()

    def _check_effect(self) -> None:
        """Refuse what the network chosen would not heed."""
        if self.filters is not None and self.filters < 1:
            raise ValueError(f"filters must be at least 1, got {self.filters}")
        if self.filters is not None and self.name != "tiramisu":
            raise ValueError(f"filters must be empty but for tiramisu, got {self.filters}")
        if self.variant == "paper" and self.norm != "group":
            raise ValueError(f"norm must be left out of the paper variant, got {self.norm!r}")
        if self.variant == "paper" and self.activation != "relu":
            raise ValueError(
                f"activation must be relu in the paper variant, got {self.activation!r}"
            )


def build_network(
    settings: NetworkSettings, num_channels: int, num_classes: int, num_lon: int
) -> SegmentationNetwork:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        settings: Which one.
        num_channels: Input fields C.
        num_classes: Classes K.
        num_lon: Columns round the whole globe of the grid it works on (the atrous rates of the
            modern DeepLabv3+ scale with it).

    Returns:
        A module from normalized fields (B, C, H, W) to logits (B, K, H, W), on any number of rows
        and columns.
    """
    paper = settings.variant == "paper"
    modern = Style(norm=settings.norm, activation=settings.activation)
    dropout = settings.dropout
    if settings.name == "deeplabv3plus":
        style = Style(wraps=False, norm="half") if paper else modern
        return DeepLab(
            num_channels, num_classes, num_lon, settings.preset, style=style, dropout=dropout or 0.0
        )
    sizes = tiramisu.PRESETS[settings.preset]
    if settings.filters is not None:
        sizes = replace(sizes, filters=settings.filters)
    if dropout is None:
        dropout = PAPER_DROPOUT if paper else MODERN_DROPOUT
    style = Style(wraps=False, norm="none") if paper else modern
    return Tiramisu(num_channels, num_classes, sizes, style=style, dropout=dropout)
