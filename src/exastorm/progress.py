"""A progress bar on long work: shown on a terminal, silent anywhere else."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


class ProgressBar:
    """A bar with a text at its end, as a context manager; does nothing off a terminal.

    Attributes:
        total: Number of steps, or None where unknown.
    """

    def __init__(self, description: str, total: int | None, shown: bool = True) -> None:
        self.total = total
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not (shown and sys.stderr.isatty()),
        )
        self._task = self._progress.add_task(description, total=total, note="")

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar on and, if given, replace the text at its end (as "loss 0.31")."""
        self._progress.update(self._task, advance=steps)
        if note:
            self._progress.update(self._task, note=note)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show how far they are.

    Args:
        items: What to go through.
        description: A word or two before the bar.
        total: How many there are, where `items` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
