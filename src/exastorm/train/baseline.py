"""What the fields say pixel by pixel: a logistic regression, to hold the network against.

If a linear rule on the channels of one pixel came near the network, the task would need no network.
The rule gets every help the network gets: the same scaled channels, each law of class weights, and
a decision tuned on the validation split; the best of them there is scored.
"""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from exastorm.networks.losses import WeightLaw, class_weights
from exastorm.networks.record import ModelRecord, load_model
from exastorm.samples.shards import SampleStore
from exastorm.train.decision import DecisionMeter
from exastorm.train.evaluate import check_samples_fit, scaled_samples

MAX_PIXELS = 2_000_000
"""Pixels to fit on, spread over the training split: against a few dozen numbers to fit, plenty."""

MAX_ITERATIONS = 100
"""Iterations of L-BFGS; the loss of a convex problem this small is at its floor well before."""


def training_pixels(record: ModelRecord, store: SampleStore) -> tuple[Tensor, Tensor]:
    """Labeled pixels of the training split, every n-th: channels (P, C) and classes (P,)."""
    num_pixels = len(store.indices("train")) * len(record.lat) * len(record.lon)
    every = max(1, -(-num_pixels // MAX_PIXELS))
    # A step that shares no factor with the width meets all longitudes.
    while np.gcd(every, len(record.lon)) > 1:
        every += 1
    fields, labels = [], []
    for number, (field, label) in enumerate(scaled_samples(record, store, "train")):
        start = number % every
        labeled = label.reshape(-1)[start::every] >= 0
        fields.append(field.reshape(len(field), -1)[:, start::every].T[labeled])
        labels.append(label.reshape(-1)[start::every][labeled])
    return torch.cat(fields), torch.cat(labels)


def fit(fields: Tensor, labels: Tensor, weights: Tensor) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS.

    Args:
        fields: Scaled channels (P, C).
        labels: Classes (P,) int64.
        weights: Of the classes (K,).
    """
    model = nn.Linear(fields.shape[1], len(weights))
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=MAX_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(fields), labels, weight=weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


@torch.inference_mode()
def measure(
    models: dict[str, nn.Linear], record: ModelRecord, store: SampleStore, split: str
) -> dict[str, DecisionMeter]:
    """Confusion matrices of some regressions on one split under all candidate decisions."""
    meters = {law: DecisionMeter(len(record.classes)) for law in models}
    for field, label in scaled_samples(record, store, split):
        pixels = field.reshape(len(field), -1).T
        for law, model in models.items():
            meters[law].record_batch(model(pixels), label)
    return meters


def evaluate_baseline(
    model: str | Path, samples: str | Path, split: str = "test"
) -> dict[str, Any]:
    """Fit the regression on the training split and score it as `evaluate` scores a network.

    Args:
        model: A run folder or its weights: the network to compare with, whose scaling is used.
        samples: Folder that `prepare_samples` made.
        split: "train", "validation" or "test".

    Returns:
        As `evaluate`, with the law of weights and the decision shift that were best on validation.

    Raises:
        InputError: As `evaluate`.
    """
    _, record = load_model(model)
    store = SampleStore(samples)
    check_samples_fit(record, store)
    fields, labels = training_pixels(record, store)
    num_classes = len(record.classes)
    frequencies = (torch.bincount(labels, minlength=num_classes) / len(labels)).tolist()
    models = {
        law: fit(fields, labels, class_weights(frequencies, law)) for law in get_args(WeightLaw)
    }
    found = {law: m.best() for law, m in measure(models, record, store, "validation").items()}
    law = max(found, key=lambda name: found[name][1].summary()["mean_iou"])
    shift = found[law][0]
    meter = measure({law: models[law]}, record, store, split)[law]
    candidate = [tuple(c) for c in meter.candidates.tolist()].index(shift)
    return {
        "split": split,
        "num_samples": len(store.indices(split)),
        "weight_law": law,
        "decision_bias": list(shift),
        **meter.matrix(candidate).summary(),
    }
