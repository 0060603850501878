"""How well one class map matches another: the pooled confusion matrix and its scores.

Pixels of all snapshots fall into one matrix before any score is made, so that a snapshot without
a cyclone counts as little as it should. The score of the paper is the mean over the classes of
the intersection over union (Kurth et al. 2018, section VII-D).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exastorm.variables import CLASSES, NUM_CLASSES

IGNORED = -1
"""Label of a pixel that no score counts."""


def _ratio(part: Any, whole: Any) -> list[float | None]:
    """Elementwise part / whole; None where the whole is empty."""
    return [float(p / w) if w > 0 else None for p, w in zip(part, whole, strict=True)]


def _short_name(flag: int) -> str:
    """Name of a class as tables print it."""
    return CLASSES[flag].short_name if flag < NUM_CLASSES else f"class_{flag}"


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, added batch by batch.

    Attributes:
        matrix: int64 (num_classes, num_classes); rows are the truth, columns the prediction.
    """

    def __init__(self, num_classes: int = NUM_CLASSES) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.matrix: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.matrix.shape[0])

    def record_batch(
        self, truth: ArrayLike, predicted: ArrayLike, valid: ArrayLike | None = None
    ) -> None:
        """Count one batch of pixels.

        Args:
            truth: Integer classes of any shape; -1 is not counted.
            predicted: Integer classes of the same shape; -1 is not counted.
            valid: Booleans that broadcast to that shape; False is not counted.

        Raises:
            ValueError: For other shapes or types, or classes beyond the last.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise ValueError(
                f"truth and predicted must have one shape, got {truth.shape} and {predicted.shape}"
            )
        for name, array in (("truth", truth), ("predicted", predicted)):
            if array.dtype.kind not in "iub":
                raise ValueError(f"{name} must hold integers, got {array.dtype}")
            if array.size and not (array.min() >= IGNORED and array.max() < self.num_classes):
                raise ValueError(
                    f"{name} must lie in {IGNORED}..{self.num_classes - 1}, got "
                    f"{array.min()}..{array.max()}"
                )
        counted = (truth != IGNORED) & (predicted != IGNORED)
        if valid is not None:
            counted &= np.asarray(valid, dtype=bool)
        cells = truth[counted].astype(np.int64) * self.num_classes + predicted[counted]
        self.matrix += np.bincount(cells, minlength=self.num_classes**2).reshape(self.matrix.shape)

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """The matrix of both together, as of two halves of an archive or two processes.

        Raises:
            ValueError: If they count different numbers of classes.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(f"both must have {self.num_classes} classes, got {other.num_classes}")
        both = ConfusionMatrix(self.num_classes)
        both.matrix = self.matrix + other.matrix
        return both

    def summary(self) -> dict[str, Any]:
        """Scores of everything recorded, ready for JSON.

        Returns:
            iou, precision, recall: by short class name; None where undefined (a class absent from
                truth and prediction has no IoU, one never predicted no precision, one absent from
                the truth no recall).
            mean_iou: Mean over the classes that have an IoU; None before any pixel.
            num_true_pixels, num_predicted_pixels: by short class name.
            num_pixels: All counted pixels.
            matrix: Nested lists, rows are the truth.
        """
        hits = np.diag(self.matrix)
        true, predicted = self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        names = [_short_name(k) for k in range(self.num_classes)]
        iou = _ratio(hits, true + predicted - hits)
        present = [value for value in iou if value is not None]
        return {
            "iou": dict(zip(names, iou, strict=True)),
            "mean_iou": float(np.mean(present)) if present else None,
            "precision": dict(zip(names, _ratio(hits, predicted), strict=True)),
            "recall": dict(zip(names, _ratio(hits, true), strict=True)),
            "num_true_pixels": dict(zip(names, true.tolist(), strict=True)),
            "num_predicted_pixels": dict(zip(names, predicted.tolist(), strict=True)),
            "num_pixels": int(self.matrix.sum()),
            "matrix": self.matrix.tolist(),
        }
