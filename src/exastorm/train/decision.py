"""From logits to classes: the shift of the logits that makes the best maps.

A network trained with weighted loss gives logits of shares that are inflated by those weights, so
the largest logit draws rare classes too large. And even of true shares the largest is not the best
choice for the IoU: a pixel is worth giving to a class if its share is above J / (1 + J), with J the
IoU reached (half the best F1, as Lipton et al. 2014, ECML, show). So a few shifts are tried on the
validation split and the best one becomes part of the classifier.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from exastorm.storms.skill import ConfusionMatrix

SHIFTS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0)
"""Shifts to try for the logit of each class but the first, nats. The paper's weights inflate
cyclones by log(37) = 3.6 and rivers by log(7.6) = 2.0. Steps of 1, for the IoU is flat near its
best, and finer ones would fit the validation split's few storms."""


def class_shifts(inflation: float) -> list[float]:
    """Shifts to try for a class whose logit the loss weights inflate, the smallest first.

    Args:
        inflation: By how much, nats: the log of the ratio of its weight to the first class's.

    Returns:
        `SHIFTS`; where they end above what takes the inflation back, moved down to it, with 0.
    """
    lower = max(0.0, math.ceil(inflation) + min(SHIFTS))
    return sorted({0.0, *(shift - lower for shift in SHIFTS)}, key=abs)


def decision_candidates(class_weights: Sequence[float], tune: bool = True) -> Tensor:
    """Shifts (N, K) to try; the first one is no shift.

    Args:
        class_weights: Loss weights that the logits were learned with (K,); the first class is never
            shifted.
        tune: False gives only the first candidate.
    """
    first, *others = class_weights
    # A class that never occurs has the weight 0, and no inflation.
    ratios = [weight / first if weight > 0 and first > 0 else 1.0 for weight in others]
    shifts = [class_shifts(math.log(ratio)) if tune else [0.0] for ratio in ratios]
    return torch.tensor([(0.0, *row) for row in itertools.product(*shifts)])


def largest_shifted(columns: Tensor, shift: Sequence[float]) -> Tensor:
    """Class of the largest shifted logit of each pixel; the first of equals.

    Row by row over long contiguous rows, which on a CPU is tens of times as fast as argmax over the
    short dimension.

    Args:
        columns: Logits (K, P).
        shift: (K,).

    Returns:
        int64 (P,).
    """
    largest = columns[0] + shift[0]
    chosen = torch.zeros(columns.shape[1], dtype=torch.int64, device=columns.device)
    for k in range(1, len(columns)):
        other = columns[k] + shift[k]
        chosen = torch.where(other > largest, k, chosen)
        largest = torch.maximum(largest, other)
    return chosen


class DecisionMeter:
    """Confusion matrices of the same logits under each candidate shift.

    Attributes:
        candidates: Shifts (N, K).
        counts: int64 (N, K, K) on the device of the logits; rows are the truth.
        num_images: Images recorded.
    """

    def __init__(self, class_weights: Sequence[float], tune: bool = True) -> None:
        """Choose the candidates: see `decision_candidates`."""
        self.candidates = decision_candidates(class_weights, tune)
        num, num_classes = self.candidates.shape
        self.counts = torch.zeros((num, num_classes, num_classes), dtype=torch.int64)
        self.num_images = 0
        self._iou_sums = torch.zeros(num, dtype=torch.float64)
        self._num_labeled = torch.zeros((), dtype=torch.int64)

    def record_batch(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            logits: (B, K, H, W), or one image's (P, K), on any device.
            labels: (B, H, W) or (P,) on the same; -1 is not counted.
        """
        if logits.dim() == 2:
            logits, labels = logits.T[None], labels[None]
        self.counts = self.counts.to(logits.device)
        self._iou_sums = self._iou_sums.to(logits.device)
        self._num_labeled = self._num_labeled.to(logits.device)
        for image, label in zip(logits.float().flatten(2), labels.flatten(1), strict=True):
            self._record_image(image.contiguous(), label)

    def _record_image(self, columns: Tensor, labels: Tensor) -> None:
        """Count the pixels of one image: logits (K, P), labels (P,)."""
        num_classes = len(columns)
        # Unlabeled pixels fall into a row of their own, so that no shape depends on their number.
        truth = torch.where(labels >= 0, labels, num_classes) * num_classes
        matrices = torch.stack(
            [
                torch.bincount(
                    truth + largest_shifted(columns, shift),
                    minlength=num_classes * (num_classes + 1),
                )
                for shift in self.candidates.tolist()
            ]
        ).view(-1, num_classes + 1, num_classes)[:, :-1]
        self.counts += matrices
        # An image without any label has no score, and is not counted as right.
        is_labeled = (labels >= 0).any()
        self._iou_sums += image_iou(matrices).mean(dim=1) * is_labeled
        self._num_labeled += is_labeled
        self.num_images += 1

    def counted(self) -> tuple[Tensor, ...]:
        """All that was counted, which adds up over meters of different images."""
        return self.counts, self._iou_sums, self._num_labeled

    def shift(self, candidate: int) -> tuple[float, ...]:
        """One candidate (K,)."""
        return tuple(self.candidates[candidate].tolist())

    def matrix(self, candidate: int) -> ConfusionMatrix:
        """Confusion matrix under one candidate."""
        matrix = ConfusionMatrix(self.counts.shape[1])
        matrix.matrix = self.counts[candidate].cpu().numpy().copy()
        return matrix

    def mean_iou_per_image(self, candidate: int) -> float:
        """Mean over labeled images of the mean IoU of each, under one candidate; 0 without any."""
        return float(self._iou_sums[candidate]) / max(1, int(self._num_labeled))

    def best(self, metric: str = "mean_iou") -> int:
        """The candidate of the highest score; of equals that of the smallest shift.

        Args:
            metric: "mean_iou" or "mean_iou_per_image".
        """
        numbers = range(len(self.candidates))
        if metric == "mean_iou_per_image":
            scores = [self.mean_iou_per_image(n) for n in numbers]
        else:
            scores = [self.matrix(n).summary()["mean_iou"] or 0.0 for n in numbers]
        return max(numbers, key=scores.__getitem__)


def image_iou(matrices: Tensor) -> Tensor:
    """IoU of each class in one image by MLPerf DeepCAM's rule: 1 where a class is in neither map.

    Args:
        matrices: Confusion matrices (..., K, K) of one image.

    Returns:
        float64 (..., K).
    """
    hits = matrices.diagonal(dim1=-2, dim2=-1)
    union = matrices.sum(-1) + matrices.sum(-2) - hits
    return torch.where(union > 0, hits / union.clamp(min=1).double(), 1.0)
