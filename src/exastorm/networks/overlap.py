"""How badly two maps overlap, as a loss: what intersection over union scores, made differentiable.

Cross-entropy is a sum over pixels; the score of a class is a ratio of areas, in which a cyclone of
a hundred pixels counts as much as all background. Dice and Lovász losses are such ratios, of the
network's shares in place of its choices. Both are taken sample by sample and over the classes that
a sample has: of a class that it lacks the ratio is the worst whatever the network says, and teaches
nothing. (Cross-entropy still tells of false alarms.)

A pixel counts by its area, never by the weight of its class. The ratio already is each class's own;
with class weights a false alarm over background would weigh less in it than a missed pixel, so that
classes drawn too large would pass for a good overlap.

Backward passes multiply and add in place of scattering, so they repeat their rounding on GPUs.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Overlap = Literal["none", "dice", "lovasz"]
OverlapClasses = Literal["storms", "all"]

UNITS_OF_AREA = 2**24
"""Whole numbers that an area of 1 is cut into to add up areas. They sum without rounding, in any
order and on any device; a float32 holds no finer steps below 1."""


def at_least_single(values: Tensor) -> Tensor:
    """Half precision widened to float32; float32 and float64 as they are."""
    return values.float() if values.element_size() < 4 else values


def overlap_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    kind: Overlap,
    num_samples: int,
    *,
    classes: OverlapClasses = "storms",
) -> Tensor:
    """Mean over samples of the mean over present classes of one less their overlap.

    Computed in float32, of float64 logits in float64, also under autocast.

    Args:
        logits: (B, K, H, W), any floating type; class 0 is background.
        labels: Classes (B, H, W), or their probabilities (B, K, H, W), which only dice takes.
        weights: Area of each pixel (B, H, W), in any unit near 1; 0 where it has no label.
        kind: "dice", `dice_losses`, or "lovasz", `lovasz_losses`.
        num_samples: Samples of the whole batch; losses of its parts add up to that of the whole.
        classes: "storms" leaves out background, "all" does not.

    Returns:
        A scalar from 0 to 1. A sample without any of the classes adds 0.

    Raises:
        ValueError: For an unknown kind or choice of classes, or probabilities with "lovasz".
    """
    if kind not in ("dice", "lovasz"):
        raise ValueError(f"kind must be dice or lovasz, got {kind!r}")
    if classes not in get_args(OverlapClasses):
        raise ValueError(f"classes must be storms or all, got {classes!r}")
    is_soft = labels.dim() == logits.dim()
    if is_soft and kind == "lovasz":
        raise ValueError("kind must be dice where labels are probabilities, got 'lovasz'")
    first = 1 if classes == "storms" else 0
    with torch.autocast(logits.device.type, enabled=False):
        shares = at_least_single(logits).softmax(dim=1)[:, first:].flatten(2)
        if is_soft:
            truth = labels[:, first:].flatten(2)
        else:
            each_class = torch.arange(first, logits.shape[1], device=labels.device)
            truth = labels.flatten(1).unsqueeze(1) == each_class[:, None]
        area = weights.flatten(1).unsqueeze(1).to(shares.dtype)
        losses = (dice_losses if kind == "dice" else lovasz_losses)(shares, truth, area)
        present = (truth * area).sum(dim=-1) > 0
        each_sample = (losses * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return each_sample.sum() / num_samples


def dice_losses(shares: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Area on which two maps differ over the sum of their areas, one less the Dice coefficient.

    sum a |s - p| / sum a (s + p), with s the share, p the truth and a the area of a pixel: the Dice
    semimetric loss of Wang et al. 2023 ("Dice semimetric losses: optimizing the Dice score with
    soft labels"). For hard p it is the usual soft Dice loss, 1 - 2 sum a s p / sum a (s + p); that
    one is not least where s equals a soft p, this one is.

    Args:
        shares: Of the network (B, K, N).
        truth: Class maps or probabilities (B, K, N).
        area: Of the pixels (B, 1, N).

    Returns:
        (B, K), from 0 to 1.
    """
    apart = ((shares - truth.to(shares.dtype)).abs() * area).sum(dim=-1)
    both = ((shares + truth.to(shares.dtype)) * area).sum(dim=-1)
    return apart / both.clamp(min=torch.finfo(both.dtype).tiny)


def lovasz_losses(shares: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Lovász extension of the Jaccard loss, 1 - intersection / union (Berman et al. 2018).

    "The Lovász-Softmax loss", equations 8, 9 and 11: with errors m = |p - s| sorted from the
    largest, the loss is the sum of m_i g_i, where g_i is what the Jaccard loss grows by when pixel
    i is got wrong after those before it. Here pixels count by their areas: that keeps it convex in
    the errors, and equal to the Jaccard loss where all of them are 0 or 1.

    Args:
        shares: Of the network (B, K, N).
        truth: Class maps (B, K, N) bool.
        area: Of the pixels (B, 1, N).

    Returns:
        (B, K), from 0 to 1.
    """
    errors = (truth.to(shares.dtype) - shares).abs()
    return (errors * _jaccard_growth(errors.detach(), truth, area)).sum(dim=-1)


@torch.no_grad()
def _jaccard_growth(errors: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """What the Jaccard loss grows by with each pixel got wrong after those of larger errors.

    Args:
        errors: (B, K, N).
        truth: Class maps (B, K, N) bool.
        area: Of the pixels (B, 1, N).

    Returns:
        (B, K, N), not negative. Of a class without area it means nothing.
    """
    order = errors.argsort(dim=-1, descending=True, stable=True)
    units = (area * UNITS_OF_AREA).round().long().expand_as(order).gather(-1, order)
    inside = truth.gather(-1, order)
    lost = torch.where(inside, units, 0)
    total = lost.sum(dim=-1, keepdim=True)
    intersection = total - lost.cumsum(dim=-1)
    union = total + (units - lost).cumsum(dim=-1)
    # J falls from I / U to (I - a) / U with a pixel missed and to I / (U + a) with a false one. The
    # difference of the two would lose all digits: pixels are a millionth of a map.
    before = (union - units).clamp(min=1).to(errors.dtype)
    share_left = torch.where(inside, 1.0, intersection.to(errors.dtype) / before)
    growth = units.to(errors.dtype) / union.clamp(min=1).to(errors.dtype) * share_left
    return torch.empty_like(growth).scatter_(-1, order, growth)
