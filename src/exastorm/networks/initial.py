"""Fresh weights, as the paper's networks and ours begin with; biases begin at zero."""

import math
from collections.abc import Callable

from torch import Tensor, nn

SLIM_SPREAD = 1.3
"""By what TF-slim raises the variance of a normal distribution before it cuts its tails at two
standard deviations (tf.contrib.layers.variance_scaling_initializer)."""


def he_normal(weight: Tensor) -> None:
    """Variance 2 / fan-in (He et al. 2015), which keeps the spread of what passes a ReLU."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def he_uniform(weight: Tensor) -> None:
    """The same variance, uniform: what the paper chose for all but the slim convolutions."""
    nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def slim_normal(weight: Tensor) -> None:
    """What TF-slim's convolutions begin with: a normal distribution cut at two deviations."""
    std = math.sqrt(SLIM_SPREAD * 2.0 / weight[0].numel())
    nn.init.trunc_normal_(weight, std=std, a=-2.0 * std, b=2.0 * std)


def initialize(module: nn.Module, law: Callable[[Tensor], None]) -> None:
    """Draw the weights of all convolutions in a module from torch's global generator."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            law(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
