"""`exastorm bench rules`: how well the rule sets find the storms of a made-up climate."""

from dataclasses import dataclass
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome
from exastorm.labels.settings import LabelSettings
from exastorm.performance.label_skill import LabelSkillSettings, score_labels
from exastorm.readers.synthetic.settings import SyntheticSettings


@dataclass(frozen=True, kw_only=True)
class BenchRules(Command):
    """Tracks and masks of every rule set against the truth of a made-up climate.

    By default the climate of the shipped settings storm_rules: nine months at 0.25 degree, which
    take two cores about half an hour.
    """

    example: ClassVar[str] = "exastorm bench rules --skill.num-workers 2 --json"
    default_config: ClassVar[str | None] = "storm_rules"

    synthesize: SyntheticSettings = SyntheticSettings()
    label: LabelSettings = LabelSettings()
    skill: LabelSkillSettings = LabelSkillSettings()

    def run(self) -> Outcome:
        """Make the climate, label it, and score."""
        scores = score_labels(self.synthesize, self.label, self.skill)
        num_true = scores["truth"]["num_cyclones"]
        return Outcome(
            f"scored on {self.synthesize.num_snapshots} snapshots with {num_true} true cyclones",
            scores,
            skill_text(scores),
        )


def skill_text(scores: dict[str, Any]) -> str:
    """The scores as a table, ratios with their 95 % intervals."""
    head = f"{'cyclones':<14}{'POD':<20}{'FAR':<20}{'no cyclone':<20}mask IoU"
    lines = [head]
    for name, score in scores["cyclones"].items():
        tracks = score["tracks"]
        cells = (
            _ratio(tracks["probability_of_detection"]),
            _ratio(tracks["false_alarm_ratio"]),
            _ratio(tracks["no_cyclone_ratio"]),
        )
        row = "".join(f"{cell:<20}" for cell in cells)
        lines.append(f"{name:<14}{row}{_ratio(score['mask']['iou'])}")
        by_intensity = ", ".join(
            f"{category} {_ratio(one['probability_of_detection'])} of {one['num_tracks']}"
            for category, one in tracks["by_true_intensity"].items()
        )
        lines.append(f"  POD: {by_intensity}")
        causes = ", ".join(f"{n} {cause}" for cause, n in tracks["false_alarms"].items())
        lines.append(f"  false alarms: {causes or 'none'}")
    lines.append(f"{'rivers':<14}mask IoU")
    lines += [
        f"{name:<14}{_ratio(score['mask']['iou'])}" for name, score in scores["rivers"].items()
    ]
    return "\n".join(lines)


def _ratio(score: dict[str, Any]) -> str:
    """A ratio with its interval."""
    if score["value"] is None:
        return "-"
    return f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"
