"""Scores on the validation split while a network trains.

Two means over classes of the intersection over union, which must not be mixed up: the paper's, of
one confusion matrix over all pixels (`mean_iou`), and that of MLPerf DeepCAM, of each image alone
and then averaged over images, where a class that is absent from labels and answer counts as 1
(`mean_iou_per_image`). On maps with few cyclones the second is far higher.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from exastorm.errors import InputError
from exastorm.networks.dropout import seed_dropout
from exastorm.samples.batch import Batch
from exastorm.train.decision import DecisionMeter
from exastorm.train.device import ComputePlan
from exastorm.train.precision import autocast

Metric = Literal["mean_iou", "mean_iou_per_image"]


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """When and how a training is scored on the validation split."""

    interval: int = 250
    """Steps between scores; the last step is always scored."""

    num_samples: int | None = None
    """Most samples to score, spread over the split; None scores all."""

    tune_decision: bool = True
    """Shift the logits of the classes so that the largest one makes the best mean IoU on the
    validation split; else rare classes are drawn too large, as their loss weights make them."""

    metric: Metric = "mean_iou"
    """Score by which weights are the best ones: mean_iou, over all pixels as in the paper, or
    mean_iou_per_image, as in MLPerf DeepCAM."""

    target: float | None = None
    """Stop when the metric reaches this; None takes all steps."""

    def __post_init__(self) -> None:
        for name in ("interval", "num_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.metric not in get_args(Metric):
            raise ValueError(
                f"metric must be one of {', '.join(get_args(Metric))}, got {self.metric!r}"
            )
        if self.target is not None and not 0 < self.target <= 1:
            raise ValueError(f"target must be above 0 and at most 1, got {self.target}")


def validate(
    network: nn.Module,
    batches: Iterable[Batch],
    class_weights: Sequence[float],
    settings: ValidationSettings,
    plan: ComputePlan,
    add_up: Callable[..., None] = lambda *counts: None,
) -> dict[str, Any]:
    """Score a network.

    Args:
        network: In either mode; left in the mode it was in.
        batches: The validation split.
        class_weights: Of the loss that the network learned with (K,).
        settings: How.
        plan: Where, and in which numbers.
        add_up: Sums counts over those who each score a part of the split, in place.

    Returns:
        mean_iou, iou by class and mean_iou_per_image with the best decision, that decision_bias,
        and mean_iou_untuned without it.

    Raises:
        InputError: If nothing in the split is labeled.
    """
    meter = DecisionMeter(class_weights, settings.tune_decision)
    was_training = network.training
    network.eval()
    # The paper's Tiramisu drops features in evaluation too: the same ones every time.
    seed_dropout(0)
    with torch.inference_mode():
        for batch in batches:
            if len(batch.field) == 0:
                continue
            field = batch.field.contiguous(memory_format=plan.memory_format)
            with autocast(plan.device, plan.precision):
                logits = network(field)
            meter.record_batch(logits, batch.label)
        add_up(*meter.counted())
    network.train(was_training)
    chosen = meter.best(settings.metric)
    summary = meter.matrix(chosen).summary()
    if summary["mean_iou"] is None:
        raise InputError("the validation split must have labels, got none in any of its samples")
    return {
        "mean_iou": summary["mean_iou"],
        "iou": summary["iou"],
        "mean_iou_per_image": meter.mean_iou_per_image(chosen),
        "mean_iou_untuned": meter.matrix(0).summary()["mean_iou"],
        "decision_bias": list(meter.shift(chosen)),
    }
