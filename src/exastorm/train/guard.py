"""The step from gradients to weights, and the guard that keeps numbers that are none out of them.

A loss or a gradient that is not finite would spoil the weights, the optimizer's moments and every
step after. Such a step is skipped and counted, on the device: the host looks at the counts every
few steps. On a CPU there is nobody to wait for, and the step is left out by a plain branch; on a
GPU the optimizer's kernels run and change nothing (`found_inf`, as torch.amp.GradScaler has it).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from exastorm.errors import InputError
from exastorm.train.device import ComputePlan
from exastorm.train.optimizer import OptimizerSettings, build_optimizer, set_rate
from exastorm.train.precision import LossScaler

NORM_FLOOR = 1e-6
"""Added to a norm before dividing by it, as torch.nn.utils.clip_grad_norm_ does."""


class DivergedError(InputError):
    """Too many steps in a row were not finite."""


@dataclass(frozen=True, kw_only=True)
class BadSteps:
    """Steps that were skipped, as a `Stepper` counted them.

    Attributes:
        num_total: All whose loss or gradients were not finite.
        num_in_a_row: The most of them that came one after the other.
        last_step: Number of the last step of those, -1 for none.
        num_overflows: Others, skipped while the loss scale of float16 found its size.
    """

    num_total: int
    num_in_a_row: int
    last_step: int
    num_overflows: int


class Stepper:
    """An optimizer with loss scaling, clipping and a guard around it.

    Attributes:
        optimizer: What changes the weights.
        scaler: The loss scale.
        skipped: Whether the last step was skipped; a bool on the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        settings: OptimizerSettings,
        scaler: LossScaler | None = None,
        *,
        buffers: Iterable[Tensor] = (),
        branch: bool | None = None,
    ) -> None:
        """Guard an optimizer.

        Args:
            optimizer: Of `build_optimizer`, its weights on one device.
            settings: Of the optimizer.
            scaler: The loss scale; None for none.
            buffers: What a forward pass changes (statistics of batch norms), to be put back to what
                it was after the last good step where a step is skipped.
            branch: Skip by a branch on the host, which waits for the device; None does so on a CPU.
        """
        self.optimizer = optimizer
        self._weights = [w for group in optimizer.param_groups for w in group["params"]]
        device = self._weights[0].device
        self.scaler = LossScaler("float32", device) if scaler is None else scaler
        self.skipped = torch.zeros((), dtype=torch.bool, device=device)
        self._clip_norm = settings.clip_norm
        self._buffers = list(buffers)
        self._good_buffers = [buffer.clone() for buffer in self._buffers]
        self._branch = device.type == "cpu" if branch is None else branch
        # num_total, those up to now in a row, num_in_a_row, last_step, num_overflows.
        self._counts = torch.tensor([0, 0, 0, -1, 0], device=device)

    @property
    def rate(self) -> float:
        """Learning rate of the layers; waits for the device where it is a tensor."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, factor: float) -> None:
        """Set the learning rate to a share of the largest."""
        set_rate(self.optimizer, factor)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss whose gradients `step` expects."""
        return self.scaler.scale(loss)

    @torch.no_grad()
    def step(
        self, loss: Tensor, step_number: int, empty: Tensor | None = None, *, scaled: bool = True
    ) -> None:
        """Change the weights by the gradients in them, unless loss or gradients are not finite.

        Args:
            loss: Of the batch, not scaled, a scalar on the device; the same on all ranks.
            step_number: Steps done before.
            empty: True, as a scalar on the device, if nothing in the batch had a weight: then there
                is nothing to learn, and the step is skipped, but not counted. None is False.
            scaled: Whether the gradients are those of the scaled loss.
        """
        gradients = _gradients_of(self._weights)
        # Not the largest value, for which torch has no fast kernel on CPUs (16 times slower,
        # measured). Where squares are no longer finite, Adam's second moments aren't either.
        norm = torch.nn.utils.get_total_norm(gradients)
        self._prepare(gradients, norm, scaled and self.scaler.enabled)
        self._judge(loss, norm, step_number)
        if empty is not None:
            self.skipped = self.skipped | empty
        if not self._branch:
            self._step_on_device()
        elif not bool(self.skipped):
            self.optimizer.step()
        self._restore_buffers()

    def check(self) -> BadSteps:
        """Which steps were skipped so far; waits for the device."""
        total, _, longest, last, overflows = self._counts.tolist()
        return BadSteps(
            num_total=total, num_in_a_row=longest, last_step=last, num_overflows=overflows
        )

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint: optimizer, scale and counts; waits for the device."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "counts": self._counts.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; to be called after the network's own."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(rate, Tensor):
                # A captured graph reads the rate from where it was.
                rate.copy_(group["lr"])
                group["lr"] = rate
        self.scaler.load_state_dict(state["scaler"])
        self._counts.copy_(torch.tensor(state["counts"]))
        for good, buffer in zip(self._good_buffers, self._buffers, strict=True):
            good.copy_(buffer)

    def _prepare(self, gradients: list[Tensor], norm: Tensor, scaled: bool) -> None:
        """Divide gradients by the loss scale, and clip them, in one pass."""
        if not scaled and self._clip_norm is None:
            return
        share = 1.0 / self.scaler.factor if scaled else torch.ones_like(self.scaler.factor)
        if self._clip_norm is not None:
            share = share * (self._clip_norm / (norm * share + NORM_FLOOR)).clamp(max=1.0)
        torch._foreach_mul_(gradients, share)

    def _judge(self, loss: Tensor, norm: Tensor, step_number: int) -> None:
        """Decide whether the step is skipped, count it, and choose the next loss scale."""
        good_loss, good_gradients = torch.isfinite(loss.detach()), torch.isfinite(norm)
        self.skipped = ~(good_loss & good_gradients)
        overflow = good_loss & ~good_gradients
        overflow = overflow & self.scaler.can_shrink()
        bad = self.skipped & ~overflow
        total, in_a_row, longest, last, overflows = self._counts.unbind()
        in_a_row = torch.where(self.skipped, in_a_row + bad, 0)
        counts = [
            total + bad,
            in_a_row,
            torch.maximum(longest, in_a_row),
            torch.where(bad & (in_a_row >= longest), step_number, last),
            overflows + overflow,
        ]
        self._counts.copy_(torch.stack(counts))
        self.scaler.update(overflow, bad)

    def _step_on_device(self) -> None:
        """Let the optimizer's kernels find out by themselves whether the step is skipped."""
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, self.skipped.float()
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf

    def _restore_buffers(self) -> None:
        """Keep buffers as a good step left them; put them back after one that was skipped.

        With a lag the step that is skipped is not the one whose samples were seen last; those tell
        of themselves by what they made of the buffers.
        """
        if not self._buffers:
            return
        finite = torch.stack([torch.isfinite(buffer).all() for buffer in self._buffers]).all()
        bad = self.skipped | ~finite
        for good, buffer in zip(self._good_buffers, self._buffers, strict=True):
            good.copy_(torch.where(bad, good, buffer))
            buffer.copy_(good)


def make_stepper(network: nn.Module, settings: OptimizerSettings, plan: ComputePlan) -> Stepper:
    """The stepper of a network on its device.

    Args:
        network: Placed as the plan says.
        settings: Of the optimizer.
        plan: Device and precision.
    """
    scaler = LossScaler(plan.precision, plan.device)
    optimizer = build_optimizer(network, settings)
    return Stepper(optimizer, settings, scaler, buffers=network.buffers())


def _gradients_of(weights: list[Tensor]) -> list[Tensor]:
    """Gradients of the weights that have one, each laid out in memory as its weight.

    torch's fused kernels on a CPU walk through both in the order of memory and, without a word, mix
    up their elements where one is channels-last and the other is not (torch 2.13);
    `torch.autograd.grad` returns such gradients.
    """
    gradients = []
    for weight in weights:
        if weight.grad is None:
            continue
        if weight.grad.stride() != weight.stride():
            weight.grad = torch.empty_like(weight).copy_(weight.grad)
        gradients.append(weight.grad)
    return gradients
