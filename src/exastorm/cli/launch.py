"""`exastorm launch`: train with several ranks on this machine, and go on when one is lost."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, parse
from exastorm.cli.train import Train
from exastorm.errors import InputError
from exastorm.parallel.launch.supervisor import Supervisor, SupervisorSettings
from exastorm.train.run_folder import SETTINGS_NAME

WHAT = "train"
"""The command that ranks can share."""


@dataclass(frozen=True, kw_only=True)
class Launch(Command):
    """Train with several ranks on this machine, and go on from a checkpoint when one is lost.

    What follows the word train are the options of exastorm train. Several machines are started by
    torchrun, Slurm or MPI.
    """

    example: ClassVar[str] = "exastorm launch --launch.num-ranks 4 train samples --out run"

    launch: SupervisorSettings = field(default_factory=SupervisorSettings)

    def run(self) -> Outcome:
        """Say what is missing.

        Raises:
            InputError: Always: `main` runs it with a command.
        """
        raise InputError(f"launch needs a command: {self.example}")


def main(argv: list[str]) -> int:
    """Start the ranks, and wait for them; returns the exit code.

    Raises:
        InputError: For options that are wrong, found before any rank starts.
    """
    place = argv.index(WHAT) if WHAT in argv else len(argv)
    own = parse(Launch, "launch", argv[:place])
    if place == len(argv):
        own.run()
    told = argv[place + 1 :]
    train = parse(Train, WHAT, told)
    train.run_folder()
    if train.out and not train.auto_resume and (Path(train.out) / SETTINGS_NAME).is_file():
        raise InputError(
            "holds a run already; go on with --resume, or --auto-resume", file=train.out
        )
    return Supervisor(lambda attempt: command_of(train, told), own.launch).run()


def command_of(train: Train, told: list[str]) -> list[str]:
    """What each rank runs, the first time and after a loss: what was told, or the rest of it."""
    again = [] if train.auto_resume or train.resume is not None else ["--auto-resume"]
    return [sys.executable, "-m", "exastorm.cli.main", WHAT, *told, *again]
