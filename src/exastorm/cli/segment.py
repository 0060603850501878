"""`exastorm segment`: apply a trained network to an archive."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_file
from exastorm.predict.run import segment_archive
from exastorm.predict.settings import SegmentSettings
from exastorm.readers.options import ReadOptions


@dataclass(frozen=True, kw_only=True)
class Segment(Command):
    """Apply a trained network to an archive and write class maps with their probability."""

    example: ClassVar[str] = "exastorm segment 'era5/*.nc' --model run --out masks.nc"

    paths: Paths
    """Files, globs or stores of one archive."""

    model: str
    """A run folder or its weights (model.safetensors)."""

    out: str
    """Where the class maps go: a .nc file or a .zarr store. One that exists is replaced once
    the new one is whole."""

    read: ReadOptions = ReadOptions()
    segment: SegmentSettings = SegmentSettings()

    def run(self) -> Outcome:
        """Segment it."""
        out = out_file(self.out, self.paths)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        summary = segment_archive(dataset, Path(self.model), out, self.segment)
        return Outcome(summary.to_line(), summary.to_dict())
