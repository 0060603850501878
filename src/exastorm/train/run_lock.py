"""One process at a time trains in a run folder.

The lock goes with the process that holds it, however that ends; the file stays. Some parallel
filesystems have no locks, or none between nodes: there it guards less, and nothing relies on it
but the refusal of a second run by mistake.
"""

import errno
import fcntl
import os
import platform
from pathlib import Path
from typing import TextIO

from exastorm.errors import InputError

LOCKED = (errno.EAGAIN, errno.EACCES)
"""Errors that say that another process has the lock; others say that there are no locks here."""


class RunLock:
    """The right to write in a folder, once acquired."""

    def __init__(self, run: Path, path: Path) -> None:
        """Name the lock.

        Args:
            run: The run folder that it guards.
            path: The file to lock; it is made if missing, and tells who has the lock.
        """
        self._run = run
        self._path = path
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: If another process has it.
        """
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in LOCKED:
                file.seek(0)
                holder = file.read().strip()
                file.close()
                raise InputError(
                    f"another process trains in this folder ({holder})", file=self._run
                ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back, if held."""
        if self._file is not None:
            self._file.close()
            self._file = None
