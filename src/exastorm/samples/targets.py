"""Soft labels: from the shares of threshold ensembles to the probability of each class.

`exastorm label --soft` tells for each cell the share c of an ensemble of thresholds whose cyclones
cover it, and the share r of another whose rivers do. Every pair of members, one of each ensemble,
makes a class map in which cyclones win over rivers. Of all these maps the cell is

    a cyclone in c,    a river in (1 - c) r,    background in (1 - c) (1 - r).

Samples keep c and r, not the classes: a byte each, and the three sum to 1 whatever the rounding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.variables import ATMOSPHERIC_RIVER, BACKGROUND, NUM_CLASSES, TROPICAL_CYCLONE

SHARE_CLASSES = {"cyclone_share": TROPICAL_CYCLONE, "river_share": ATMOSPHERIC_RIVER}
"""Map of shares to the class that it is of, in the order in which samples keep them."""

STORED_ONE = 255
"""What a share of 1 is stored as; rounding to the nearest errs by at most 1 / 510."""

PIXELS_AT_ONCE = 32_768
"""Pixels turned into weights at a time: the four single-precision rows of them fit a core's
cache."""

ByteArray = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


def stored_shares(label: NDArray[np.int8], shares: Mapping[str, NDArray[Any]]) -> ByteArray:
    """Shares as samples keep them.

    Args:
        label: Class map (H, W). A class without shares takes its cells from here, as shares of 1.
        shares: Name to shares (H, W), 0 to 1 where there is a label.

    Returns:
        Bytes (2, H, W), in the order of `SHARE_CLASSES`; 0 where there is no label.
    """
    stored = np.zeros((len(SHARE_CLASSES), *label.shape), dtype=np.uint8)
    labeled = label >= 0
    for out, (name, flag) in zip(stored, SHARE_CLASSES.items(), strict=True):
        share = shares.get(name, label == flag)
        out[labeled] = np.rint(np.float32(STORED_ONE) * share[labeled])
    return stored


def class_probabilities(stored: ByteArray, out: Float32Array | None = None) -> Float32Array:
    """Probability of each class (K, ...), of stored shares (2, ...)."""
    if out is None:
        out = np.empty((NUM_CLASSES, *stored.shape[1:]), dtype=np.float32)
    one = np.float32(STORED_ONE)
    np.divide(stored[0], one, out=out[TROPICAL_CYCLONE])
    np.divide(stored[1], one, out=out[ATMOSPHERIC_RIVER])
    np.subtract(np.float32(1.0), out[TROPICAL_CYCLONE], out=out[BACKGROUND])
    out[ATMOSPHERIC_RIVER] *= out[BACKGROUND]
    out[BACKGROUND] -= out[ATMOSPHERIC_RIVER]
    return out


def fill_class_weights(
    stored: ByteArray, label: NDArray[np.int8], class_weights: Float32Array, out: Float32Array
) -> None:
    """Weight of each class in each pixel: its probability times the weight of the class.

    Args:
        stored: Shares as kept (2, H, W).
        label: Class map (H, W); where it is -1 nothing has a weight.
        class_weights: Of each class (K,).
        out: Where to put it (K, H, W).
    """
    num_rows = max(1, PIXELS_AT_ONCE // label.shape[1])
    for start in range(0, len(label), num_rows):
        rows = slice(start, start + num_rows)
        weights = class_probabilities(stored[:, rows], out[:, rows])
        weights *= class_weights[:, None, None]
        if label[rows].min() < 0:
            weights *= label[rows] >= 0


class TargetMeter:
    """Mean probability of each class over everything recorded; unlabeled pixels don't count.

    Attributes:
        sums: Sum of the probabilities of each class so far (K,).
        num_pixels: Labeled pixels so far.
    """

    def __init__(self) -> None:
        self.sums = np.zeros(NUM_CLASSES)
        self.num_pixels = 0

    def record_batch(self, stored: ByteArray, label: NDArray[np.int8]) -> None:
        """Add one sample: stored shares (2, H, W) and class map (H, W)."""
        probabilities = class_probabilities(stored[:, label >= 0])
        self.sums += probabilities.sum(axis=1, dtype=np.float64)
        self.num_pixels += probabilities.shape[1]

    def summary(self) -> tuple[float, ...]:
        """Mean probability of each class (K,); at least one labeled pixel must have been."""
        assert self.num_pixels, "nothing was recorded"
        return tuple((self.sums / self.num_pixels).tolist())
