"""How well a network's class maps match the labels: pooled over all pixels of a split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exastorm.errors import InputError
from exastorm.networks.dropout import seed_dropout
from exastorm.networks.record import ModelRecord, load_model
from exastorm.progress import ProgressBar
from exastorm.samples.label_sets import fixed_set
from exastorm.samples.normalize import Scaling, normalize
from exastorm.samples.shards import SampleStore
from exastorm.train.decision import DecisionMeter
from exastorm.train.device import choose_device


def check_samples_fit(record: ModelRecord, store: SampleStore) -> None:
    """Refuse samples that a network was not trained for.

    Raises:
        InputError: If channels, units or grid differ from the record's.
    """
    index = store.index
    for name, wanted, got in (
        ("channels", record.channels, index.channels),
        ("units", record.units, index.units),
    ):
        if tuple(wanted) != tuple(got):
            raise InputError(
                f"{name} must be those of the model ({', '.join(wanted)}), got {', '.join(got)}",
                file=store.path,
            )
    for name, coordinate, values in (
        ("lat", record.lat, index.lat),
        ("lon", record.lon, index.lon),
    ):
        # A thousandth of a degree is the rounding of single precision, generously.
        if len(coordinate) != len(values) or not np.allclose(coordinate, values, atol=1e-3):
            raise InputError(
                f"grid must be that of the model ({len(record.lat)} x {len(record.lon)}), got "
                f"{len(index.lat)} x {len(index.lon)}",
                file=store.path,
                variable=name,
            )


def label_set_of(record: ModelRecord, store: SampleStore, label_set: int | None) -> int:
    """The label set to score against: the one asked for, or that of the training.

    Samples with one set, on which a network of several may be tried, have only that to offer.

    Raises:
        InputError: If the samples lack the set that is asked for.
    """
    if label_set is None:
        trained = fixed_set(record.training.get("settings", {}).get("label_set", 0))
        label_set = trained if store.index.layout.num_label_sets > 1 else 0
    store.require_label_set(label_set)
    return label_set


def scaled_samples(
    record: ModelRecord, store: SampleStore, split: str, label_set: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples of a split, scaled as the model wants them (the store's own scaling may differ).

    Yields:
        Field (C, H, W) float32 and label (H, W) int64, in order of time.
    """
    scaling = Scaling(shift=record.shift, scale=record.scale)
    samples = store.indices(split)
    with ProgressBar(f"evaluate {split}", len(samples)) as bar:
        for i in samples:
            field, label = store.read(int(i), label_set)
            yield (
                torch.from_numpy(normalize(field, scaling)),
                torch.from_numpy(label.astype(np.int64)),
            )
            bar.advance()


@torch.inference_mode()
def score_network(
    network: nn.Module,
    record: ModelRecord,
    store: SampleStore,
    split: str,
    device: torch.device,
    label_set: int = 0,
) -> DecisionMeter:
    """Confusion matrix of a network over one split, sample by sample; its one candidate is 0."""
    meter = DecisionMeter([1.0] * len(record.classes), tune=False)
    network = network.to(device).eval()
    # The paper's Tiramisu drops features in evaluation too: the same ones every time.
    seed_dropout(0)
    for field, label in scaled_samples(record, store, split, label_set):
        meter.record_batch(network(field[None].to(device)), label[None].to(device))
    return meter


def evaluate(
    model: str | Path,
    samples: str | Path,
    split: str = "test",
    device: str = "auto",
    label_set: int | None = None,
) -> dict[str, Any]:
    """Score a trained network on a split of prepared samples.

    Args:
        model: A run folder or its weights.
        samples: Folder that `prepare_samples` made.
        split: "train", "validation" or "test".
        device: "auto", "cpu" or "cuda".
        label_set: Number of the label set to score against; None takes that of the training.

    Returns:
        What `ConfusionMatrix.summary` gives (iou by class, mean_iou, matrix, ...) with split,
        label_set, num_samples, and mean_iou_per_image by MLPerf DeepCAM's rule; JSON-able.

    Raises:
        InputError: If the model or the samples can't be read, or don't fit each other.
    """
    network, record = load_model(model)
    store = SampleStore(samples)
    check_samples_fit(record, store)
    label_set = label_set_of(record, store, label_set)
    meter = score_network(network, record, store, split, choose_device(device), label_set)
    return {
        "split": split,
        "label_set": label_set,
        "num_samples": meter.num_images,
        **meter.matrix(0).summary(),
        "mean_iou_per_image": meter.mean_iou_per_image(0),
    }
