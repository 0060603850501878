"""Class-weighted cross-entropy, for classes as rare as one pixel in a thousand.

With equal weights a network that answers "background" everywhere is right on 98.2 % of the pixels
and learns no more (Kurth et al. 2018, section V-B1). Weights by inverse frequency lift cyclones by
1383, which makes many false alarms; the inverse square root, 37, is the paper's choice.

Soft labels say with which probability a pixel is of a class. Their loss is what the hard loss would
be on average over class maps drawn with these probabilities.

`segmentation_loss` is what training minimizes: cross-entropy plus, if asked for, a term for the
overlap of the maps. Nothing here waits for a GPU: no value is looked at, no shape depends on one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from exastorm.networks.overlap import Overlap, OverlapClasses, at_least_single, overlap_loss

WeightLaw = Literal["none", "inverse", "inverse_sqrt", "inverse_eighth"]

POWERS: dict[str, float] = {
    "none": 0.0,
    "inverse": -1.0,
    "inverse_sqrt": -0.5,
    "inverse_eighth": -0.125,
}
"""Power of the class frequency that each law's weights are proportional to. -1/2 is of Kurth et al.
2018, -1/8 of DeepCAM in MLPerf HPC."""

CHOICES = {
    "weight_law": get_args(WeightLaw),
    "overlap": get_args(Overlap),
    "overlap_classes": get_args(OverlapClasses),
}
"""Fields that take one of a few words."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What training minimizes."""

    weight_law: WeightLaw = "inverse_sqrt"
    """Loss weight of a class by its frequency f in training: inverse_sqrt (1 / sqrt f, as in the
    paper), inverse (1 / f), inverse_eighth (f^-1/8, as in MLPerf's DeepCAM), or none."""

    area_weighting: bool = False
    """Count pixels by their area, the cosine of latitude; else the narrow cells near the poles
    count as much as those of the tropics."""

    focal_gamma: float = 0.0
    """Multiply each pixel's cross-entropy by (1 - s)^gamma, with s the network's share of the right
    class, so that pixels it is sure of count less (focal loss); 0 is plain, 2 is usual."""

    overlap: Overlap = "none"
    """Add a loss for how badly the maps overlap in each sample: dice, or lovasz, which follows the
    intersection over union and needs hard targets."""

    overlap_weight: float = 1.0
    """What the overlap's loss, from 0 to 1, is multiplied by before it is added."""

    overlap_classes: OverlapClasses = "storms"
    """Classes whose overlap counts: storms, or all with background."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                got = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {got!r}")
        if not (math.isfinite(self.focal_gamma) and self.focal_gamma >= 0):
            raise ValueError(f"focal_gamma must not be negative, got {self.focal_gamma}")
        if not (math.isfinite(self.overlap_weight) and self.overlap_weight > 0):
            raise ValueError(f"overlap_weight must be positive, got {self.overlap_weight}")


def check_loss_targets(settings: LossSettings, targets: str) -> None:
    """Refuse a loss that the targets of a training have no meaning in.

    Args:
        settings: Of the loss.
        targets: What the network learns: "soft" for probabilities, anything else for class maps.

    Raises:
        ValueError: For a Lovász term with soft targets: it is defined on sets of pixels.
    """
    if targets == "soft" and settings.overlap == "lovasz":
        raise ValueError("overlap must be none or dice where targets is soft, got 'lovasz'")


def class_weights(frequencies: Sequence[float], law: WeightLaw = "inverse_sqrt") -> Tensor:
    """Weights of the classes by how often they occur, summing to 1.

    Args:
        frequencies: Shares of the pixels (K,), not negative.
        law: "none" weighs all classes alike, the others by a power of the frequency (`POWERS`).

    Returns:
        float32 (K,); a class that never occurs has weight 0, for nothing can be learned about it.

    Raises:
        ValueError: For an unknown law, a negative frequency, or all of them 0.
    """
    if law not in POWERS:
        raise ValueError(f"law must be one of {', '.join(get_args(WeightLaw))}, got {law!r}")
    shares = torch.tensor(list(frequencies), dtype=torch.float64)
    if bool((shares < 0).any()) or not float(shares.sum()) > 0:
        raise ValueError(f"frequencies must be shares of pixels, got {list(frequencies)}")
    weights = torch.where(shares > 0, shares.clamp(min=1e-300) ** POWERS[law], 0.0)
    return (weights / weights.sum()).to(torch.float32)


def weighted_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    total: Tensor | None = None,
    *,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Mean cross-entropy over pixels, each counted by its weight; in nats.

    Computed in float32, of float64 logits in float64, also under autocast.

    Args:
        logits: (B, K, H, W), any floating type.
        labels: Classes (B, H, W) int64; where the weight is 0 any value, also -1.
        weights: Weight of each pixel (B, H, W), not negative.
        total: Sum of weights to divide by: that of the whole batch, where this is a part of it;
            None takes these weights' own.
        focal_gamma: Power of the focal factor; 0 has none.

    Returns:
        A scalar. 0 if no pixel has a weight.
    """
    with torch.autocast(logits.device.type, enabled=False):
        # Gathered by hand: torch's own 2-d loss has no deterministic backward on GPUs. This one
        # has, for each pixel writes to a place of its own.
        log_shares = at_least_single(logits).log_softmax(dim=1)
        own = log_shares.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
        each = -own if focal_gamma == 0 else -own * _focal_factor(own, focal_gamma)
        total = weights.sum() if total is None else total
        return (each * weights).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def soft_cross_entropy(
    logits: Tensor, weights: Tensor, total: Tensor | None = None, *, focal_gamma: float = 0.0
) -> Tensor:
    """Mean cross-entropy over pixels with soft labels; in nats.

    A pixel of class k loses -w_k log s_k, with w_k the weight of the class and s_k the network's
    share. Where it is of class k with probability p_k it loses -sum_k p_k w_k log s_k, and counts
    sum_k p_k w_k. Probabilities of 0 and 1 give `weighted_cross_entropy`, bit for bit.

    Computed in float32, of float64 logits in float64, also under autocast.

    Args:
        logits: (B, K, H, W), any floating type.
        weights: Weight of each class in each pixel (B, K, H, W), p_k w_k, not negative.
        total: Sum of weights to divide by: that of the whole batch, where this is a part of it;
            None takes these weights' own.
        focal_gamma: Power of the focal factor, here of each class; 0 has none.

    Returns:
        A scalar. 0 if no pixel has a weight.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_shares = at_least_single(logits).log_softmax(dim=1)
        if focal_gamma != 0:
            log_shares = log_shares * _focal_factor(log_shares, focal_gamma)
        each = -(log_shares * weights).sum(dim=1)
        total = weights.sum(dim=1).sum() if total is None else total
        return each.sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def segmentation_loss(
    logits: Tensor,
    label: Tensor,
    weight: Tensor,
    settings: LossSettings,
    *,
    total_weight: Tensor,
    num_samples: int,
    class_weight: Tensor | None = None,
) -> Tensor:
    """What training minimizes, of a batch or a part of it; parts add up to the whole batch's.

    Args:
        logits: (B, K, H, W), any floating type.
        label: Classes (B, H, W) int64, -1 where unlabeled; soft labels don't need it.
        weight: Of each pixel (B, H, W), the weight of its class, times its area with
            `area_weighting`; of soft labels that of each class in each pixel (B, K, H, W), times
            its probability. 0 where unlabeled.
        settings: Of the loss.
        total_weight: Sum of the weights of the whole batch.
        num_samples: Samples of the whole batch.
        class_weight: Weight of each class (K,) that is in `weight`, on its device. An overlap term
            takes it out again to find areas and probabilities; nothing else needs it.

    Returns:
        A scalar, float32, of float64 logits float64.

    Raises:
        ValueError: If an overlap term needs class weights and has none.
    """
    gamma = settings.focal_gamma
    is_soft = weight.dim() == logits.dim()
    if is_soft:
        loss = soft_cross_entropy(logits, weight, total_weight, focal_gamma=gamma)
    else:
        loss = weighted_cross_entropy(logits, label, weight, total_weight, focal_gamma=gamma)
    if settings.overlap == "none":
        return loss
    if class_weight is not None:
        label, area = _truth_and_area(label, weight, class_weight)
    elif is_soft or settings.area_weighting:
        raise ValueError(
            "class_weight must be given for an overlap term with soft labels or areas, got None"
        )
    else:
        area = (weight > 0).to(weight.dtype)
    overlap = overlap_loss(
        logits, label, area, settings.overlap, num_samples, classes=settings.overlap_classes
    )
    return loss + settings.overlap_weight * overlap


def _focal_factor(log_shares: Tensor, gamma: float) -> Tensor:
    """(1 - s)^gamma (Lin et al. 2017, "Focal loss for dense object detection", equation 4)."""
    # Powers below 1 rise infinitely steeply at 0.
    smallest = torch.finfo(log_shares.dtype).tiny
    factor: Tensor = (1.0 - log_shares.exp()).clamp(min=smallest) ** gamma
    return factor


def _truth_and_area(label: Tensor, weight: Tensor, class_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Classes (B, H, W) or their probabilities (B, K, H, W), and area of each pixel (B, H, W).

    A class of weight 0 never occurs, and has neither probability nor area.
    """
    divisor = class_weight.clamp(min=torch.finfo(class_weight.dtype).tiny)
    if weight.dim() == label.dim():
        return label, weight / divisor[label.clamp(min=0)]
    of_class = weight / divisor[:, None, None]
    area = of_class.sum(dim=1)
    smallest = torch.finfo(area.dtype).tiny
    return of_class / area.clamp(min=smallest).unsqueeze(1), area
