"""The best weights so far: scored on the validation split, kept in the model file of the run."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import exastorm
from exastorm.config import to_dict
from exastorm.networks.deeplab import DeepLab
from exastorm.networks.record import ModelRecord, save_model
from exastorm.samples.dataset import Batch
from exastorm.samples.index import SampleIndex
from exastorm.train.decision import DecisionMeter
from exastorm.train.settings import TrainSettings
from exastorm.variables import CLASSES, NUM_CLASSES


def model_record(
    index: SampleIndex,
    settings: TrainSettings,
    decision_bias: tuple[float, ...],
    training: dict[str, Any],
) -> ModelRecord:
    """The record of weights trained on some samples.

    Args:
        index: Of the samples.
        settings: Of the training.
        decision_bias: What was added to the logits (K,).
        training: Step and scores; settings and data are added here.
    """
    scaling = index.scaling
    return ModelRecord(
        channels=index.channels,
        units=index.units,
        normalization=index.normalization,
        shift=scaling.shift,
        scale=scaling.scale,
        mean=index.statistics.mean,
        std=index.statistics.std,
        classes=tuple(c.name for c in CLASSES),
        lat=index.lat,
        lon=index.lon,
        network=settings.network,
        decision_bias=decision_bias,
        training={
            **training,
            "settings": to_dict(settings),
            "num_train_samples": index.num_of_split("train"),
            "class_shares": list(index.class_shares.by_pixel),
            "data": dict(index.provenance),
        },
        version=exastorm.__version__,
    )


class BestModel:
    """Scores weights and keeps the best.

    Attributes:
        step: Step of the best weights; -1 before any.
        mean_iou: Their mean IoU on the validation split.
        iou: The same by class.
    """

    def __init__(
        self, path: Path, index: SampleIndex, settings: TrainSettings, class_weights: Tensor
    ) -> None:
        """Keep weights in a file.

        Args:
            path: The model file.
            index: Of the samples.
            settings: Of the training.
            class_weights: Weights of the classes in the loss (K,), for the record.
        """
        self.step = -1
        self.mean_iou = -1.0
        self.iou: dict[str, float | None] = {}
        self._path = path
        self._index = index
        self._settings = settings
        self._class_weights = class_weights.tolist()

    def offer(self, network: DeepLab, step: int, batches: Iterable[Batch]) -> dict[str, Any]:
        """Score a network, and write it to the file if it is the best so far.

        Args:
            network: In training mode; left so.
            step: Steps it has trained.
            batches: The validation split.

        Returns:
            iou by class and mean_iou with the best decision, that decision_bias, and the mean_iou
            without it (`mean_iou_untuned`).
        """
        meter = DecisionMeter(NUM_CLASSES, self._settings.tune_decision)
        network.eval()
        with torch.inference_mode():
            for batch in batches:
                meter.record_batch(network(batch.field), batch.label)
        network.train()
        bias, matrix = meter.best()
        summary = matrix.summary()
        scores = {
            "mean_iou": summary["mean_iou"],
            "iou": summary["iou"],
            "mean_iou_untuned": meter.matrix(0).summary()["mean_iou"],
            "decision_bias": list(bias),
        }
        if scores["mean_iou"] > self.mean_iou:
            self.step, self.mean_iou, self.iou = step, scores["mean_iou"], scores["iou"]
            self._write(network, bias, scores)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"step": self.step, "mean_iou": self.mean_iou, "iou": self.iou}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state of before."""
        self.step, self.mean_iou, self.iou = state["step"], state["mean_iou"], state["iou"]

    def _write(self, network: DeepLab, bias: tuple[float, ...], scores: dict[str, Any]) -> None:
        """Write the network, its logits shifted, with its record."""
        decided = copy.deepcopy(network)
        decided.add_to_logits(bias)
        training = {"step": self.step, "validation": scores, "class_weights": self._class_weights}
        save_model(self._path, decided, model_record(self._index, self._settings, bias, training))
