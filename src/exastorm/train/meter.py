"""What a training says while it runs: JSON lines, TensorBoard events, the text beside the bar.

log.jsonl has two kinds of lines: `{"step", "minutes", "loss", "learning_rate", "samples_per_s"}`
every few steps, and `{"step", "minutes", "validation": {...}}` after each validation. A run that
goes on from a checkpoint first drops the lines after it, so that every step is told once.
"""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

LOG_NAME = "log.jsonl"
EVENTS_NAME = "events"


class RunLog:
    """Writes the log of one run, as a context manager.

    Attributes:
        note: The latest loss, speed and validation score, for the progress bar.
    """

    def __init__(self, run: Path, batch_size: int, start_step: int = 0) -> None:
        """Open the log of a run.

        Args:
            run: The run folder.
            batch_size: Samples of one step, for the speed.
            start_step: Steps done before; later lines of an earlier attempt are dropped.
        """
        self.note = ""
        self._path = run / LOG_NAME
        self._batch_size = batch_size
        keep_lines_until(self._path, start_step)
        self._events = SummaryWriter(str(run / EVENTS_NAME), purge_step=start_step + 1)
        self._losses: list[float] = []
        self._since = time.perf_counter()
        self._score = ""

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()

    def record_step(self, loss: float) -> None:
        """Add the loss of one step."""
        self._losses.append(loss)

    def write_steps(self, step: int, minutes: float, learning_rate: float) -> None:
        """Write the means over the steps since the last line, if any."""
        if not self._losses:
            return
        seconds = time.perf_counter() - self._since
        values = {
            "loss": sum(self._losses) / len(self._losses),
            "learning_rate": learning_rate,
            "samples_per_s": len(self._losses) * self._batch_size / max(seconds, 1e-9),
        }
        self._write({"step": step, "minutes": round(minutes, 4), **values})
        for name, value in values.items():
            self._events.add_scalar(f"train/{name}", value, step)
        self.note = (
            f"loss {values['loss']:.3f}, {values['samples_per_s']:.1f} samples/s{self._score}"
        )
        self._restart_clock()

    def write_validation(self, step: int, minutes: float, scores: dict[str, Any]) -> None:
        """Write the scores of a validation: `mean_iou`, `iou` by class, and what else there is."""
        self._write({"step": step, "minutes": round(minutes, 4), "validation": scores})
        self._events.add_scalar("validation/mean_iou", scores["mean_iou"], step)
        for name, value in scores["iou"].items():
            if value is not None:
                self._events.add_scalar(f"validation/iou_{name}", value, step)
        self._events.flush()
        self._score = f", IoU {scores['mean_iou']:.3f}"
        self._restart_clock()

    def _restart_clock(self) -> None:
        """Count steps, and the time they take, from here on."""
        self._since = time.perf_counter()
        self._losses.clear()

    def _write(self, line: dict[str, Any]) -> None:
        """Append one line, which is on its way to the disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def keep_lines_until(path: Path, step: int) -> None:
    """Drop the lines of a log after a step, and a torn last line; no log is an empty one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] > step:
                break
        except ValueError:
            break
        kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")
