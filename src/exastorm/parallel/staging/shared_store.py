"""Where files are staged from: a folder that all nodes see, a web server, or an object store.

A store opens files and says whether it is there at all, and tells all that goes wrong as an
OSError: FileNotFoundError where it has no such file. Web servers are asked with what Python has
(`web_store.py`); any other address is fsspec's (s3://, gs://, memory:// and others), with its
drivers installed.
"""

import os
import stat
from importlib import import_module
from io import FileIO, RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from exastorm.errors import InputError

UNKNOWN = -1
"""Size of a file of which a server does not tell it."""


class IrregularFileError(Exception):
    """A name leads to something that is no file, such as a pipe."""


class SharedFile(Protocol):
    """An open file, as a raw stream and a context manager.

    Attributes:
        num_bytes: Its size; UNKNOWN where that isn't told.
    """

    num_bytes: int

    def readinto(self, buffer: memoryview, /) -> int:
        """Read the next bytes, as many as come at once; 0 at the end.

        Raises:
            OSError: If they can't be read now.
        """
        ...

    def forget(self) -> None:
        """Let nothing that was read before answer in place of the store."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class SharedStore(Protocol):
    """Files by their names."""

    def open(self, name: str) -> SharedFile:
        """Open a file.

        Raises:
            OSError: If it can't be opened now, or at all.
            IrregularFileError: If it is no file.
        """
        ...

    def is_there(self) -> bool:
        """Whether the store answers."""
        ...


def open_store(root: str, patience_s: float) -> SharedStore:
    """The store at a root.

    Args:
        root: A folder, or the URL of one.
        patience_s: How long a server may give no answer.

    Raises:
        InputError: If nothing is known of such an address.
    """
    if "://" not in root:
        return FolderStore(root)
    if root.lower().startswith(("http://", "https://")):
        # What the web takes is loaded where it is needed: each reader would pay for it.
        from exastorm.parallel.staging.web_store import WebStore

        return WebStore(root, patience_s)
    try:
        return ObjectStore(root)
    except (ImportError, ValueError) as error:
        raise InputError(f"no store can be opened there ({error})", file=root) from error


class FolderStore:
    """A folder that all nodes see."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def open(self, name: str) -> "FolderFile":
        """Open a file."""
        # A pipe by the name of a file would else be waited for, for ever.
        number = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            os.close(number)
            raise IrregularFileError
        file = FolderFile(number, "rb")
        file.num_bytes = status.st_size
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return file

    def is_there(self) -> bool:
        """Whether anything is in the folder: where it was mounted is left empty without it."""
        try:
            with os.scandir(self._root) as items:
                return next(items, None) is not None
        except OSError:
            return False


class FolderFile(FileIO):
    """An open file of a folder."""

    num_bytes = 0

    def forget(self) -> None:
        """Drop it from the page cache."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class ObjectStore:
    """Files below a URL that fsspec knows."""

    def __init__(self, root: str) -> None:
        # As `web_store.py` above.
        self._files, path = import_module("fsspec.core").url_to_fs(root)
        self._root = path.rstrip("/") + "/"

    def open(self, name: str) -> "ObjectFile":
        """Open a file."""
        try:
            return ObjectFile(self._files.open(self._root + name, "rb"))
        except OSError:
            raise
        # Each driver has errors of its own.
        except Exception as error:
            raise ConnectionError(str(error)) from error

    def is_there(self) -> bool:
        """Whether anything is below the root."""
        try:
            self._files.invalidate_cache()
            return bool(self._files.ls(self._root, detail=False))
        # Each driver has errors of its own.
        except Exception:
            return False


class ObjectFile(RawIOBase):
    """An open file of fsspec's."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.num_bytes = int(file.seek(0, os.SEEK_END))
        file.seek(0)

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        try:
            return int(self._file.readinto(buffer))
        except OSError:
            raise
        # Each driver has errors of its own.
        except Exception as error:
            raise ConnectionError(str(error)) from error

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close it."""
        self._file.close()
        super().close()
