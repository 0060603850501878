"""The best weights so far: scored on the validation split, kept in the model file of the run."""

import copy
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

import exastorm
from exastorm.config import to_dict
from exastorm.errors import InputError
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.record import ModelRecord, load_model, save_model
from exastorm.samples.index import SampleIndex
from exastorm.train.settings import TrainSettings
from exastorm.variables import CLASSES


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
    """Keeps the weights with the best score so far.

    Attributes:
        step: Step of the best weights; -1 before any.
        score: Their score, by the metric of the settings.
        mean_iou: Their mean IoU on the validation split.
        iou: The same by class.
    """

    def __init__(
        self, path: Path | None, index: SampleIndex, settings: TrainSettings, class_weights: Tensor
    ) -> None:
        """Keep weights in a file.

        Args:
            path: The model file; None on ranks that write none.
            index: Of the samples.
            settings: Of the training.
            class_weights: Weights of the classes in the loss (K,), for the record.
        """
        self.step = -1
        self.score = -1.0
        self.mean_iou = -1.0
        self.iou: dict[str, float | None] = {}
        self._path = path
        self._index = index
        self._settings = settings
        self._class_weights = class_weights.tolist()

    def offer(self, network: SegmentationNetwork, step: int, scores: dict[str, Any]) -> None:
        """Write a network to the file if it is the best so far.

        Args:
            network: The network.
            step: Steps it has trained.
            scores: What `validate` says of it.
        """
        score = scores[self._settings.validation.metric]
        if score > self.score:
            self.step, self.score = step, score
            self.mean_iou, self.iou = scores["mean_iou"], scores["iou"]
            self._write(network, tuple(scores["decision_bias"]), scores)

    @property
    def reached_target(self) -> bool:
        """Whether the best score is what was asked for."""
        target = self._settings.validation.target
        return target is not None and self.score >= target

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"step": self.step, "score": self.score, "mean_iou": self.mean_iou, "iou": self.iou}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state of before."""
        self.step, self.score = state["step"], state["score"]
        self.mean_iou, self.iou = state["mean_iou"], state["iou"]

    def _write(
        self, network: SegmentationNetwork, bias: tuple[float, ...], scores: dict[str, Any]
    ) -> None:
        """Write the network, its logits shifted, with its record."""
        if self._path is None:
            return
        decided = copy.deepcopy(network)
        decided.add_to_logits(bias)
        training = {"step": self.step, "validation": scores, "class_weights": self._class_weights}
        save_model(self._path, decided, model_record(self._index, self._settings, bias, training))


def best_that_is_left(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The state of a `BestModel`, or one before any where its file is gone or damaged.

    Of that there is a warning. One rank looks, for all: the others may not see the file, and all
    must know the same score.
    """
    try:
        if state["step"] >= 0:
            load_model(path)
    except InputError as error:
        warnings.warn(f"the best weights so far are lost: {error}", stacklevel=2)
        return {"step": -1, "score": -1.0, "mean_iou": -1.0, "iou": {}}
    return state
