"""What a training came to, as figures and as one line."""

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
        final_loss: Loss of the last step, nats.
        best_step: Step of the best weights.
        best_mean_iou: Their mean IoU on the validation split.
        best_iou: The same by class; None where a class is absent.
    """

    run: str
    model: str
    num_steps: int
    minutes: float
    final_loss: float
    best_step: int
    best_mean_iou: float
    best_iou: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Figures, JSON-able."""
        return asdict(self)

    def to_line(self) -> str:
        """One line that says what was done and where it is."""
        return (
            f"{self.num_steps} steps in {self.minutes:.1f} minutes; best mean IoU on validation "
            f"{self.best_mean_iou:.3f} at step {self.best_step}: {self.model}"
        )
