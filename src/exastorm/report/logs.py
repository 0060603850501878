"""The log of a training run (`log.jsonl`) as curves to draw."""

import json
from pathlib import Path
from typing import Any

from exastorm.errors import InputError

LOG_NAME = "log.jsonl"

Curve = list[tuple[float, float]]


def read_curves(run: str | Path) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Loss and scores of a run by training step.

    Args:
        run: The run folder.

    Returns:
        Name of a curve to its (step, value) points: losses, then intersections over union (the
        mean, and by class).

    Raises:
        InputError: If there is no log, or a line of it is no record of a step.
    """
    path = Path(run) / LOG_NAME
    if not path.is_file():
        raise InputError("no such log (give the folder of a training run)", file=path)
    losses: dict[str, Curve] = {}
    scores: dict[str, Curve] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record: dict[str, Any] = json.loads(line)
            step = float(record["step"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"line {number} must be a JSON record with a step", file=path
            ) from None
        if "loss" in record:
            losses.setdefault("training", []).append((step, float(record["loss"])))
        validation = record.get("validation") or {}
        named = {"mean": validation.get("mean_iou"), **validation.get("iou", {})}
        for name, value in named.items():
            if value is not None:
                scores.setdefault(name, []).append((step, float(value)))
    return losses, scores
