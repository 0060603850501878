"""Whole samples kept in a local folder, as many as fit a number of bytes; the oldest used go first.

Any number of threads and processes of a machine may share the folder: a sample appears in one move,
is read with its checksum, and whoever finds it damaged or gone reads it from its store again. Room
is made by one process at a time.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError

CACHE_GB = 20.0
"""Default size: 350 samples at the paper's size in single precision."""

CRC_BYTES = 4
"""Bytes of the CRC-32C (Castagnoli) behind a sample, big-endian."""

LOCK_NAME = ".lock"
ENDING = ".sample"
PARTIAL_ENDING = ".partial"


class SampleCache:
    """Samples of one store in a folder.

    Attributes:
        folder: Where they are.
        capacity_bytes: Room for all samples in the folder.
    """

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        """Make the folder.

        Raises:
            InputError: If it can't be written.
        """
        self.folder, self.capacity_bytes = folder, capacity_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LOCK_NAME).touch()
        except OSError as error:
            raise InputError(f"cache can't be written: {error.strerror}", file=folder) from error

    def get(self, i: int, out: NDArray[np.uint8]) -> bool:
        """Fill in sample `i`, if it is here and whole."""
        path = self._path(i)
        crc = bytearray(CRC_BYTES)
        try:
            with path.open("rb", buffering=0) as file:
                got = os.preadv(file.fileno(), [out.data, crc], 0)
        except OSError:
            return False
        if got == len(out) + CRC_BYTES and int.from_bytes(crc) == google_crc32c.value(out):
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
        # Where it can't be removed, as on a drive mounted for reading, it is not used either.
        with contextlib.suppress(OSError):
            path.unlink()
        return False

    def put(self, i: int, values: NDArray[np.uint8]) -> None:
        """Keep sample `i`, if it fits at all; a full disk is no error, it is read again.

        Others are let go until there is room.
        """
        num_bytes = len(values) + CRC_BYTES
        if num_bytes > self.capacity_bytes:
            return
        partial = None
        try:
            with self._locked():
                self._make_room(num_bytes)
                with NamedTemporaryFile(
                    dir=self.folder, suffix=PARTIAL_ENDING, delete=False
                ) as file:
                    partial = Path(file.name)
                    file.write(values.data)
                    file.write(google_crc32c.value(values).to_bytes(CRC_BYTES))
                partial.replace(self._path(i))
        except OSError:
            if partial is not None:
                partial.unlink(missing_ok=True)

    def _path(self, i: int) -> Path:
        """File of a sample."""
        return self.folder / f"{i}{ENDING}"

    def _make_room(self, num_bytes: int) -> None:
        """Remove samples, those used longest ago first, and what a killed process left."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # Nobody else writes while this process has the lock.
                if entry.name.endswith(PARTIAL_ENDING):
                    Path(entry.path).unlink(missing_ok=True)
                elif entry.name.endswith(ENDING):
                    with contextlib.suppress(FileNotFoundError):
                        facts = entry.stat()
                        found.append((facts.st_mtime_ns, facts.st_size, entry.path))
        used = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used + num_bytes <= self.capacity_bytes:
                return
            Path(path).unlink(missing_ok=True)
            used -= size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Inside, no other thread or process adds to the folder."""
        # A file opened anew keeps threads apart too.
        with (self.folder / LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
