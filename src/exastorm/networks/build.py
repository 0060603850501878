"""From settings to a network: one place that knows all of them by name."""

from dataclasses import dataclass
from typing import Literal, get_args

from exastorm.networks.deeplab import DeepLab

NetworkName = Literal["deeplabv3plus"]
PresetName = Literal["compact", "half", "full"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network, and how large."""

    name: NetworkName = "deeplabv3plus"
    """Architecture: deeplabv3plus, DeepLabv3+ with a full-resolution decoder."""

    preset: PresetName = "compact"
    """Size: full has the paper's layers and channels, half has half the channels, compact trains on
    a CPU."""

    def __post_init__(self) -> None:
        for field, choices in (("name", NetworkName), ("preset", PresetName)):
            value = getattr(self, field)
            if value not in get_args(choices):
                raise ValueError(
                    f"{field} must be one of {', '.join(get_args(choices))}, got {value!r}"
                )


def build_network(
    settings: NetworkSettings, num_channels: int, num_classes: int, num_lon: int
) -> DeepLab:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        settings: Which one.
        num_channels: Input fields C.
        num_classes: Classes K.
        num_lon: Columns round the whole globe of the grid it works on (atrous rates scale with it).

    Returns:
        A module from normalized fields (B, C, H, W) to logits (B, K, H, W), on any number of rows
        and columns.
    """
    return DeepLab(num_channels, num_classes, num_lon, settings.preset)
