"""A moving average of the weights, which often scores better than the last weights do.

After each update, average <- decay x average + (1 - decay) x weights (Polyak and Juditsky 1992,
with forgetting). After t updates the decay is at most (1 + t) / (10 + t), so that the first weights
are not remembered for 1 / (1 - decay) steps (TensorFlow, ExponentialMovingAverage).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of a network's parameters and of its floating-point buffers.

    Statistics of batch norms are averaged too: they belong to the weights they were taken with.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's present weights.

        Args:
            network: Where it will be trained: on its device.
            decay: What is kept of the average in an update, between 0 and 1.

        Raises:
            ValueError: If the decay is not between 0 and 1.
        """
        if not 0 < decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {decay}")
        tensors: dict[str, Tensor] = dict(network.named_parameters())
        tensors |= {name: b for name, b in network.named_buffers() if b.is_floating_point()}
        self.decay = decay
        self._names = list(tensors)
        self._weights = [tensor.detach() for tensor in tensors.values()]
        self._average = [tensor.clone() for tensor in self._weights]
        device = self._weights[0].device
        self._num_updates = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, skipped: Tensor | None = None) -> None:
        """Take the network's weights in.

        Args:
            skipped: True, as a scalar on the device, if the step left the weights alone; then the
                average stays too. None takes them in.
        """
        taken = torch.ones_like(self._num_updates) if skipped is None else (~skipped).double()
        warm = (1.0 + self._num_updates) / (10.0 + self._num_updates)
        share = ((1.0 - warm.clamp(max=self.decay)) * taken).float()
        change = torch._foreach_sub(self._weights, self._average)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(self._average, change)
        self._num_updates += taken

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the network the average, to score or save it, and its own weights back after."""
        with torch.no_grad():
            own = [tensor.clone() for tensor in self._weights]
            torch._foreach_copy_(self._weights, self._average)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, own)

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint; waits for the device."""
        average = dict(zip(self._names, self._average, strict=True))
        return {"average": average, "num_updates": int(self._num_updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same network."""
        for name, tensor in zip(self._names, self._average, strict=True):
            tensor.copy_(state["average"][name])
        self._num_updates.fill_(state["num_updates"])
