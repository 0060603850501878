"""`exastorm stage`: bring samples to the nodes' own storage, reading the shared store once."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exastorm.cli.command import Command, Outcome, tell_error
from exastorm.errors import InputError
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.staging.figures import StagingFigures
from exastorm.train.stage_settings import SampleStageSettings
from exastorm.train.staged import samples_here


@dataclass(frozen=True, kw_only=True)
class Stage(Command):
    """Bring prepared samples to each node's own storage, to be trained from there.

    Each shard is read from the shared store by one node, checked, and passed on to those that need
    it. What is there already and right is not moved again. Start it once on each node, as training
    is started (torchrun, srun, mpirun); more ranks on a node do no harm. `exastorm train SAMPLES
    --stage FOLDER` does the same before it trains, and finds what this has brought.
    """

    example: ClassVar[str] = "exastorm stage samples --to /local/exastorm"

    samples: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")] = ""
    """Folder that `exastorm prepare` made."""

    to: str = ""
    """Folder on each node, on its own disk or in its memory as /dev/shm."""

    stage: SampleStageSettings = SampleStageSettings()

    cluster: ClusterSettings = ClusterSettings()

    def run(self) -> Outcome | None:
        """Stage; the first rank answers.

        Raises:
            InputError: Unless samples and --to are given, or where they can't be staged.
        """
        if not self.samples or not self.to:
            raise InputError("stage needs samples and --to FOLDER")
        settings = replace(self.stage, folder=self.to, keep=True)
        with connect(read_launch(os.environ), self.cluster, "cpu", tell_error) as cluster:
            with samples_here(cluster, self.samples, settings) as here:
                pass
            if not cluster.world.is_first:
                return None
            assert here.figures is not None
            found = asdict(here.figures) | {"left_out": here.left_out, "folder": str(here.path)}
            return Outcome(line_of(here.figures, here.left_out, here.path), found)


def line_of(figures: StagingFigures, left_out: tuple[str, ...], folder: str | Path) -> str:
    """What staging did, in a line."""
    total = figures.total
    line = (
        f"{total.read_bytes / 1e9:.2f} GB read from the shared store,"
        f" {total.received_bytes / 1e9:.2f} GB passed on, {total.present_bytes / 1e9:.2f} GB there"
        f" already; {total.seconds:.1f} s, {total.gbytes_per_s:.2f} GB/s; in {folder}"
    )
    if left_out:
        line += f"; corrupt and left out: {', '.join(left_out)}"
    return line
