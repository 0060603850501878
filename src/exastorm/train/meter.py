"""What a training says while it runs: JSON lines, TensorBoard events, the text beside the bar.

log.jsonl has two kinds of lines: `{"step", "minutes", "loss", "learning_rate", "samples_per_s",
"tflop_per_s", "data_wait_share", "num_bad_steps"}` every few steps, and `{"step", "minutes",
"validation": {...}}` after each validation, with "stragglers" where ranks were late over the last
steps. `data_wait_share` is what the first rank waited for batches, of the time that the line tells
of. A run that goes on from a checkpoint first drops the lines after it, so that every step is told
once. Losses stay on the device until a line is written, so that no step waits for them.
"""

import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from exastorm.networks.record import replace_file
from exastorm.train.waiting import DataWait

LOG_NAME = "log.jsonl"
EVENTS_NAME = "events"


class RunLog:
    """Writes the log of one run, as a context manager.

    Attributes:
        note: The latest loss, speed and validation score, for the progress bar.
    """

    def __init__(
        self,
        run: Path | None,
        batch_size: int,
        start_step: int = 0,
        tflop_per_sample: float = 0.0,
        wait: DataWait | None = None,
    ) -> None:
        """Open the log of a run.

        Args:
            run: The run folder; None on ranks that write none.
            batch_size: Samples of one step, of all ranks, for the speed.
            start_step: Steps done before; later lines of an earlier attempt are dropped.
            tflop_per_sample: Dense operations of training on one sample, for the rate.
            wait: Counts waits for batches; None where nobody does.
        """
        self.note = ""
        self._path = None if run is None else run / LOG_NAME
        self._batch_size = batch_size
        self._tflop_per_sample = tflop_per_sample
        self._events: SummaryWriter | None = None
        if run is not None:
            keep_lines_until(run / LOG_NAME, start_step)
            self._events = SummaryWriter(str(run / EVENTS_NAME), purge_step=start_step + 1)
        self._losses: list[Tensor] = []
        self._wait = wait or DataWait()
        self._score = ""
        self._restart_clock()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._events is not None:
            self._events.close()

    def record_step(self, loss: Tensor) -> None:
        """Add the loss of one step, a scalar on any device."""
        self._losses.append(loss)
        self._num_timed += 1

    def record_steps(self, losses: Iterable[float]) -> None:
        """Add the losses of steps of an earlier attempt that no line told of."""
        self._losses += [torch.tensor(loss) for loss in losses]

    def untold_losses(self) -> list[float]:
        """Losses of the steps since the last line; waits for the device."""
        return [float(loss) for loss in self._losses]

    def write_steps(
        self, step: int, minutes: float, learning_rate: float, num_bad_steps: int = 0
    ) -> None:
        """Write the means over the steps since the last line, if any.

        Args:
            step: Steps done.
            minutes: Time trained, minutes.
            learning_rate: Of the last step.
            num_bad_steps: Steps so far that left the weights as they were.
        """
        if not self._losses:
            return
        # The one place where the host waits for the device.
        losses = [
            x for x in torch.stack([x.cpu() for x in self._losses]).tolist() if math.isfinite(x)
        ]
        seconds = time.perf_counter() - self._since
        samples_per_s = self._num_timed * self._batch_size / max(seconds, 1e-9)
        values = {
            "learning_rate": learning_rate,
            "samples_per_s": samples_per_s,
            "tflop_per_s": samples_per_s * self._tflop_per_sample,
            "data_wait_share": min(
                1.0, (self._wait.waited_s - self._waited_s) / max(seconds, 1e-9)
            ),
            "num_bad_steps": num_bad_steps,
        }
        if losses:
            values["loss"] = sum(losses) / len(losses)
        self._write({"step": step, "minutes": round(minutes, 4), **values})
        for name, value in values.items():
            self._add_scalar(f"train/{name}", value, step)
        self.note = (
            f"loss {values.get('loss', math.nan):.3f}, {values['samples_per_s']:.1f} samples/s"
            f"{self._score}"
        )
        self._losses.clear()
        self._restart_clock()

    def write_validation(
        self,
        step: int,
        minutes: float,
        scores: dict[str, Any],
        stragglers: Sequence[dict[str, float]] = (),
    ) -> None:
        """Write the scores of a validation.

        Args:
            step: Steps done.
            minutes: Time trained, minutes.
            scores: `mean_iou`, `iou` by class, and what else there is.
            stragglers: Ranks that were late, and by how much.
        """
        late = {"stragglers": list(stragglers)} if stragglers else {}
        self._write({"step": step, "minutes": round(minutes, 4), "validation": scores, **late})
        self._add_scalar("validation/mean_iou", scores["mean_iou"], step)
        for name, value in scores["iou"].items():
            if value is not None:
                self._add_scalar(f"validation/iou_{name}", value, step)
        if self._events is not None:
            self._events.flush()
        self._score = f", IoU {scores['mean_iou']:.3f}"
        self._restart_clock()

    def _restart_clock(self) -> None:
        """Count steps, and the time they take, from here on."""
        self._since = time.perf_counter()
        self._waited_s = self._wait.waited_s
        self._num_timed = 0

    def _add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve of TensorBoard's."""
        if self._events is not None:
            self._events.add_scalar(name, value, step)

    def _write(self, line: dict[str, Any]) -> None:
        """Append one line, which is on its way to the disk when this returns."""
        if self._path is None:
            return
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
    replace_file(path, "".join(kept).encode())
