"""Which way Adam, AdamW and SGD would step, apart from how far.

A fused optimizer kernel changes weights by -rate x direction in one pass over memory. Given a rate
of 1 and zeros in place of weights, it leaves exactly -direction there, with its moments brought up
to date: no second implementation of Adam, and no rounding against the weights.
"""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

States = MutableMapping[Tensor, dict[str, Any]]
"""What an optimizer remembers of each tensor."""

Directions = Callable[[States, dict[str, Any], list[Tensor], Tensor | None], list[Tensor]]
"""From states, options of the group, tensors with a gradient, and a scalar that is 1 where the
step must leave the states alone, to the negative directions, one shaped as each tensor."""


def adam_directions(
    states: States, options: dict[str, Any], weights: list[Tensor], found_inf: Tensor | None
) -> list[Tensor]:
    """Adam (Kingma and Ba 2015, algorithm 1); decay is added to the gradient (L2)."""
    return _adam(states, options, weights, _decayed_gradients(options, weights), found_inf)


def adamw_directions(
    states: States, options: dict[str, Any], weights: list[Tensor], found_inf: Tensor | None
) -> list[Tensor]:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2); decay is added to Adam's direction."""
    updates = _adam(states, options, weights, _gradients(weights), found_inf)
    if options["weight_decay"] != 0:
        torch._foreach_add_(updates, weights, alpha=-options["weight_decay"])
    return updates


def sgd_directions(
    states: States, options: dict[str, Any], weights: list[Tensor], found_inf: Tensor | None
) -> list[Tensor]:
    """SGD with momentum, v <- momentum x v + gradient; decay is added to the gradient (L2)."""
    updates = [torch.zeros_like(weight) for weight in weights]
    buffers: list[Tensor | None] = [None] * len(weights)
    if options["momentum"] != 0:
        prepare_momentum(states, weights)
        buffers = [states[weight]["momentum_buffer"] for weight in weights]
    sgd(
        updates,
        _decayed_gradients(options, weights),
        buffers,
        fused=True,
        found_inf=found_inf,
        weight_decay=0.0,
        momentum=options["momentum"],
        lr=1.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
    return updates


def prepare_momentum(states: States, weights: Sequence[Tensor]) -> None:
    """Begin the momentum of SGD at zero where there is none yet.

    torch's fused SGD makes it without writing to it, and a first step that is skipped then leaves
    whatever the memory held (torch 2.13).
    """
    for weight in weights:
        if "momentum_buffer" not in states[weight]:
            states[weight]["momentum_buffer"] = torch.zeros_like(weight)


def _adam(
    states: States,
    options: dict[str, Any],
    weights: list[Tensor],
    gradients: list[Tensor],
    found_inf: Tensor | None,
) -> list[Tensor]:
    """Bias-corrected first moment over the root of the second; nothing of weight decay."""
    for weight in weights:
        state = states[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
    updates = [torch.zeros_like(weight) for weight in weights]
    adam(
        updates,
        gradients,
        [states[weight]["exp_avg"] for weight in weights],
        [states[weight]["exp_avg_sq"] for weight in weights],
        [],
        [states[weight]["step"] for weight in weights],
        fused=True,
        found_inf=found_inf,
        amsgrad=False,
        beta1=options["betas"][0],
        beta2=options["betas"][1],
        lr=1.0,
        weight_decay=0.0,
        eps=options["eps"],
        maximize=False,
    )
    return updates


def _gradients(weights: list[Tensor]) -> list[Tensor]:
    """Gradients of tensors that all have one."""
    return [weight.grad for weight in weights if weight.grad is not None]


def _decayed_gradients(options: dict[str, Any], weights: list[Tensor]) -> list[Tensor]:
    """Gradients of the loss plus weight_decay / 2 x |w|^2; the loss's own are left as they are."""
    gradients = _gradients(weights)
    if options["weight_decay"] == 0:
        return gradients
    return list(torch._foreach_add(gradients, weights, alpha=options["weight_decay"]))
