"""`exastorm launch`: train with several ranks on this machine, and go on when one is lost."""

import os
import sys
from dataclasses import dataclass, field
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, parse
from exastorm.cli.train import Train
from exastorm.errors import InputError
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.launch.supervisor import Supervisor, SupervisorSettings, variables_of
from exastorm.parallel.launch.transport import choose_device
from exastorm.train.run import check
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
        InputError: For what is wrong with options, run or samples, before any rank starts.
    """
    place = argv.index(WHAT) if WHAT in argv else len(argv)
    own = parse(Launch, "launch", argv[:place])
    if place == len(argv):
        own.run()
    told = argv[place + 1 :]
    train = parse(Train, WHAT, told)
    check_before(train, own.launch.num_ranks)
    return Supervisor(lambda attempt: command_of(train, told), own.launch).run()


def check_before(train: Train, num_ranks: int) -> None:
    """Refuse what all ranks would refuse, in the same words.

    Raises:
        InputError: For what is wrong.
    """
    run, resume = train.run_folder()
    for rank in range(num_ranks):
        # Port and run's name are chosen when ranks start.
        launch = read_launch(os.environ | variables_of(rank, num_ranks, 1, "any", 0))
        choose_device(train.train.compute.device, launch)
    check(train.samples or None, run, train.train, num_ranks, resume)
    # Once ranks were lost they go on with --auto-resume, and must not find another run.
    if not resume and (run / SETTINGS_NAME).is_file():
        raise InputError("holds a run already; go on with --resume, or --auto-resume", file=run)


def command_of(train: Train, told: list[str]) -> list[str]:
    """What each rank runs, the first time and after a loss: what was told, or the rest of it."""
    again = [] if train.auto_resume or train.resume is not None else ["--auto-resume"]
    return [sys.executable, "-m", "exastorm.cli.main", WHAT, *told, *again]
