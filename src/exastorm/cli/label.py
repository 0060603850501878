"""`exastorm label`: mark tropical cyclones and atmospheric rivers by heuristics."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_file
from exastorm.labels.archive import label_archive
from exastorm.labels.settings import LabelSettings
from exastorm.readers.options import ReadOptions


@dataclass(frozen=True, kw_only=True)
class Label(Command):
    """Mark tropical cyclones and atmospheric rivers in an archive by heuristics."""

    example: ClassVar[str] = "exastorm label climate/archive --out labels.nc"

    paths: Paths
    """Files, globs or stores of one archive."""

    out: str
    """Where the class maps go: a .nc file or a .zarr store. One that exists is replaced once
    the new one is whole."""

    read: ReadOptions = ReadOptions()
    label: LabelSettings = LabelSettings()

    def run(self) -> Outcome:
        """Label it."""
        out = out_file(self.out, self.paths)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        summary = label_archive(dataset, out, self.label)
        figures = summary.to_dict()
        return Outcome(summary.to_line(), figures)
