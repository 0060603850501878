"""`exastorm train`: train a segmentation network on prepared samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.parallel.world import World
from exastorm.train.loop import train
from exastorm.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a segmentation network; everything about the run goes into one folder."""

    example: ClassVar[str] = "exastorm train samples --out run --train.num-steps 500"

    samples: OnePath
    """Folder that `exastorm prepare` made."""

    out: str
    """Run folder to make: settings.yaml, version.txt, log.jsonl, weights, checkpoint, events. One
    that holds a run is refused, unless --resume."""

    resume: bool = False
    """Go on from the checkpoint in the run folder."""

    train: TrainSettings = TrainSettings()

    def run(self) -> Outcome:
        """Train it."""
        summary = train(
            Path(self.samples), out_folder(self.out), self.train, World.single(), resume=self.resume
        )
        return Outcome(summary.to_line(), summary.to_dict())
