"""One job at a time stages into a folder.

The kernel's lock goes with the process that holds it, however that ends. Where a file system has
none, the file tells who holds it: process, its start and the machine's; so a process that is gone,
another that got its number, and a machine that was started again are all seen for what they are.
"""

import errno
import fcntl
import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from exastorm.errors import InputError

_HELD = (errno.EAGAIN, errno.EACCES)
"""Errors that say that another process has the lock; others say that there are no locks here."""

_START_FIELD = 19
"""Start time in /proc/PID/stat, counted from behind the name: field 22 of proc_pid_stat(5)."""


class FolderLock:
    """The right to stage into a folder, once acquired."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Name the lock.

        Args:
            path: The file that is locked.
            folder: What is guarded, as the user knows it.
        """
        self._path, self._folder = path, folder
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; once is enough.

        Raises:
            InputError: If another process has it.
            OSError: If the file can't be made.
        """
        while self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._take(file)
                # The holder before may have removed the file while this one waited.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file), self._path.stat()):
                        self._file = file
            finally:
                if self._file is None:
                    os.close(file)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(_self_record()).encode(), 0)

    def release(self) -> None:
        """Give the lock back, if held."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def _take(self, file: int) -> None:
        """Lock an open file.

        Raises:
            InputError: If another process has it.
        """
        held = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held = error.errno in _HELD
        try:
            holder = json.loads(os.pread(file, 4096, 0))
        except ValueError:
            holder = {}
        if held or _is_alive(holder):
            who = f" (process {holder['pid']} on {holder['host']})" if holder else ""
            raise InputError(
                f"another job or node stages into this folder{who}; each needs its own, "
                f"nodes that share a disk such as {self._folder}/{{node}}",
                file=self._folder,
            )


def _self_record() -> dict[str, str | int]:
    """Who this process is."""
    return {
        "pid": os.getpid(),
        "start": _start_of(os.getpid()),
        "boot": _boot_id(),
        "processes": _process_names(),
        "host": platform.node(),
    }


def _is_alive(holder: dict[str, str | int]) -> bool:
    """Whether another process that wrote a record runs on this machine, as far as can be seen."""
    if not holder or holder.get("boot") != _boot_id():
        return False
    if holder.get("processes") != _process_names() or holder.get("pid") == os.getpid():
        return False
    start = _start_of(int(holder.get("pid", 0)))
    return start != "" and start == holder.get("start")


def _boot_id() -> str:
    """What the machine drew when it was started; empty off Linux."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _process_names() -> str:
    """The namespace in which process numbers count, as a container has its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(") ")[2].split()[_START_FIELD]
