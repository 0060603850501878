"""Where files are staged from: a folder that all nodes see, a web server, or an object store.

A store opens files and says whether it is there at all, and tells all that goes wrong as an
OSError: FileNotFoundError where it has no such file. Web servers are asked with what Python has;
any other address is fsspec's (s3://, gs://, memory:// and others), with its drivers installed.
"""

import os
import stat
from http.client import HTTPException, HTTPResponse
from importlib import import_module
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

NOT_FOUND, GONE = 404, 410
"""HTTP status codes of files that are not there (RFC 9110, section 15.5)."""


UNKNOWN = -1
"""Size of a file of which a server does not tell it."""


class IrregularFileError(Exception):
    """A name leads to something that is no file, such as a pipe."""


class SharedStore(Protocol):
    """Files by their names."""

    def open(self, name: str) -> "SharedFile":
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
    """
    if "://" not in root:
        return FolderStore(root)
    if urlsplit(root).scheme in ("http", "https"):
        return WebStore(root, patience_s)
    return ObjectStore(root)


class FolderStore:
    """A folder that all nodes see."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def open(self, name: str) -> "FolderFile":
        """Open a file."""
        # A pipe by the name of a file would else be waited for, for ever.
        number = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = FolderFile(number, "rb")
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise IrregularFileError
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


class WebStore:
    """Files below a URL."""

    def __init__(self, root: str, patience_s: float) -> None:
        self._root, self._patience_s = root.rstrip("/") + "/", patience_s

    def open(self, name: str) -> "WebFile":
        """Open a file."""
        return WebFile(self._ask(quote(name), "GET"))

    def is_there(self) -> bool:
        """Whether the server answers anything."""
        try:
            self._ask("", "HEAD").close()
        except HTTPError:
            return True
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return True

    def _ask(self, name: str, method: str) -> HTTPResponse:
        """Ask for something below the root."""
        request = Request(self._root + name, method=method)
        try:
            answer: HTTPResponse = urlopen(request, timeout=self._patience_s)
        except HTTPError as error:
            if error.code in (NOT_FOUND, GONE):
                raise FileNotFoundError(error.code, error.reason) from None
            raise
        except HTTPException as error:
            raise ConnectionError(repr(error)) from error
        return answer


class WebFile(RawIOBase):
    """A file that a web server sends."""

    def __init__(self, answer: HTTPResponse) -> None:
        self._answer = answer
        self.num_bytes = int(answer.headers.get("Content-Length", UNKNOWN))
        self._left = self.num_bytes

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            ConnectionError: If the server ends in mid-file.
        """
        try:
            count = self._answer.readinto(buffer)
        except HTTPException as error:
            raise ConnectionError(repr(error)) from error
        self._left -= count
        if not count and len(buffer) and self._left > 0:
            raise ConnectionError(f"the server ended {self._left} bytes before the end")
        return count

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """End the connection."""
        self._answer.close()
        super().close()


class ObjectStore:
    """Files below a URL that fsspec knows."""

    def __init__(self, root: str) -> None:
        # Imported where it is needed: each reader would pay for it.
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


SharedFile = FolderFile | WebFile | ObjectFile
"""An open file: a raw stream that also has `num_bytes`, and `forget`, which lets nothing that was
read before answer in place of the store."""
