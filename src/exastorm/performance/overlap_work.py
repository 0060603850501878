"""What a step of the benchmark of overlap does: layers that sleep, or a network that computes."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.dropout import seed_dropout
from exastorm.networks.losses import LossSettings, segmentation_loss
from exastorm.parallel.buckets import FLOAT_BYTES
from exastorm.parallel.totals import Totals
from exastorm.variables import NUM_CLASSES

NUM_CHANNELS = 16
"""Fields of a sample (Kurth et al. 2018, section III-A2)."""

TOLERANCE = 1e-5
"""Of sums in float32 in another order, of the largest gradient of a parameter."""


class Work(Protocol):
    """A step: forward and backward.

    Attributes:
        parameters: Whose gradients it makes, the last one's first.
    """

    parameters: Sequence[Tensor]

    def step(self) -> None:
        """Take a step; backward runs the hooks of the parameters."""

    def num_wrong(self, totals: Totals, num_ranks: int, lag: int) -> int:
        """Numbers handed out last that aren't the sum over ranks of gradients `lag` steps ago.

        All ranks ask at the same time.
        """


class Sleep:
    """Layers that sleep, each with a gradient that tells rank and step."""

    def __init__(self, plan: dict[str, Any], rank: int, device: torch.device) -> None:
        size = max(1, round(plan["size_mb"] * 1e6 / FLOAT_BYTES / plan["num_layers"]))
        self.parameters: Sequence[Tensor] = [
            torch.empty(size, device=device, requires_grad=True) for _ in range(plan["num_layers"])
        ]
        self._sleep_s = plan["sleep_s"] / plan["num_layers"]
        self._rank, self._device = rank, device
        self._num_done = 0

    def step(self) -> None:
        """Sleep forward and backward."""
        # One number, spread out as it is put into its bucket: to write it twice would be work.
        gradient = torch.tensor(float(self._rank + self._num_done), device=self._device)
        signal = torch.zeros((), device=self._device)
        for weight in self.parameters:
            signal = _asleep(signal, weight, self._sleep_s, gradient)
        torch.autograd.grad(signal, self.parameters)
        self._num_done += 1

    def num_wrong(self, totals: Totals, num_ranks: int, lag: int) -> int:
        """Numbers that aren't the sum over ranks r of r + step, exactly."""
        step = self._num_done - 1 - lag
        expected = num_ranks * (num_ranks - 1) // 2 + num_ranks * step
        return sum(_num_not(_gradient_of(weight) == expected) for weight in self.parameters)


class _SleepingLayer(torch.autograd.Function):
    """Sleeps in forward and twice as long in backward, which has two products for forward's one."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, signal: Tensor, weight: Tensor, sleep_s: float, gradient: Tensor
    ) -> Tensor:
        ctx.sleep_s, ctx.gradient = sleep_s, gradient.expand_as(weight)
        time.sleep(sleep_s / 3)
        return signal.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        time.sleep(2 * ctx.sleep_s / 3)
        return gradients[0], ctx.gradient, None, None


_asleep: Any = _SleepingLayer.apply


class Network:
    """A network that finds the gradients of its loss on noise, the same in every step."""

    def __init__(self, plan: dict[str, Any], rank: int, device: torch.device) -> None:
        torch.manual_seed(0)
        settings = NetworkSettings(**plan["network"])
        network = build_network(settings, NUM_CHANNELS, NUM_CLASSES, plan["width"])
        self._network = network.to(device).train()
        noise = torch.Generator().manual_seed(rank)
        size = (1, plan["height"], plan["width"])
        self._field = torch.randn(1, NUM_CHANNELS, *size[1:], generator=noise).to(device)
        self._label = torch.randint(0, NUM_CLASSES, size, generator=noise).to(device)
        self._weight = torch.ones(size, device=device)
        self._rank = rank
        self.parameters: Sequence[Tensor] = list(network.parameters())
        self._own: Sequence[Tensor] = []

    def step(self) -> None:
        """Forward and backward."""
        seed_dropout(self._rank)
        loss = segmentation_loss(
            self._network(self._field),
            self._label,
            self._weight,
            LossSettings(),
            total_weight=self._weight.sum(),
            num_samples=1,
        )
        self._own = torch.autograd.grad(loss, self.parameters)

    def num_wrong(self, totals: Totals, num_ranks: int, lag: int) -> int:
        """Numbers further than rounding from the sum over ranks."""
        sums = [gradient.clone() for gradient in self._own]
        totals.sum(sums)
        return sum(
            _num_not((_gradient_of(weight) - total).abs() <= TOLERANCE * total.abs().max())
            for weight, total in zip(self.parameters, sums, strict=True)
        )


def _gradient_of(weight: Tensor) -> Tensor:
    """What the exchange has handed out."""
    assert weight.grad is not None
    return weight.grad


def _num_not(condition: Tensor) -> int:
    """Places where it does not hold."""
    return int(torch.count_nonzero(~condition))
