"""What a network is given and asked for at one step."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from exastorm.samples.index import SampleLayout
from exastorm.variables import NUM_CLASSES


class Batch(NamedTuple):
    """What a network is given and asked for.

    Attributes:
        field: (B, C, H, W) float32, scaled.
        label: (B, H, W) int64; -1 where unlabeled.
        weight: Of each pixel, (B, H, W) float32; of soft labels that of each class in each pixel,
            (B, K, H, W). 0 where unlabeled.
    """

    field: Tensor
    label: Tensor
    weight: Tensor

    @property
    def is_soft(self) -> bool:
        """Whether the weights are those of soft labels."""
        return self.weight.dim() == self.field.dim()

    @property
    def total_weight(self) -> Tensor:
        """Sum of all weights, a scalar: of a pixel first, so that hard and soft sums are alike."""
        return (self.weight.sum(dim=1) if self.is_soft else self.weight).sum()


def empty_batch(layout: SampleLayout, num_samples: int, *, soft: bool, pin: bool) -> Batch:
    """Tensors for a batch, not yet filled.

    Args:
        layout: Of the samples.
        num_samples: Samples in the batch.
        soft: Whether each class has its weight in each pixel.
        pin: Pin the memory, for copies to a GPU.
    """
    num_channels, num_lat, num_lon = layout.shape
    size = (num_samples, num_lat, num_lon)
    weight = (num_samples, NUM_CLASSES, num_lat, num_lon) if soft else size
    field = (num_samples, num_channels, num_lat, num_lon)
    if pin:
        return Batch(
            field=torch.empty(field, pin_memory=True),
            label=torch.empty(size, dtype=torch.int64, pin_memory=True),
            weight=torch.empty(weight, pin_memory=True),
        )
    # numpy asks for large pages: filling such memory first is 3 times as fast as torch's.
    return Batch(
        field=torch.from_numpy(np.empty(field, np.float32)),
        label=torch.from_numpy(np.empty(size, np.int64)),
        weight=torch.from_numpy(np.empty(weight, np.float32)),
    )
