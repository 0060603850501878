"""One block of fields through a network: classes and probabilities, with gaps kept as gaps."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from exastorm.networks.dropout import seed_dropout
from exastorm.networks.record import ModelRecord, check_names
from exastorm.readers.schema import NO_LABEL

Float32Array = NDArray[np.float32]


def blocks(num: int, size: int) -> Iterator[slice]:
    """Slices of at most `size`, in order."""
    for start in range(0, num, size):
        yield slice(start, min(start + size, num))


def classify(
    network: nn.Module,
    record: ModelRecord,
    fields: Mapping[str, Float32Array],
    batch_size: int,
    units: Mapping[str, str] | None = None,
) -> tuple[NDArray[np.int8], Float32Array]:
    """Classes and probabilities of some snapshots.

    Args:
        network: In evaluation mode, on its device.
        record: Its record.
        fields: Values (T, H, W) by the name of the variable; NaN where unknown.
        batch_size: Snapshots that pass through the network at once.
        units: Units of the values by name; None takes those of the record for granted.

    Returns:
        Classes int8 (T, H, W), -1 where any channel is unknown, and probabilities of the storm
        classes float32 (T, K - 1, H, W), NaN there. The network itself sees the training mean
        in such a gap.

    Raises:
        InputError: For a channel that is missing, or a field on which the network was not trained.
    """
    means = dict(zip(record.channels, record.mean, strict=True))
    check_names(fields, record.channels, "field")
    known = {name: np.isfinite(values) for name, values in fields.items()}
    filled = {
        name: values
        if known[name].all()
        else np.where(known[name], values, np.float32(means[name]))
        for name, values in fields.items()
    }
    scaled = record.stack_fields(filled, units)
    unknown = ~np.logical_and.reduce(list(known.values()))
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for batch in blocks(len(scaled), batch_size):
            # The paper's Tiramisu drops features in evaluation too: the same ones every time.
            seed_dropout(0)
            logits = network(torch.from_numpy(scaled[batch]).to(device))
            parts.append(torch.softmax(logits.float(), dim=1).cpu().numpy())
    shares = np.concatenate(parts)
    class_map = np.asarray(shares.argmax(axis=1), dtype=np.int8)
    class_map[unknown] = NO_LABEL
    probability = np.where(unknown[:, None], np.float32(np.nan), shares[:, 1:])
    return class_map, probability
