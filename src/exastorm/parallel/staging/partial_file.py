"""A file on its way into a staged folder: nobody sees it before it is whole and durable."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from exastorm.parallel.staging.checksums import Buffer, crc32c
from exastorm.parallel.staging.folder_errors import LocalStoreError, telling
from exastorm.parallel.staging.ledger import Entry

NOT_RESERVED = (errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems that reserve nothing; there a full disk is noticed when it is full."""


class PartialFile:
    """A file that is being written, as a context manager; it is removed unless committed.

    Attributes:
        name: Its name in the manifest.
        num_bytes: Bytes written.
        crc32c: CRC-32C of those.
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        name: str,
        reserved_bytes: int,
        folder: Path,
        note: Callable[[Entry], None],
    ) -> None:
        """Make the file.

        Args:
            path: Where it is written.
            target: Where it goes.
            name: Its name in the manifest.
            reserved_bytes: Size to reserve on the disk; 0 reserves nothing.
            folder: The folder that the user named.
            note: Told the whole file.

        Raises:
            OSError: If it can't be made, or won't fit.
        """
        self.name, self.num_bytes, self.crc32c = name, 0, 0
        self._path, self._target, self._folder, self._note = path, target, folder, note
        self._reserved_bytes = reserved_bytes
        self._file: int | None = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
        )
        try:
            if reserved_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file, 0, reserved_bytes)
        except OSError as error:
            if error.errno not in NOT_RESERVED:
                self.abandon()
                raise

    def write(self, buffer: Buffer) -> int:
        """Append bytes; returns how many, which is all.

        Raises:
            InputError: If the disk is full or fails; the file is removed then.
        """
        assert self._file is not None, "written after its end"
        view = memoryview(buffer).cast("B")
        try:
            with telling(self._folder):
                done = 0
                while done < view.nbytes:
                    done += os.write(self._file, view[done:])
        except LocalStoreError:
            self.abandon()
            raise
        self.crc32c = crc32c(view, self.crc32c)
        self.num_bytes += view.nbytes
        return view.nbytes

    def commit(self) -> Entry:
        """Make the file durable, give it its name, and note it in the ledger.

        Raises:
            InputError: If the disk is full or fails; the file is removed then.
        """
        assert self._file is not None, "committed after its end"
        try:
            with telling(self._folder):
                if self._reserved_bytes > self.num_bytes:
                    os.ftruncate(self._file, self.num_bytes)
                os.fsync(self._file)
                os.close(self._file)
                self._file = None
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._path.replace(self._target)
                entry = Entry(self.name, self.num_bytes, self.crc32c)
                self._note(entry)
        except LocalStoreError:
            self.abandon()
            raise
        return entry

    def abandon(self) -> None:
        """Remove what was written so far; nothing once it is committed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()
