"""Files below a URL of a web server, asked for with what Python has; see `shared_store.py`."""

import errno
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from io import RawIOBase
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from exastorm.parallel.staging.shared_store import UNKNOWN

MISSING = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""Status of a file that is not there (RFC 9110, section 15.5)."""

CLOSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""Status of a file that will not be sent, however often one asks."""

AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""Status by which others answer for a server that does not (RFC 9110, section 15.6)."""

BLOCK_BYTES = 256 << 10
"""What is waited for at once: little enough that a slow server is not taken for a silent one."""


class StatusError(OSError):
    """A server answers that it can't answer.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, error: HTTPError) -> None:
        super().__init__(f"{error.code} {error.reason}")
        self.status = error.code


class WebStore:
    """Files below a URL."""

    def __init__(self, root: str, patience_s: float) -> None:
        self._root, self._patience_s = root.rstrip("/") + "/", patience_s

    def open(self, name: str) -> "WebFile":
        """Open a file.

        Raises:
            OSError: If the server does not send it.
        """
        return WebFile(self._ask(quote(name), "GET"))

    def is_there(self) -> bool:
        """Whether the server answers anything."""
        try:
            self._ask("", "HEAD").close()
        except StatusError as error:
            return error.status not in AWAY
        except OSError as error:
            return isinstance(error, FileNotFoundError | PermissionError)
        return True

    def _ask(self, name: str, method: str) -> HTTPResponse:
        """Ask for something below the root.

        Raises:
            OSError: If it does not come.
        """
        # What is read a second time is wrong in a cache as well.
        request = Request(self._root + name, method=method, headers={"Cache-Control": "no-cache"})
        try:
            answer: HTTPResponse = urlopen(request, timeout=self._patience_s)
        except HTTPError as error:
            error.close()
            if error.code in MISSING:
                raise FileNotFoundError(errno.ENOENT, f"{error.code} {error.reason}") from None
            if error.code in CLOSED:
                raise PermissionError(errno.EACCES, f"{error.code} {error.reason}") from None
            raise StatusError(error) from None
        except HTTPException as error:
            raise ConnectionError(repr(error)) from error
        return answer


class WebFile(RawIOBase):
    """A file that a web server sends."""

    def __init__(self, answer: HTTPResponse) -> None:
        self._answer = answer
        size = answer.headers.get("Content-Length", "").strip()
        self.num_bytes = int(size) if size.isdecimal() else UNKNOWN
        self._left = self.num_bytes

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            OSError: If the server ends in mid-file, or is silent.
        """
        try:
            count = self._answer.readinto(memoryview(buffer)[:BLOCK_BYTES])
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
