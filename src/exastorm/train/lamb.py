"""LAMB: Adam's direction, stretched in each layer to the length of its weights.

You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes",
algorithm 2, with phi the identity: a rate r changes each layer by r of its norm, whatever the size
of its gradients or the batch. It lets the rate grow with large batches; MLPerf's DeepCAM is trained
with it.
"""

from typing import Any

import torch
from torch import Tensor

from exastorm.train.directions import States, adamw_directions


def lamb_directions(
    states: States, options: dict[str, Any], weights: list[Tensor], found_inf: Tensor | None
) -> list[Tensor]:
    """AdamW's directions, decay included, each as long as its weights.

    A direction stays as it is where it or the weights are all zero, and where the options have
    "layerwise" False (biases and norms). `Directions` tells the arguments.
    """
    updates = adamw_directions(states, options, weights, found_inf)
    if options["layerwise"]:
        lengths = torch.stack(torch._foreach_norm(weights))
        stretches = lamb_stretch(lengths, torch.stack(torch._foreach_norm(updates)))
        torch._foreach_mul_(updates, list(stretches.unbind()))
    return updates


def lamb_stretch(weight_norms: Tensor, update_norms: Tensor) -> Tensor:
    """Trust ratio |w| / |u| of each layer (N,), 1 where either is zero."""
    usable = (weight_norms > 0) & (update_norms > 0)
    return torch.where(usable, weight_norms / update_norms, 1.0)
