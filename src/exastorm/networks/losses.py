"""Class-weighted cross-entropy, for classes as rare as one pixel in a thousand.

With equal weights a network that answers "background" everywhere is right on 98.2 % of the pixels
and learns no more (Kurth et al. 2018, section V-B1). Weights by inverse frequency lift cyclones by
1383, which makes many false alarms; the inverse square root, 37, is the paper's choice.

Soft labels say with which probability a pixel is of a class. Their loss is what the hard loss would
be on average over class maps drawn with these probabilities.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

WeightLaw = Literal["none", "inverse", "inverse_sqrt"]

POWERS: dict[str, float] = {"none": 0.0, "inverse": -1.0, "inverse_sqrt": -0.5}
"""Power of the class frequency that each law's weights are proportional to."""


def class_weights(frequencies: Sequence[float], law: WeightLaw = "inverse_sqrt") -> Tensor:
    """Weights of the classes by how often they occur, summing to 1.

    Args:
        frequencies: Shares of the pixels (K,), not negative.
        law: "none" weighs all classes alike, "inverse" by 1 / f, "inverse_sqrt" by 1 / sqrt(f).

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
    logits: Tensor, labels: Tensor, weights: Tensor, total: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over pixels, each counted by its weight; in nats, always float32.

    Args:
        logits: (B, K, H, W), any floating type.
        labels: Classes (B, H, W) int64; where the weight is 0 any value, also -1.
        weights: Weight of each pixel (B, H, W), not negative.
        total: Sum of weights to divide by: that of the whole batch, where this is a part of it;
            None takes these weights' own.

    Returns:
        A scalar. 0 if no pixel has a weight.
    """
    # Gathered by hand: torch's own 2-d loss has no deterministic backward on GPUs.
    log_shares = logits.float().log_softmax(dim=1)
    each = -log_shares.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
    smallest = torch.finfo(torch.float32).tiny
    total = weights.sum() if total is None else total
    return (each * weights).sum() / total.clamp(min=smallest)


def soft_cross_entropy(logits: Tensor, weights: Tensor, total: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over pixels with soft labels; in nats, always float32.

    A pixel of class k loses -w_k log s_k, with w_k the weight of the class and s_k the network's
    share. Where it is of class k with probability p_k it loses -sum_k p_k w_k log s_k, and counts
    sum_k p_k w_k. Probabilities of 0 and 1 give `weighted_cross_entropy`, bit for bit.

    Args:
        logits: (B, K, H, W), any floating type.
        weights: Weight of each class in each pixel (B, K, H, W), p_k w_k, not negative.
        total: Sum of weights to divide by: that of the whole batch, where this is a part of it;
            None takes these weights' own.

    Returns:
        A scalar. 0 if no pixel has a weight.
    """
    each = -(logits.float().log_softmax(dim=1) * weights).sum(dim=1)
    smallest = torch.finfo(torch.float32).tiny
    total = weights.sum(dim=1).sum() if total is None else total
    return each.sum() / total.clamp(min=smallest)
