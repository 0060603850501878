"""`exastorm census`: count and measure the storms in masks."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.options import ReadOptions
from exastorm.storms.census import take_census
from exastorm.storms.settings import CensusSettings


@dataclass(frozen=True, kw_only=True)
class Census(Command):
    """Count and measure the storms in masks: objects, areas, and rain inside them."""

    example: ClassVar[str] = "exastorm census masks.nc --archive climate/archive --out census"

    masks: OnePath
    """Class maps, as `exastorm label` or `segment` writes them."""

    out: str
    """Folder to make, for census.json and the table of objects. An earlier census in it is
    replaced."""

    archive: tuple[str, ...] = ()
    """Files of the archive that the masks belong to; with it, rain and extremes are counted."""

    read: ReadOptions = ReadOptions()
    census: CensusSettings = CensusSettings()

    def run(self) -> Outcome:
        """Count."""
        out = out_folder(self.out)
        archive = exastorm.open(list(self.archive), **asdict(self.read)) if self.archive else None
        census = take_census(open_class_map(self.masks), archive, self.census)
        census.write(out)
        return Outcome(
            f"{census.to_line()}; tables in {self.out}", census.to_dict(), census.to_text()
        )
