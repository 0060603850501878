"""What both networks have in common: fields in, logits out, on any grid, in the memory there is."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from exastorm.networks.layers import fit_to_stride
from exastorm.networks.recompute import again

T = TypeVar("T")


def run_plainly(stage: Callable[..., T], *inputs: Any) -> T:
    """Run a stage of a network: what `SegmentationNetwork.run_stage` does without `recompute`."""
    return stage(*inputs)


class SegmentationNetwork(nn.Module):
    """A network from normalized fields (B, C, H, W) to logits (B, K, H, W).

    Attributes:
        stride: Grid points of the input, each way, for one at its coarsest; rolling the globe by a
            multiple of it rolls the logits (modern variants).
        recompute: In training, keep only what passes between stages, and compute the rest again on
            the way back: less memory for about a third more operations, and the same gradients
            to the bit. Compiled for a CPU it has no effect.
        classifier: The last layer, a 1x1 convolution to the classes.
    """

    stride: int
    recompute: bool = False
    classifier: nn.Conv2d

    def logits_of(self, fields: Tensor) -> Tensor:
        """Fields whose sides the stride divides (B, C, H, W) to logits (B, K, H, W)."""
        raise AssertionError(f"{type(self).__name__} lacks logits_of()")

    def forward(self, fields: Tensor) -> Tensor:
        """Normalized fields (B, C, H, W) to logits (B, K, H, W)."""
        num_rows, num_columns = fields.shape[-2:]
        logits = self.logits_of(fit_to_stride(fields, self.stride))
        return logits[..., :num_rows, :num_columns]

    def run_stage(self, stage: Callable[..., T], *inputs: Any) -> T:
        """Run a part of the network, so that it can be run again where `recompute` says so.

        Args:
            stage: The part. It must not change its inputs in place.
            inputs: Its inputs.
        """
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return run_plainly(stage, *inputs)
        return again(stage, *inputs)

    @torch.no_grad()
    def add_to_logits(self, bias: Sequence[float]) -> None:
        """Shift the logits of each class (K,) for good, by the classifier's bias."""
        assert self.classifier.bias is not None
        self.classifier.bias += self.classifier.bias.new_tensor(list(bias))
