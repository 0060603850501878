"""`exastorm prepare`: turn an archive and its labels into training shards."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_folder
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.options import ReadOptions
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings


@dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Turn an archive and its labels into training shards, with statistics and checksums."""

    example: ClassVar[str] = "exastorm prepare climate/archive --labels labels.nc --out samples"

    paths: Paths
    """Files, globs or stores of one archive."""

    labels: str
    """Class maps of the same times and grid, as `exastorm label` writes them."""

    out: str
    """Folder to make. One that holds samples is refused, unless --prepare.overwrite."""

    read: ReadOptions = ReadOptions()
    prepare: PrepareSettings = PrepareSettings()

    def run(self) -> Outcome:
        """Prepare it."""
        out = out_folder(self.out)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        index = prepare_samples(dataset, open_class_map(self.labels), out, self.prepare)
        figures = index.to_dict()
        return Outcome(index.to_line(), figures)
