"""`exastorm train`: train a segmentation network on prepared samples, or go on with a run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from exastorm.cli.command import Command, Outcome, option_value, tell_error
from exastorm.cli.outputs import out_folder
from exastorm.errors import InputError
from exastorm.parallel.cluster import connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.train.run import train
from exastorm.train.run_folder import SETTINGS_NAME
from exastorm.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a segmentation network; everything about the run goes into one folder.

    Ctrl-C or SIGTERM ends it after the step under way; --resume RUN goes on as if it had not. Bad
    samples stop it, unless --skip-bad.
    """

    example: ClassVar[str] = "exastorm train samples --out run --train.num-steps 500"
    short_options: ClassVar[dict[str, str]] = {
        "--skip-bad": "--train.skip-bad",
        "--stage": "--train.stage.folder",
        "--keep": "--train.stage.keep",
    }

    samples: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")] = ""
    """Folder that `exastorm prepare` made, a DeepCAM folder, or a Zarr store of samples, also at an
    address as s3://bucket/samples.zarr. With --resume it need not be given, unless it moved."""

    out: str = ""
    """Run folder to make: settings.yaml, version.txt, log.jsonl, weights, checkpoints, events. One
    that holds a run is refused."""

    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN")] = None
    """Go on from the last whole checkpoint of this run folder, with the run's own settings. Of
    them compute, loader, checkpoint, log_interval, max_bad_steps and skip_bad may be changed."""

    auto_resume: bool = False
    """Go on with the run in --out if there is one, as a job does that is started again."""

    train: TrainSettings = TrainSettings()

    @classmethod
    def config_of(cls, argv: list[str]) -> str | None:
        """A resumed run's settings are the defaults of what is given beside --resume."""
        run = option_value(argv, "--out" if "--auto-resume" in argv else "--resume")
        own = None if run is None else Path(run) / SETTINGS_NAME
        return super().config_of(argv) or (str(own) if own is not None and own.is_file() else None)

    def run(self) -> Outcome | None:
        """Train it, together with the other ranks of the launch; the first of them answers.

        Raises:
            InputError: Unless samples and --out are given, or --resume alone.
        """
        run, resume = self.run_folder()
        launch, compute = read_launch(os.environ), self.train.compute
        with connect(launch, self.train.cluster, compute.device, tell_error) as cluster:
            summary = train(self.samples or None, run, self.train, cluster, resume=resume)
            if not cluster.world.is_first:
                return None
        return Outcome(summary.to_line(), summary.to_dict())

    def run_folder(self) -> tuple[Path, bool | Literal["if_there"]]:
        """The run folder, and whether to go on in it.

        Raises:
            InputError: Unless samples and --out are given, or --resume alone.
        """
        if self.resume is not None:
            if self.out:
                raise InputError(f"--out must not be given with --resume, got {self.out!r}")
            return Path(self.resume), True
        if not self.samples or not self.out:
            raise InputError("train needs samples and --out RUN, or --resume RUN")
        return out_folder(self.out), "if_there" if self.auto_resume else False
