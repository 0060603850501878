"""`exastorm report`: draw maps of masks and put them on one self-contained page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_folder
from exastorm.errors import InputError
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.options import ReadOptions
from exastorm.report.run import report_run
from exastorm.report.settings import ReportSettings
from exastorm.storms.settings import CensusSettings


def titles(paths: tuple[str, ...]) -> dict[str, str]:
    """Title of each class map to its path: the name of the file, or the path where names repeat.

    Raises:
        InputError: If one is given twice.
    """
    if len(set(paths)) < len(paths):
        raise InputError(f"each class map must be given once, got {', '.join(paths)}")
    stems = [Path(path).stem for path in paths]
    return {s if stems.count(s) == 1 else p: p for s, p in zip(stems, paths, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Draw masks over their archive, count their storms, and write one self-contained page."""

    example: ClassVar[str] = (
        "exastorm report masks.nc labels.nc --archive climate/archive --out report"
    )

    masks: Paths
    """Class maps of the same times, named in the page as their files are, the most interesting
    first. Each pair is compared; the later one of a pair is the reference (labels, truth)."""

    archive: tuple[str, ...]
    """Files of the archive that the masks belong to."""

    out: str
    """Folder to make, for index.html and its pictures. An earlier page in it is replaced."""

    model: str | None = None
    """Run folder of the network that made the masks, for its training curves and settings."""

    read: ReadOptions = ReadOptions()
    report: ReportSettings = ReportSettings()
    census: CensusSettings = CensusSettings()

    def run(self) -> Outcome:
        """Draw."""
        out = out_folder(self.out)
        class_maps = {name: open_class_map(path) for name, path in titles(self.masks).items()}
        page = report_run(
            out,
            exastorm.open(list(self.archive), **asdict(self.read)),
            class_maps,
            run=self.model,
            settings=self.report,
            census_settings=self.census,
        )
        return Outcome(f"page: {page}", {"page": str(page), "masks": list(class_maps)})
