"""What the system says about the folder for staged files, in one line that names it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exastorm.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalStoreError(InputError):
    """The folder for staged files can't take them; no other file would fare better."""


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Tell what the system says about a folder.

    Raises:
        LocalStoreError: For an OSError; says what is free where the disk is full.
    """
    try:
        yield
    except OSError as error:
        problem = f"can't be written ({error.strerror or error})"
        if error.errno in FULL:
            with suppress(OSError):
                free = size_in_words(free_bytes(folder))
                problem = f"is full ({error.strerror}; {free} are free)"
        raise LocalStoreError(problem, file=folder) from error


def free_bytes(folder: Path) -> int:
    """Bytes free for this user where a folder is, or would be made.

    Raises:
        OSError: If the system does not say.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(nearest).free


def size_in_words(num_bytes: int) -> str:
    """Bytes as people read them."""
    if num_bytes < 1_000_000:
        return f"{num_bytes} bytes"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.2f} GB"
