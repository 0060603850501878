"""`exastorm plan`: what a training on many ranks will do, without doing it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import tyro

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.samples.shards import SampleStore
from exastorm.train.plan import Machine, TrainingPlan, plan_training
from exastorm.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Plan(Command):
    """Say what a training on many nodes will do: batches, buckets, bytes on the wire, memory.

    With --stage also what is brought to each node first: copies, bytes, samples. Nothing is
    connected, moved or trained; one process on a laptop plans for any machine.
    """

    example: ClassVar[str] = (
        "exastorm plan samples --config cluster --machine.num-nodes 4560 --machine.ranks-per-node 6"
    )

    short_options: ClassVar[dict[str, str]] = {"--stage": "--train.stage.folder"}

    samples: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """Folder that `exastorm prepare` made."""

    machine: Machine = field(default_factory=Machine)
    train: TrainSettings = TrainSettings()

    def run(self) -> Outcome:
        """Work it out."""
        plan = plan_training(SampleStore(self.samples).index, self.train, self.machine)
        return Outcome(line_of(plan), plan.to_dict(), figures_text(in_lines(plan.to_dict())))


def line_of(plan: TrainingPlan) -> str:
    """What matters most, in one line."""
    line = (
        f"{plan.num_ranks} ranks on {plan.num_nodes} nodes: {plan.steps_per_epoch} steps of "
        f"{plan.global_batch} samples an epoch, {len(plan.bucket_mb)} buckets of "
        f"{sum(plan.bucket_mb):.1f} MB in all; each node sends "
        f"{plan.node_link_mb['hierarchical']:.1f} MB a step"
    )
    return line if plan.staging is None else f"{line}; {plan.staging.to_line()}"


def in_lines(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with the least, mean and most of a number in one line."""
    lines = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            is_spread = value.keys() == {"least", "mean", "most"}
            value = spread_line(**value) if is_spread else in_lines(value)
        lines[name] = value
    return lines


def spread_line(least: float, mean: float, most: float) -> str:
    """A number that nodes have each their own of."""
    return f"{mean:.4g}" if least == most else f"{mean:.4g} on average, {least:.4g} to {most:.4g}"
