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
        counts: int64 (N, K, K); rows are the truth.
    """

    def __init__(self, num_classes: int, tune: bool = True) -> None:
        self.candidates = decision_candidates(num_classes, tune)
        self.counts = torch.zeros(
            (len(self.candidates), num_classes, num_classes), dtype=torch.int64
        )

    def record_batch(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            logits: (B, K, H, W) or (P, K) on any device.
            labels: (B, H, W) or (P,) on the same; -1 is not counted.
        """
        num_classes = self.counts.shape[1]
        valid = labels.reshape(-1) >= 0
        truth = labels.reshape(-1)[valid] * num_classes
        columns = logits.float().movedim(1, -1).reshape(-1, num_classes)[valid].T.contiguous()
        for n, shift in enumerate(self.candidates.tolist()):
            cells = truth + largest_shifted(columns, shift)
            counts = torch.bincount(cells, minlength=num_classes**2)
            self.counts[n] += counts.reshape(num_classes, num_classes).cpu()

    def matrix(self, candidate: int) -> ConfusionMatrix:
        """Confusion matrix under one candidate."""
        matrix = ConfusionMatrix(self.counts.shape[1])
        matrix.matrix = self.counts[candidate].numpy().copy()
        return matrix

    def best(self) -> tuple[tuple[float, ...], ConfusionMatrix]:
        """The shift (K,) of the highest mean IoU and its matrix; of equals the smallest shift."""
        scores = [self.matrix(n).summary()["mean_iou"] or 0.0 for n in range(len(self.candidates))]
        chosen = max(range(len(scores)), key=scores.__getitem__)
        return tuple(self.candidates[chosen].tolist()), self.matrix(chosen)
