"""`exastorm train`: train a segmentation network on prepared samples, or go on with a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exastorm.cli.command import Command, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.errors import InputError
from exastorm.parallel.world import World
from exastorm.train.run import train
from exastorm.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a segmentation network; everything about the run goes into one folder.

    Ctrl-C or SIGTERM ends it after the step under way; --resume RUN goes on as if it had not.
    """

    example: ClassVar[str] = "exastorm train samples --out run --train.num-steps 500"
    short_options: ClassVar[dict[str, str]] = {"--skip-bad": "--train.skip-bad"}

    samples: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")] = ""
    """Folder that `exastorm prepare` made. With --resume it need not be given, unless it moved."""

    out: str = ""
    """Run folder to make: settings.yaml, version.txt, log.jsonl, weights, checkpoints, events. One
    that holds a run is refused."""

    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN")] = None
    """Go on from the last whole checkpoint of this run folder, with the run's own settings."""

    train: TrainSettings = TrainSettings()

    def run(self) -> Outcome:
        """Train it.

        Raises:
            InputError: Unless samples and --out are given, or --resume alone.
        """
        if self.resume is None:
            if not self.samples or not self.out:
                raise InputError("train needs samples and --out RUN, or --resume RUN")
            run = out_folder(self.out)
        else:
            if self.out:
                raise InputError(f"--out must not be given with --resume, got {self.out!r}")
            run = Path(self.resume)
        summary = train(
            Path(self.samples) if self.samples else None,
            run,
            self.train,
            World.single(),
            resume=self.resume is not None,
        )
        return Outcome(summary.to_line(), summary.to_dict())
