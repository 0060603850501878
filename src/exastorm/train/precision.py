"""Half-precision numbers: which operations use them, and the scaling that fp16 needs.

bfloat16 has float32's range and needs no scaling. float16 ends at 6e-8 and 65504: gradients of the
loss would vanish, so the loss is multiplied by a scale before the backward pass and the gradients
are divided by it after. The scale halves when gradients overflow and doubles after many steps
without (Micikevicius et al. 2018, "Mixed precision training"). The weights stay float32 in all
three. The paper had fp16 with a fixed scale of 0.1.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16", "float16"]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Numbers that autocast brings in."""

INITIAL_SCALE, GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0**16, 2.0, 0.5, 2000
"""Scale at the start, its factors, and steps without overflow before it grows: the defaults of
torch.amp.GradScaler."""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Run convolutions and matrix products in a precision, as a context manager.

    It holds for the calling thread alone. Normalization, softmax and loss stay float32 where torch
    says so, or where the network asks for it.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


class LossScaler:
    """Scale of the loss in float16, on the device; 1 and idle in other precisions.

    Attributes:
        enabled: True in float16.
        factor: The scale, a scalar.
    """

    def __init__(
        self, precision: Precision, device: torch.device, growth_interval: int = GROWTH_INTERVAL
    ) -> None:
        """Start at the largest scale that is likely to do.

        Args:
            precision: Of the training.
            device: Where the loss is.
            growth_interval: Steps without overflow after which the scale doubles.
        """
        self.enabled = precision == "float16"
        self.growth_interval = growth_interval
        self.factor = torch.tensor(INITIAL_SCALE if self.enabled else 1.0, device=device)
        self._num_steps = torch.zeros((), dtype=torch.int64, device=device)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are to be taken."""
        return loss * self.factor if self.enabled else loss

    def can_shrink(self) -> Tensor:
        """True, as a scalar on the device, if overflow may be the fault of the scale."""
        return self.factor > 1.0

    def update(self, overflow: Tensor, bad: Tensor) -> None:
        """Choose the next scale; never below 1, and always finite.

        Args:
            overflow: Whether gradients overflowed for the scale, a bool on the device.
            bad: Whether they were not finite for another reason; then the step says nothing.
        """
        if not self.enabled:
            return
        num_steps = torch.where(overflow, 0, self._num_steps + (~bad).to(torch.int64))
        grows = num_steps >= self.growth_interval
        larger = torch.where(grows, self.factor * GROWTH, self.factor)
        larger = torch.where(torch.isfinite(larger), larger, self.factor)
        smaller = (self.factor * BACKOFF).clamp(min=1.0)
        self.factor.copy_(torch.where(overflow, smaller, larger))
        self._num_steps.copy_(torch.where(grows, 0, num_steps))

    def state_dict(self) -> dict[str, float | int]:
        """What goes into a checkpoint; waits for the device."""
        return {
            "enabled": self.enabled,
            "factor": float(self.factor),
            "num_steps": int(self._num_steps),
        }

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Go on from a checkpoint; the scale of another precision says nothing about this one."""
        if not (self.enabled and state["enabled"]):
            return
        self.factor.fill_(state["factor"])
        self._num_steps.fill_(int(state["num_steps"]))
