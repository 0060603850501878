"""Channel statistics in one pass, and the scaling that networks see.

Means and variances are merged snapshot by snapshot in double precision by the pairwise update of
Chan, Golub and LeVeque (1979, Stanford STAN-CS-79-773), which does not cancel where a mean is large
beside its spread, as pressure's is. Class shares are counted beside them, by pixels and by area:
pixels of a regular grid crowd at the poles.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from exastorm.variables import NUM_CLASSES

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Mean, standard deviation and extremes of each channel, in its unit.

    Attributes:
        num_values: Values that went into each channel.
        mean: Mean (C,).
        std: Standard deviation (C,), of the whole population.
        min: Smallest value (C,).
        max: Largest value (C,).
    """

    num_values: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]


class ChannelMeter:
    """Statistics of each channel over everything recorded.

    Attributes:
        num_values: Values per channel so far.
        mean: Mean so far (C,).
        sum_squares: Sum of squared departures from the mean so far (C,).
        min: Smallest so far (C,).
        max: Largest so far (C,).
    """

    def __init__(self, num_channels: int) -> None:
        self.num_values = 0
        self.mean = np.zeros(num_channels)
        self.sum_squares = np.zeros(num_channels)
        self.min = np.full(num_channels, np.inf)
        self.max = np.full(num_channels, -np.inf)

    def record_batch(self, field: Float32Array) -> None:
        """Add one snapshot (C, H, W)."""
        batch = ChannelMeter(len(field))
        batch.num_values = field[0].size
        for c, values in enumerate(field):
            doubled = values.astype(np.float64).ravel()
            batch.mean[c] = doubled.mean()
            doubled -= batch.mean[c]
            batch.sum_squares[c] = doubled @ doubled
            batch.min[c], batch.max[c] = values.min(), values.max()
        self.merge(batch)

    def merge(self, other: "ChannelMeter") -> None:
        """Add everything that another meter recorded."""
        if other.num_values == 0:
            return
        total = self.num_values + other.num_values
        apart = other.mean - self.mean
        self.mean = self.mean + apart * (other.num_values / total)
        self.sum_squares = (
            self.sum_squares
            + other.sum_squares
            + apart**2 * (self.num_values * other.num_values / total)
        )
        self.min = np.minimum(self.min, other.min)
        self.max = np.maximum(self.max, other.max)
        self.num_values = total

    def is_finite(self) -> NDArray[np.bool_]:
        """Whether every value of a channel was a finite number, (C,)."""
        # Sums of float32 values cannot overflow in double precision: a mean that is not finite
        # comes from a value that is not.
        return np.isfinite(self.mean) & np.isfinite(self.sum_squares)

    def summary(self) -> ChannelStatistics:
        """Statistics of what was recorded; at least one batch must have been."""
        assert self.num_values, "nothing was recorded"
        return ChannelStatistics(
            num_values=self.num_values,
            mean=tuple(self.mean.tolist()),
            std=tuple(np.sqrt(self.sum_squares / self.num_values).tolist()),
            min=tuple(self.min.tolist()),
            max=tuple(self.max.tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class ClassShares:
    """How common each class is.

    Attributes:
        num_pixels: Labeled pixels of each class (K,).
        by_pixel: Share of labeled pixels (K,); what a loss over pixels sees.
        by_area: Share of labeled area on the sphere (K,).
    """

    num_pixels: tuple[int, ...]
    by_pixel: tuple[float, ...]
    by_area: tuple[float, ...]


class ClassMeter:
    """Shares of the classes over everything recorded; pixels without a label don't count.

    Attributes:
        num_pixels: Pixels of each class so far (K,).
        areas: Area of each class so far (K,), in the unit of the cell areas.
    """

    def __init__(self, cell_areas: FloatArray, num_classes: int = NUM_CLASSES) -> None:
        self.num_pixels = np.zeros(num_classes, dtype=np.int64)
        self.areas = np.zeros(num_classes)
        self._cell_areas = cell_areas

    def record_batch(self, label: NDArray[np.int8]) -> None:
        """Add one class map (H, W)."""
        for flag in range(len(self.num_pixels)):
            mask = label == flag
            self.num_pixels[flag] += np.count_nonzero(mask)
            self.areas[flag] += self._cell_areas[mask].sum()

    def merge(self, other: "ClassMeter") -> None:
        """Add everything that another meter recorded."""
        self.num_pixels = self.num_pixels + other.num_pixels
        self.areas = self.areas + other.areas

    def summary(self) -> ClassShares:
        """Shares of what was recorded; at least one labeled pixel must have been."""
        assert self.num_pixels.sum(), "nothing was recorded"
        return ClassShares(
            num_pixels=tuple(self.num_pixels.tolist()),
            by_pixel=tuple((self.num_pixels / self.num_pixels.sum()).tolist()),
            by_area=tuple((self.areas / self.areas.sum()).tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Per-channel linear scaling: (x - shift) / scale.

    Attributes:
        shift: Value that becomes 0 (C,): the mean, or the minimum.
        scale: Span that becomes 1 (C,): the standard deviation, or maximum less minimum.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]


def channel_scaling(
    statistics: ChannelStatistics, mode: Literal["zscore", "minmax"] = "zscore"
) -> Scaling:
    """The scaling that a mode of normalization means.

    A channel that never varies is only shifted (scale 1), so that it becomes 0.

    Args:
        statistics: Of the training split.
        mode: "zscore", or the paper's "minmax" (paper's code: global extremes of training).
    """
    if mode == "minmax":
        shift = statistics.min
        scale = tuple(h - low for low, h in zip(statistics.min, statistics.max, strict=True))
    else:
        shift, scale = statistics.mean, statistics.std
    return Scaling(shift=shift, scale=tuple(s if s > 0 else 1.0 for s in scale))


def normalize(field: Any, scaling: Scaling) -> Float32Array:
    """Scale a field (..., C, H, W) as networks see it, in single precision.

    Single precision always: in half precision a pressure of 101325 Pa is infinite.
    """
    shift = np.asarray(scaling.shift, dtype=np.float32)[:, None, None]
    scale = np.asarray(scaling.scale, dtype=np.float32)[:, None, None]
    return np.asarray((np.asarray(field, dtype=np.float32) - shift) / scale)
