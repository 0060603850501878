"""From logits to classes: the shift of the logits that makes the best maps.

A network trained with weighted loss gives logits of shares that are inflated by those weights, so
the largest logit draws rare classes too large. And even of true shares the largest is not the best
choice for the IoU: a pixel is worth giving to a class if its share is above J / (1 + J), with J the
IoU reached (half the best F1, as Lipton et al. 2014, ECML, show). So a few shifts are tried on the
validation split and the best one becomes part of the classifier.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from exastorm.storms.skill import ConfusionMatrix

SHIFTS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0)
"""Shifts to try for the logit of each class but the first, nats. The paper's weights inflate
cyclones by log(37) = 3.6 and rivers by log(7.6) = 2.0. Steps of 1, for the IoU is flat near its
best, and finer ones would fit the validation split's few storms."""


def decision_candidates(num_classes: int, tune: bool = True) -> Tensor:
    """Shifts (N, K) to try; the first one is no shift.

    Args:
        num_classes: K; the first class is never shifted.
        tune: False gives only the first candidate.
    """
    shifts = sorted(SHIFTS, key=abs) if tune else [0.0]
    rows = [(0.0, *row) for row in itertools.product(shifts, repeat=num_classes - 1)]
    return torch.tensor(rows)


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

    def __init__(self, num_classes: int, tune: bool = True) -> None:
        self.candidates = decision_candidates(num_classes, tune)
        num = len(self.candidates)
        self.counts = torch.zeros((num, num_classes, num_classes), dtype=torch.int64)
        self.num_images = 0
        self._iou_sums = torch.zeros(num, dtype=torch.float64)

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
        self._iou_sums += image_iou(matrices).mean(dim=1)
        self.num_images += 1

    def shift(self, candidate: int) -> tuple[float, ...]:
        """One candidate (K,)."""
        return tuple(self.candidates[candidate].tolist())

    def matrix(self, candidate: int) -> ConfusionMatrix:
        """Confusion matrix under one candidate."""
        matrix = ConfusionMatrix(self.counts.shape[1])
        matrix.matrix = self.counts[candidate].cpu().numpy().copy()
        return matrix

    def mean_iou_per_image(self, candidate: int) -> float:
        """Mean over images of the mean IoU of each, under one candidate; 0 without images."""
        return float(self._iou_sums[candidate]) / max(1, self.num_images)

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
