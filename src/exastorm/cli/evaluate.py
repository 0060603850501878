"""`exastorm evaluate`: score a network on prepared samples, or masks against other masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.readers.class_maps import open_class_map
from exastorm.storms.compare import compare_class_maps


def mean_text(figures: dict[str, Any]) -> str:
    """The mean IoU, or that there is none because no pixel was known in both."""
    return "none" if figures["mean_iou"] is None else f"{figures['mean_iou']:.3f}"


def iou_table(figures: dict[str, Any]) -> str:
    """The IoU of each class and their mean, as lines of text."""
    rows = [f"  {name:<4} IoU {value:.3f}" if value is not None else f"  {name:<4} absent"
            for name, value in figures["iou"].items()]  # fmt: skip
    return "\n".join([*rows, f"  mean IoU {mean_text(figures)}"])


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Score a trained network on prepared samples, or masks against other masks."""

    example: ClassVar[str] = "exastorm evaluate run samples --split test --baseline"

    model: OnePath
    """A run folder or its weights; or masks (.nc, .zarr) to compare with other masks."""

    reference: OnePath
    """The folder of prepared samples; or the masks to take as the truth."""

    split: Literal["train", "validation", "test"] = "test"
    """Which samples to score a network on."""

    label_set: int | None = None
    """Label set to score a network against, of samples with several; else that of its training."""

    baseline: bool = False
    """Fit and score a per-pixel logistic regression on the same channels beside the network."""

    def run(self) -> Outcome:
        """Score it."""
        if Path(self.model).suffix in (".nc", ".zarr"):
            figures = compare_class_maps(open_class_map(self.model), open_class_map(self.reference))
        else:
            figures = self.score_network()
        line = f"mean IoU {mean_text(figures)} of {self.model} against {self.reference}"
        text = iou_table(figures)
        if "baseline" in figures:
            text += "\nper-pixel logistic regression:\n" + iou_table(figures["baseline"])
        return Outcome(line, figures, text)

    def score_network(self) -> dict[str, Any]:
        """IoU of the network on one split, and of the baseline if asked."""
        from exastorm.train.baseline import evaluate_baseline
        from exastorm.train.evaluate import evaluate

        figures = evaluate(
            Path(self.model), Path(self.reference), self.split, label_set=self.label_set
        )
        if self.baseline:
            figures["baseline"] = evaluate_baseline(
                Path(self.model), Path(self.reference), self.split, self.label_set
            )
        return figures
