"""`exastorm inspect`: say what an archive holds, what it is taken for, and which jobs it allows."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, Paths
from exastorm.readers.inspect import inspect_archive
from exastorm.readers.options import ReadOptions


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Show what an archive holds: fields, units before and after, grid, times, ranges, gaps."""

    example: ClassVar[str] = "exastorm inspect 'run1/*.cam.h2.*.nc'"

    paths: Paths
    """Files, globs or stores of one archive."""

    read: ReadOptions = ReadOptions()

    def run(self) -> Outcome:
        """Look."""
        inspection = inspect_archive(list(self.paths), **asdict(self.read))
        figures = inspection.to_dict()
        return Outcome("", figures, inspection.to_text())
