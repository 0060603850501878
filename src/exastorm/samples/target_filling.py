"""From the class maps and shares of a sample to the label and weights that a loss takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.samples.augmentation import Turn, turned
from exastorm.samples.checking import check_classes
from exastorm.samples.indexed import RawSample
from exastorm.samples.label_sets import LabelSet, fill_vote_weights
from exastorm.samples.targets import fill_class_weights

LABEL = "class_map"
"""What a class map is called where it is at fault."""


class TargetFiller:
    """Fills label and weight of samples, all in the same way; any number of threads may share it.

    Attributes:
        is_soft: Whether each class has its weight in each pixel (K, H, W), not each pixel (H, W).
    """

    def __init__(
        self,
        class_weights: Sequence[float],
        *,
        soft: bool,
        label_set: LabelSet,
        row_weights: NDArray[np.float32] | None,
    ) -> None:
        """Choose what is learned.

        Args:
            class_weights: Of each class (K,).
            soft: Whether weights come from the shares.
            label_set: "soft" where weights come from the votes of the label sets.
            row_weights: Of each latitude (H,); None for 1 everywhere.
        """
        self.is_soft = soft or label_set == "soft"
        self._has_votes = label_set == "soft"
        # The last weight is that of label -1, unlabeled.
        self._weights = np.array([*class_weights, 0.0], dtype=np.float32)
        self._rows = None if row_weights is None else row_weights[:, None]

    def fill(
        self,
        raw: RawSample,
        label: NDArray[np.int8],
        turn: Turn,
        label_out: NDArray[Any],
        weight_out: NDArray[np.float32],
    ) -> None:
        """Check and fill the targets of one sample.

        Args:
            raw: The sample as stored.
            label: The class map that it is read with (H, W).
            turn: How it is turned.
            label_out: Where the label goes (H, W).
            weight_out: Where the weight goes, (H, W) or if soft (K, H, W).

        Raises:
            BadSampleError: For a class that does not exist.
        """
        labels, shares = raw.labels, raw.shares
        for used in labels if self._has_votes else (label,):
            check_classes(used, LABEL)
        label = turned(label, turn)
        labels = turned(labels, turn) if self._has_votes else labels
        shares = turned(shares, turn) if self.is_soft else shares
        label_out[...] = label
        if self._has_votes:
            fill_vote_weights(labels, self._weights[:-1], weight_out)
        elif self.is_soft:
            fill_class_weights(shares, label, self._weights[:-1], weight_out)
        else:
            np.take(self._weights, label, out=weight_out, mode="wrap")
        if self._rows is not None:
            weight_out *= self._rows
