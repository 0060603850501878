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
from exastorm.train.evaluate import check_samples_fit, label_set_of, scaled_samples

MAX_PIXELS = 2_000_000
"""Pixels to fit on, spread over the training split: against a few dozen numbers to fit, plenty."""

MAX_ITERATIONS = 50
"""Newton steps; from zero the optimum takes about ten."""

STAGES = ((16, 1e-4), (1, 1e-9))
"""Every how manieth pixel, and down to which Newton decrement (nats a pixel). Far from the optimum
a sixteenth of the pixels points the way as well as all; 1e-9 is the floor of single precision."""

BLOCK_PIXELS = 16_384
"""Pixels whose sums are taken at once: with some tens of channels they fit a cache."""


def training_pixels(
    record: ModelRecord, store: SampleStore, label_set: int = 0
) -> tuple[Tensor, Tensor]:
    """Labeled pixels of the training split, every n-th: channels (P, C) and classes (P,)."""
    num_pixels = len(store.indices("train")) * len(record.lat) * len(record.lon)
    every = max(1, -(-num_pixels // MAX_PIXELS))
    # A step that shares no factor with the width meets all longitudes.
    while np.gcd(every, len(record.lon)) > 1:
        every += 1
    fields, labels = [], []
    for number, (field, label) in enumerate(scaled_samples(record, store, "train", label_set)):
        start = number % every
        labeled = label.reshape(-1)[start::every] >= 0
        fields.append(field.reshape(len(field), -1)[:, start::every].T[labeled])
        labels.append(label.reshape(-1)[start::every][labeled])
    return torch.cat(fields), torch.cat(labels)


def fit(fields: Tensor, labels: Tensor, weights: Tensor) -> nn.Linear:
    """Multinomial logistic regression by Newton's method, to the optimum.

    The loss is convex with a few dozen unknowns, so a step costs little more than a gradient, of
    which other methods need many times as many.

    Args:
        fields: Scaled channels (P, C).
        labels: Classes (P,) int64.
        weights: Of the classes (K,).
    """
    rule = torch.zeros(len(weights), fields.shape[1] + 1, dtype=torch.float64)
    for every, tolerance in STAGES:
        rule = descend(fields[::every], labels[::every], weights, rule, tolerance)
    model = nn.Linear(fields.shape[1], len(weights))
    with torch.no_grad():
        model.weight.copy_(rule[:, :-1])
        model.bias.copy_(rule[:, -1])
    return model


def descend(
    fields: Tensor, labels: Tensor, weights: Tensor, rule: Tensor, tolerance: float
) -> Tensor:
    """Newton steps, halved until the loss falls, from a rule (K, C + 1) to a better one.

    The first class is the reference and keeps its coefficients, so that the optimum is one point.
    """
    loss, gradient, curvature = sums(fields, labels, weights, rule)
    for _ in range(MAX_ITERATIONS):
        # A millionth of the curvature keeps the system solvable where a channel says nothing.
        damping = 1e-6 * curvature.diagonal().mean().clamp(min=1e-12)
        step = torch.linalg.solve(curvature + damping * torch.eye(len(curvature)), gradient)
        if float(step @ gradient) < tolerance:
            break
        for halvings in range(12):
            moved = rule.clone()
            moved[1:] -= 0.5**halvings * step.reshape(moved[1:].shape)
            found = sums(fields, labels, weights, moved)
            if found[0] < loss:
                break
        else:
            break
        rule, (loss, gradient, curvature) = moved, found
    return rule


def sums(
    fields: Tensor, labels: Tensor, weights: Tensor, rule: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Loss of a linear rule, and its derivatives by the coefficients of all classes but the first.

    Args:
        fields: Scaled channels (P, C).
        labels: Classes (P,) int64.
        weights: Of the classes (K,).
        rule: Coefficients of each class, the bias last (K, C + 1), float64.

    Returns:
        Mean cross-entropy by weight, nats; gradient (N,) and Hessian (N, N) for the
        N = (K - 1) (C + 1) coefficients, float64.
    """
    num_free, num_columns = len(rule) - 1, rule.shape[1]
    loss = torch.zeros((), dtype=torch.float64)
    gradient = torch.zeros(num_free, num_columns, dtype=torch.float64)
    curvature = torch.zeros(num_free, num_columns, num_free, num_columns, dtype=torch.float64)
    classes = torch.arange(1, len(rule))[:, None]
    for block, label in zip(fields.split(BLOCK_PIXELS), labels.split(BLOCK_PIXELS), strict=True):
        # Channels first: rows as long as the block, which is what a CPU is quick at.
        rows = torch.cat([block.T, torch.ones(1, len(block))])
        weight = weights[label]
        log_shares = (rule.float() @ rows).log_softmax(dim=0)
        loss -= (log_shares.gather(0, label[None])[0] * weight).sum()
        shares = log_shares[1:].exp()
        gradient += ((shares - (label == classes).float()) * weight) @ rows.T
        for k in range(num_free):
            for m in range(k + 1):
                spread = shares[k] * (float(k == m) - shares[m]) * weight
                part = (rows * spread) @ rows.T
                curvature[k, :, m] += part
                if m < k:
                    curvature[m, :, k] += part
    total = float(weights.double()[labels].sum())
    size = num_free * num_columns
    return float(loss) / total, gradient.flatten() / total, curvature.view(size, size) / total


@torch.inference_mode()
def measure(
    models: dict[str, tuple[nn.Linear, Tensor]],
    record: ModelRecord,
    store: SampleStore,
    split: str,
    label_set: int,
) -> dict[str, DecisionMeter]:
    """Confusion matrices of some regressions on one split under all candidate decisions.

    Args:
        models: By the law of class weights, the regression and its weights of the classes (K,).
        record: Of the network beside it.
        store: The samples.
        split: Which of them.
        label_set: Which of their label sets.
    """
    meters = {law: DecisionMeter(weights.tolist()) for law, (_, weights) in models.items()}
    for field, label in scaled_samples(record, store, split, label_set):
        pixels = field.reshape(len(field), -1).T
        for law, (model, _) in models.items():
            meters[law].record_batch(model(pixels), label)
    return meters


def evaluate_baseline(
    model: str | Path, samples: str | Path, split: str = "test", label_set: int | None = None
) -> dict[str, Any]:
    """Fit the regression on the training split and score it as `evaluate` scores a network.

    Args:
        model: A run folder or its weights: the network to compare with, whose scaling is used.
        samples: Folder that `prepare_samples` made.
        split: "train", "validation" or "test".
        label_set: As `evaluate`.

    Returns:
        As `evaluate`, with the law of weights and the decision shift that were best on validation.

    Raises:
        InputError: As `evaluate`.
    """
    _, record = load_model(model)
    store = SampleStore(samples)
    check_samples_fit(record, store)
    label_set = label_set_of(record, store, label_set)
    fields, labels = training_pixels(record, store, label_set)
    num_classes = len(record.classes)
    frequencies = (torch.bincount(labels, minlength=num_classes) / len(labels)).tolist()
    weights = {law: class_weights(frequencies, law) for law in get_args(WeightLaw)}
    models = {law: (fit(fields, labels, weights[law]), weights[law]) for law in weights}
    found = measure(models, record, store, "validation", label_set)
    law = max(found, key=lambda name: found[name].matrix(found[name].best()).summary()["mean_iou"])
    candidate = found[law].best()
    meter = measure({law: models[law]}, record, store, split, label_set)[law]
    return {
        "split": split,
        "num_samples": len(store.indices(split)),
        "weight_law": law,
        "decision_bias": list(meter.shift(candidate)),
        **meter.matrix(candidate).summary(),
    }
