"""Several class maps of one snapshot: by annotators, or by rules and thresholds that differ.

A network is trained on one fixed set, on one drawn anew at each read (as the paper's training read
its two label planes; ClimDeepLearn, commit bc2bcb0), or on all at once: the share of the sets that
give a pixel a class is then the class's probability there. The draw is a pure function of seed,
epoch and sample, so a run that is resumed draws what it would have drawn.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exastorm.samples.sampler import random_word
from exastorm.variables import NUM_CLASSES

LabelSet = int | Literal["random", "soft"]
"""Which label set is trained on: its number from 0, one drawn at each read, or all as
probabilities."""

SET_STREAM = 2
"""Counter word of the draws' random numbers; shuffles have 0 there and rolls 1."""

PIXELS_AT_ONCE = 32_768
"""Pixels turned into weights at a time, so that the rows at work stay in a core's cache."""

LabelArray = NDArray[np.int8]
Float32Array = NDArray[np.float32]


def check_label_set(label_set: LabelSet) -> None:
    """Refuse what is no choice of label set, whatever the samples.

    Raises:
        ValueError: If it is no number from 0, "random" or "soft".
    """
    is_number = isinstance(label_set, int) and not isinstance(label_set, bool) and label_set >= 0
    if not is_number and label_set not in ("random", "soft"):
        raise ValueError(f"label_set must be a number from 0, random or soft, got {label_set!r}")


def fixed_set(label_set: LabelSet) -> int:
    """Number of the set that validation is scored against: the one trained on, or the first."""
    return label_set if isinstance(label_set, int) else 0


def chosen_label(
    labels: LabelArray, label_set: LabelSet, *, seed: int, epoch: int, sample: int
) -> LabelArray:
    """The class map (H, W) that a read gives, of those of all sets (N, H, W).

    "random" passes over sets that leave the whole snapshot unlabeled. "soft" gives each pixel the
    class of the first set that labels it.
    """
    if isinstance(label_set, int):
        return np.asarray(labels[label_set])
    if label_set == "soft":
        first: LabelArray = labels[0]
        for other in labels[1:]:
            first = np.where(first < 0, other, first)
        return first
    drawn = random_word(seed, epoch, sample, SET_STREAM) % len(labels)
    turned = [labels[(drawn + n) % len(labels)] for n in range(len(labels))]
    return next((label for label in turned if label.max() >= 0), turned[0])


def fill_vote_weights(labels: LabelArray, class_weights: Float32Array, out: Float32Array) -> None:
    """Weight of each class in each pixel: its share of the sets' votes times its own weight.

    Sets that leave a pixel unlabeled have no vote there; where none has, nothing has a weight.

    Args:
        labels: Class map of each set (N, H, W).
        class_weights: Of each class (K,).
        out: Where to put it (K, H, W).
    """
    num_rows = max(1, PIXELS_AT_ONCE // labels.shape[2])
    for start in range(0, labels.shape[1], num_rows):
        rows = slice(start, start + num_rows)
        part = labels[:, rows]
        num_votes = np.maximum(np.count_nonzero(part >= 0, axis=0), 1).astype(np.float32)
        for flag in range(NUM_CLASSES):
            votes = np.count_nonzero(part == flag, axis=0)
            np.divide(votes * class_weights[flag], num_votes, out=out[flag, rows])
