"""What a snapshot must be to become a sample: finite fields, known classes, shares from 0 to 1.

A snapshot that is not is told with the variable at fault; whether that stops the run or leaves the
snapshot out is the caller's choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.schema import NO_LABEL
from exastorm.samples.normalize import ChannelMeter
from exastorm.variables import NUM_CLASSES

LARGEST_VALUE = 1e10
"""No field of the vocabulary comes near; fill values that were not masked (1e15, 1e20, 1e36) do."""


class BadSampleError(Exception):
    """Why a snapshot cannot be a sample, and in which variable."""

    def __init__(self, problem: str, variable: str) -> None:
        self.problem, self.variable = problem, variable
        super().__init__(problem)


def check_field(field: NDArray[np.float32], channels: Sequence[str]) -> ChannelMeter:
    """Statistics of a field (C, H, W), once it is known to be good.

    Raises:
        BadSampleError: For a channel with a value that is no number, or a fill value.
    """
    batch = ChannelMeter(len(field))
    with np.errstate(invalid="ignore", over="ignore"):
        batch.record_batch(field)
    for c, name in enumerate(channels):
        if not batch.is_finite()[c]:
            num_bad = np.count_nonzero(~np.isfinite(field[c]))
            raise BadSampleError(f"must be finite, got {num_bad} values that are not", name)
        if max(-batch.min[c], batch.max[c]) > LARGEST_VALUE:
            raise BadSampleError(
                f"must be below {LARGEST_VALUE:g}, got values from {batch.min[c]:g} to"
                f" {batch.max[c]:g}: a fill value that is not masked?",
                name,
            )
    return batch


def check_classes(label: NDArray[Any], name: str) -> bool:
    """Whether a class map (H, W) has a label at all, once its classes are known to be good.

    Raises:
        BadSampleError: For a class that does not exist.
    """
    low, high = label.min(), label.max()
    if not (low >= NO_LABEL and high < NUM_CLASSES):
        raise BadSampleError(
            f"classes must be 0 to {NUM_CLASSES - 1}, or {NO_LABEL} where unlabeled, got {low:g}"
            f" to {high:g}",
            name,
        )
    return bool(high > NO_LABEL)


def check_labels(maps: Sequence[NDArray[Any]], names: Sequence[str]) -> NDArray[np.int8]:
    """The class map of each label set (N, H, W), once they are known to be good.

    A set may leave a snapshot unlabeled (an annotator who did not see it) if another does not.

    Raises:
        BadSampleError: For a class that does not exist, or no label in any set.
    """
    has_labels = [check_classes(label, name) for label, name in zip(maps, names, strict=True)]
    if not any(has_labels):
        raise BadSampleError("no pixel is labeled", ", ".join(names))
    return np.stack([label.astype(np.int8) for label in maps])


def check_shares(shares: Mapping[str, NDArray[Any]], label: NDArray[np.int8]) -> None:
    """Refuse shares (H, W) that are not from 0 to 1 wherever there is a label.

    Raises:
        BadSampleError: For a share below 0, above 1, or missing.
    """
    for name, values in shares.items():
        known = values[label != NO_LABEL]
        # A missing value fails both comparisons.
        if not (known.min() >= 0 and known.max() <= 1):
            raise BadSampleError(
                f"shares must be from 0 to 1 where there is a label, got {known.min():g} to"
                f" {known.max():g}",
                name,
            )
