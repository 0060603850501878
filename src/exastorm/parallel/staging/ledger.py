"""What lies in a staged folder, line by line, so that a killed run leaves nothing in doubt.

A line is written before a file is begun, and one after it is whole and under its name. Each line
carries its own checksum and begins with a line feed: one that was torn, as by a full disk, is
ignored and spoils no other. Processes append side by side, since a line is one write.
"""

import errno
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exastorm.parallel.staging.checksums import crc32c

LEDGER_NAME = "ledger"


@dataclass(frozen=True)
class Entry:
    """A whole file in a staged folder.

    Attributes:
        name: Its name in the manifest.
        num_bytes: Size as kept.
        crc32c: CRC-32C of the bytes as kept.
    """

    name: str
    num_bytes: int
    crc32c: int


@dataclass(frozen=True)
class Line:
    """A line about a whole file.

    Attributes:
        entry: The file.
        fingerprint: Of the manifest that it was staged for.
        origin: What it was made from; empty where unknown.
    """

    entry: Entry
    fingerprint: str
    origin: str = ""


class Ledger:
    """The ledger of one folder."""

    def __init__(self, path: Path) -> None:
        """Name the file.

        Args:
            path: Where the ledger lies.
        """
        self._path = path

    def begin(self, name: str) -> None:
        """Note that a file of this name may be there from now on.

        Raises:
            OSError: If it can't be written.
        """
        self._append(_text_of([name]))

    def add(self, line: Line) -> None:
        """Note that a file is whole.

        Raises:
            OSError: If it can't be written.
        """
        self._append(_text_of_line(line))

    def read(self) -> tuple[set[str], dict[str, Line]]:
        """Names that may be there, and what is known of those that are whole.

        Raises:
            OSError: If it can't be read; one that is missing is empty.
        """
        names: set[str] = set()
        lines: dict[str, Line] = {}
        try:
            texts = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return names, lines
        for row in filter(None, map(_row_of, texts)):
            names.add(row[0])
            if len(row) > 1:
                name, num_bytes, value, fingerprint, made_from = row
                lines[name] = Line(Entry(name, num_bytes, value), fingerprint, made_from)
        return names, lines

    def rewrite(self, lines: Mapping[str, Line], names: Iterable[str] = ()) -> None:
        """Replace all lines in one move.

        Args:
            lines: Of whole files.
            names: Others that may still be there.

        Raises:
            OSError: If it can't be written; then the old lines stay.
        """
        fresh = self._path.with_name(LEDGER_NAME + ".new")
        with fresh.open("wb") as file:
            for name in names:
                file.write(_text_of([name]))
            for line in lines.values():
                file.write(_text_of_line(line))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _append(self, text: bytes) -> None:
        """Add a line at the end, whoever else does."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.write(file, text) < len(text):
                os.write(file, b"\n")  # The disk is full if that fails too, and says so.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)


def _text_of_line(line: Line) -> bytes:
    """A line about a whole file, as it is written."""
    entry = line.entry
    return _text_of([entry.name, entry.num_bytes, entry.crc32c, line.fingerprint, line.origin])


def _text_of(row: list[str | int]) -> bytes:
    """A line as it is written."""
    text = json.dumps(row).encode()
    return b"\n%08x %s\n" % (crc32c(text), text)


def _row_of(text: bytes) -> list[Any] | None:
    """What a line says; None if it is torn."""
    value, _, words = text.partition(b" ")
    if not words or value != b"%08x" % crc32c(words):
        return None
    row: list[Any] = json.loads(words)
    return row
