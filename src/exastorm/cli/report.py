"""`exastorm report`: draw maps of masks and put them on one self-contained page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.options import ReadOptions
from exastorm.report.run import report_run
from exastorm.report.settings import ReportSettings
from exastorm.storms.settings import CensusSettings


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Draw masks over their archive, count their storms, and write one self-contained page."""

    example: ClassVar[str] = (
        "exastorm report masks.nc labels.nc --archive climate/archive --out report"
    )

    masks: Paths
    """One or more class maps of the same times; each pair of them is compared."""

    archive: tuple[str, ...]
    """Files of the archive that the masks belong to."""

    out: str
    """Folder to make, for index.html and its pictures."""

    model: str | None = None
    """Run folder of the network that made the masks, for its training curves and settings."""

    read: ReadOptions = ReadOptions()
    report: ReportSettings = ReportSettings()
    census: CensusSettings = CensusSettings()

    def run(self) -> Outcome:
        """Draw."""
        class_maps = {Path(path).stem: open_class_map(path) for path in self.masks}
        page = report_run(
            Path(self.out),
            exastorm.open(list(self.archive), **asdict(self.read)),
            class_maps,
            run=self.model,
            settings=self.report,
            census_settings=self.census,
        )
        return Outcome(f"page: {page}", {"page": str(page), "masks": list(class_maps)})
