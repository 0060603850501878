"""What a training came to, as figures and as one line."""

import shlex
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a training came to.

    Attributes:
        run: The run folder.
        model: The file of the best weights.
        num_steps: Steps done.
        minutes: Time trained, minutes, over all attempts.
        final_loss: Loss of the last step, nats; None where it was not finite or no step was done.
        best_step: Step of the best weights; -1 before the first validation.
        best_mean_iou: Their mean IoU on the validation split.
        best_iou: The same by class; None where a class is absent.
        num_bad_steps: Steps that left the weights as they were, for a loss or gradients that were
            not finite.
        bad_samples: Samples that were left out of their steps, a line each.
        stragglers: Ranks that were late over the last steps, most lateness in total first: rank,
            num_late of num_steps, mean_late_s, most_late_s.
        stopped_by: Name of the signal that ended this attempt before the last step, or None.
        reached_target: Whether the target score was reached.
        data_wait_share: Share of the time between its first batch and its last that this attempt's
            first rank waited for data, 0 to 1.
    """

    run: str
    model: str
    num_steps: int
    minutes: float
    final_loss: float | None
    best_step: int
    best_mean_iou: float
    best_iou: dict[str, float | None]
    num_bad_steps: int
    bad_samples: tuple[str, ...]
    stragglers: tuple[dict[str, float], ...] = ()
    stopped_by: str | None
    reached_target: bool
    data_wait_share: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Figures, JSON-able."""
        lists = {"bad_samples": list(self.bad_samples), "stragglers": list(self.stragglers)}
        return {**asdict(self), **lists}

    def to_line(self) -> str:
        """One line that says what was done and where it is, or how to go on."""
        whole = self.minutes >= 1.0
        time = f"{self.minutes:.1f} minutes" if whole else f"{60.0 * self.minutes:.1f} s"
        done = (
            f"{self.num_steps} steps in {time}, {self.data_wait_share:.1%} of it waiting for data"
        )
        if self.num_bad_steps:
            done += f" ({self.num_bad_steps} skipped: loss or gradients not finite)"
        if self.bad_samples:
            done += f" ({len(self.bad_samples)} samples left out)"
        done += self._late()
        if self.stopped_by is not None:
            again = f"resume with: exastorm train --resume {shlex.quote(self.run)}"
            return f"{done}; stopped by {self.stopped_by}, nothing is lost; {again}"
        why = "target reached; " if self.reached_target else ""
        num_scored = sum(iou is not None for iou in self.best_iou.values())
        of = f" (over {num_scored} of {len(self.best_iou)} classes; the others are in neither map)"
        of = of if num_scored < len(self.best_iou) else ""
        return (
            f"{done}; {why}best mean IoU on validation {self.best_mean_iou:.3f}"
            f"{of} at step {self.best_step}: {self.model}"
        )

    def _late(self) -> str:
        """The worst rank that was late in most steps, as chance alone makes no rank, in words."""
        for row in self.stragglers:
            if row["num_late"] > row["num_steps"] / 2:
                return (
                    f" (rank {row['rank']} was late in {row['num_late']} of the last "
                    f"{row['num_steps']} steps, by {row['mean_late_s']:.3g} s)"
                )
        return ""
