"""LARC: how far each layer goes, by the norm of its weights, around any optimizer.

LARS (You et al. 2017, "Large batch training of convolutional networks", equation 6) gives each
layer a local rate trust x |w| / |g|; LARC bounds it by the global rate. Both are meant for SGD.
Adam's step does not change when its gradient is scaled, so scaling the gradient, as the paper's
code did, does nothing around a right Adam. Here the direction u that the inner optimizer would
take, momentum and weight decay included, stands in place of g. Then the relative change of a layer
in a step, rate x |u| / |w|, is what the options say, whichever optimizer is inside.

Nothing in a step waits for the device: norms stay there, and zeros are dealt with by `torch.where`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from exastorm.train.directions import Directions, adam_directions, adamw_directions, sgd_directions
from exastorm.train.lamb import lamb_directions

OptimizerName = Literal["adam", "adamw", "sgd", "lamb"]
LarcMode = Literal["none", "clip", "scale"]

DIRECTIONS: dict[str, Directions] = {
    "adam": adam_directions,
    "adamw": adamw_directions,
    "sgd": sgd_directions,
    "lamb": lamb_directions,
}

PAPER_TRUST = 0.002
"""eta of the paper's runs (ClimDeepLearn, LARC-Adam)."""

ZERO_NORM_RATIO = 1.0 / 16000.0 / PAPER_TRUST
"""What stands for |w| / |u| where either is zero, 1/32: with the paper's trust it makes the paper's
fallback rate, 1/16000 (ClimDeepLearn). It is the ratio of a layer whose weights have an RMS of 1/32
under Adam, as He's initialization gives them with 2048 inputs."""

PAPER_RELATIVE_STEP, PAPER_NUM_GPUS = 1.3e-4, 384
"""Relative change of a layer in one update of the paper's smallest run on Summit, and its GPUs; the
larger runs follow in proportion (`paper_relative_step`)."""


def paper_relative_step(num_gpus: int) -> float:
    """Relative weight change |dw| / |w| in an update that the paper's runs amount to.

    Its code divided gradients by the number of GPUs N twice too often and raised the learning rate
    as N^3; what came out is linear in N (docs/optimizers.md).

    Args:
        num_gpus: GPUs that share a step, with one sample each.

    Raises:
        ValueError: If there is no GPU.
    """
    if num_gpus < 1:
        raise ValueError(f"num_gpus must be at least 1, got {num_gpus}")
    return PAPER_RELATIVE_STEP * num_gpus / PAPER_NUM_GPUS


def local_rates(
    weight_norms: Tensor, update_norms: Tensor, rate: float | Tensor, trust: float, mode: LarcMode
) -> Tensor:
    """Rate of each layer.

    Args:
        weight_norms: |w| of each layer (N,).
        update_norms: |u| of each layer (N,).
        rate: Of the whole network, now.
        trust: Largest relative change in "clip".
        mode: "clip": the smaller of trust x |w| / |u| and rate (LARC). "scale": rate x |w| / |u|
            (LARS), so that each layer changes by rate of its norm. "none": rate.

    Returns:
        (N,); for a ratio with a zero in it see `ZERO_NORM_RATIO`.
    """
    if mode == "none":
        return torch.ones_like(weight_norms) * rate
    usable = (weight_norms > 0) & (update_norms > 0)
    ratios = torch.where(usable, weight_norms / update_norms, ZERO_NORM_RATIO)
    if mode == "scale":
        return ratios * rate
    return torch.minimum(ratios * trust, torch.ones_like(ratios) * rate)


class LayerwiseOptimizer(torch.optim.Optimizer):
    """An optimizer whose layers each have a rate: LAMB, and LARC around any other.

    Each parameter is a layer. If the attribute `found_inf` is set to a scalar on the device that is
    1, a step changes nothing, as in torch's fused optimizers; gradients must not be scaled then. A
    group whose `layerwise` is False takes the direction at its rate as it is.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        name: OptimizerName,
        larc: LarcMode,
        trust: float = PAPER_TRUST,
        **options: Any,
    ) -> None:
        """Put parameters under an optimizer.

        Args:
            groups: Each with params, lr and layerwise.
            name: Whose direction is taken.
            larc: How far, see `local_rates`.
            trust: Largest relative change in "clip".
            **options: betas, eps, momentum and weight_decay of groups that don't say.
        """
        # With "fused" load_state_dict puts the step counts on the device of the weights.
        defaults = {"name": name, "larc": larc, "trust": trust, "fused": True} | options
        super().__init__(groups, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change the weights by their gradients."""
        assert closure is None, "gradients are set before the step"
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            updates = DIRECTIONS[group["name"]](self.state, group, weights, found_inf)
            rates = _rates_of(group, weights, updates)
            if found_inf is not None:
                # Moments and directions are as they were, but weight decay has joined these.
                rates = rates * (1.0 - found_inf)
            torch._foreach_addcmul_(weights, updates, list(rates.unbind()))
        return None


def _rates_of(group: dict[str, Any], weights: list[Tensor], updates: list[Tensor]) -> Tensor:
    """Rate of each tensor of a group (N,)."""
    if not group["layerwise"] or group["larc"] == "none":
        rates: Tensor = torch.ones(len(weights), device=weights[0].device) * group["lr"]
        return rates
    lengths = torch.stack(torch._foreach_norm(weights))
    update_lengths = torch.stack(torch._foreach_norm(updates))
    return local_rates(lengths, update_lengths, group["lr"], group["trust"], group["larc"])
