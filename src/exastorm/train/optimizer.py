"""Which optimizer trains a network, and with what.

Adam, AdamW and SGD are torch's, fused into one pass over memory. LAMB, and LARC around any of the
four, rate each layer by the norm of its weights (`larc.py`).

Biases and the scales and shifts of norms, all tensors of less than two dimensions, have neither
weight decay nor a layer's rate, as LARS and LAMB are used (You et al. 2017 and 2020; MLPerf's
references): they start at 0 or 1, so their norm says nothing about the size of a sensible step.
They follow the inner optimizer at `learning_rate`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from exastorm.train.directions import prepare_momentum
from exastorm.train.larc import PAPER_TRUST, LarcMode, LayerwiseOptimizer, OptimizerName


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How gradients change the weights."""

    name: OptimizerName = "adam"
    """adam (weight decay joins the gradient), adamw (weight decay apart), sgd (with momentum), or
    lamb (for large batches: adamw's direction, each layer changed by learning_rate of its norm)."""

    learning_rate: float = 2e-3
    """Largest learning rate; the schedule multiplies it."""

    beta1: float = 0.9
    """What Adam's and LAMB's mean of the gradients keeps in a step; the paper's."""

    beta2: float = 0.999
    """What Adam's and LAMB's mean of the squared gradients keeps in a step; the paper's."""

    epsilon: float = 1e-8
    """Added to the root of that mean; the paper's. MLPerf's DeepCAM has 1e-6."""

    momentum: float = 0.9
    """What the sum of gradients keeps in a step of sgd; 0 has no momentum."""

    weight_decay: float = 0.0
    """Share of the weights that joins each step; biases and norms have none. The paper's code has
    none in effect."""

    larc: LarcMode = "none"
    """Rate of each layer by the norm of its weights: none, clip (no step changes a layer by more
    than trust of its norm) or scale (each step changes each layer by relative_step of its norm)."""

    trust: float = PAPER_TRUST
    """Of clip, and of scale without a relative_step, which is then learning_rate x trust, as in
    LARS. The paper's eta."""

    relative_step: float | None = None
    """Relative change of each layer in a step, with larc scale; a rule that carries over from the
    paper, whose learning rates do not: 1.3e-4 x GPUs / 384. Biases and norms keep learning_rate."""

    clip_norm: float | None = None
    """Gradients whose norm over all weights is larger are scaled down to it."""

    def __post_init__(self) -> None:
        for field, words in (("name", OptimizerName), ("larc", LarcMode)):
            value, choices = getattr(self, field), get_args(words)
            if value not in choices:
                raise ValueError(f"{field} must be one of {', '.join(choices)}, got {value!r}")
        self._check_numbers()
        if self.relative_step is not None and self.larc != "scale":
            raise ValueError(
                f"relative_step must be unset where larc is not scale, got {self.relative_step}"
            )

    def _check_numbers(self) -> None:
        """Check each number by itself."""
        for field in ("learning_rate", "epsilon", "trust", "relative_step", "clip_norm"):
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field} must be positive, got {value}")
        for field in ("beta1", "beta2", "momentum"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                raise ValueError(f"{field} must be at least 0 and below 1, got {value}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")

    @property
    def layer_rate(self) -> float:
        """Largest rate of tensors that are not biases or norms."""
        if self.larc != "scale":
            return self.learning_rate
        if self.relative_step is not None:
            return self.relative_step
        return self.learning_rate * self.trust


def build_optimizer(
    weights: nn.Module | Iterable[Tensor], settings: OptimizerSettings, capturable: bool = False
) -> torch.optim.Optimizer:
    """The optimizer that settings name.

    Its groups are the layers and, where there are any, the biases and norms. `peak_lr` of a group
    is the rate that the schedule multiplies; `set_rate` does so.

    Args:
        weights: A network on its device, or its parameters.
        settings: Which optimizer.
        capturable: Keep the rates in tensors on the device, so that a step can be in a CUDA graph.
    """
    parameters = weights.parameters() if isinstance(weights, nn.Module) else weights
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = _groups_of(trained, settings)
    if capturable:
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=trained[0].device)
    betas, eps = (settings.beta1, settings.beta2), settings.epsilon
    if settings.larc != "none" or settings.name == "lamb":
        return LayerwiseOptimizer(
            groups,
            name=settings.name,
            larc=settings.larc,
            trust=settings.trust,
            betas=betas,
            eps=eps,
            momentum=settings.momentum,
        )
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum, fused=True)
        if settings.momentum != 0:
            prepare_momentum(optimizer.state, trained)
        return optimizer
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, betas=betas, eps=eps, fused=True, capturable=capturable)


def _groups_of(trained: list[Tensor], settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Layers, and biases and norms, each with rate and weight decay; none that is empty."""
    layers = [weight for weight in trained if weight.dim() >= 2]
    others = [weight for weight in trained if weight.dim() < 2]
    groups: list[dict[str, Any]] = [
        {
            "params": layers,
            "lr": settings.layer_rate,
            "peak_lr": settings.layer_rate,
            "weight_decay": settings.weight_decay,
            "layerwise": True,
        },
        {
            "params": others,
            "lr": settings.learning_rate,
            "peak_lr": settings.learning_rate,
            "weight_decay": 0.0,
            "layerwise": False,
        },
    ]
    return [group for group in groups if group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the rates of an optimizer to a share of their largest; nothing waits for the device."""
    for group in optimizer.param_groups:
        rate = group["peak_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
