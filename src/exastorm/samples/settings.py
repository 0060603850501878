"""What one can choose when samples are prepared."""

import math
from dataclasses import dataclass
from typing import Literal

from exastorm.samples.compression import COMPRESSIONS, Compression
from exastorm.variables import VARIABLES

DEMO_CHANNELS = ("TMQ", "U850", "V850", "PSL", "PRECT")
"""Channels that reanalyses, CMIP6 and CAM archives all have: moisture, wind, pressure, rain."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How an archive and its labels become samples."""

    channels: tuple[str, ...] = DEMO_CHANNELS
    """Fields that a sample holds, in this order."""

    label: str | tuple[str, ...] = "class_map"
    """Variable of the labels that holds the classes; of several, as labels_0 labels_1 of annotated
    archives, each becomes a label set."""

    soft_labels: bool = False
    """Also keep, for each pixel, the shares of threshold ensembles that flag it as cyclone and as
    river (`exastorm label --soft` makes them), for training with soft targets."""

    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test; the paper's are 0.8, 0.1, 0.1."""

    block_days: float = 10.0
    """Length of the time blocks that go to one split as a whole, days. Every split needs a few
    blocks: shorten them for archives of a month or two."""

    gap_hours: float = 48.0
    """Least time between samples of different splits, hours. In two days a disturbance that moves
    at a typical 10 m/s goes 1700 km, about half the wavelength of midlatitude storms."""

    dtype: Literal["float32", "float16"] = "float32"
    """Numbers on disk. float16 halves the bytes; values are packed over each field's plausible
    range, to within 0.025 % of it."""

    compression: Compression = "none"
    """Lossless compression of each sample. lz4 and zstd make shards of smooth fields two to three
    times smaller; reading then costs a core 2 to 4 times as much, which pays where shards come over
    a network or from disks, not from memory."""

    shard_mb: float = 256.0
    """Size at which a shard is closed and the next begun, MB; hundreds of MB suit parallel file
    systems. A shard holds at least one sample."""

    normalization: Literal["zscore", "minmax"] = "zscore"
    """Scaling that networks see: (x - mean) / std, or the paper's (x - min) / (max - min)."""

    skip_bad: bool = False
    """Leave out snapshots with missing values instead of stopping; the index lists them."""

    overwrite: bool = False
    """Replace samples that are already in the folder."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Variables of the labels that hold classes, one a label set."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def __post_init__(self) -> None:
        names = self.label_names
        if not names or len(set(names)) < len(names):
            raise ValueError(f"label must be different variables, at least one, got {names}")
        unknown = [c for c in self.channels if c not in VARIABLES]
        if unknown or not self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError(
                f"channels must be different fields of exastorm.variables, got {self.channels}"
            )
        for name, allowed in (
            ("dtype", ("float32", "float16")),
            ("normalization", ("zscore", "minmax")),
            ("compression", COMPRESSIONS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if not self.shard_mb > 0:
            raise ValueError(f"shard_mb must be positive, got {self.shard_mb}")
        self._check_splits()

    def _check_splits(self) -> None:
        """Refuse fractions, blocks and gaps that cannot make splits."""
        fractions = self.split_fractions
        if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6) or min(fractions) < 0:
            raise ValueError(f"split_fractions must be shares that sum to 1, got {fractions}")
        if fractions[0] == 0:
            raise ValueError(f"split_fractions must leave something to train on, got {fractions}")
        if not self.block_days > 0:
            raise ValueError(f"block_days must be positive, got {self.block_days}")
        # A block between two other splits loses a gap at either end.
        if not 0 <= self.gap_hours < 12 * self.block_days:
            raise ValueError(
                f"gap_hours must be from 0 to below half of block_days, {12 * self.block_days:g},"
                f" got {self.gap_hours:g}"
            )
