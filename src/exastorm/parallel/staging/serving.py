"""Files from node to node: each node serves what it has to those that ask, over plain TCP.

A request is one connection: a token and a name, answered by a size and that many bytes, which the
kernel sends from the page cache (sendfile(2)). Only nodes that need something of one another are
ever connected, and whoever is gone fails only the requests to it. The token is drawn anew for each
run and told through the store of the run: a stranger on the network is not answered.
"""

import hmac
import secrets
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Protocol, Self

MOST_SERVED = 64
"""Requests that a node answers at once; more wait in the queue of the system."""

REQUEST_S = 10.0
"""Longest that a caller may take to say what it wants: a stranger who doesn't is hung up on."""

FOUND, ABSENT = 1, 0
REQUEST, ANSWER = struct.Struct("!H"), struct.Struct("!BQ")
"""Ahead of a request its length; ahead of a file whether it is there, and its size."""


class Shelf(Protocol):
    """Where files of a node lie: of `LocalStore`, what serving needs."""

    def path(self, name: str) -> Path:
        """The path of a file, be it there or not."""
        ...


class FileServer:
    """Answers requests of other nodes, as a context manager.

    Attributes:
        address: Host and port.
        token: What a request must carry.
    """

    def __init__(self, local: Shelf, host: str, timeout_s: float = 60.0) -> None:
        """Listen.

        Args:
            local: Where the files lie; a file that is there is whole.
            host: The own address by which other nodes reach this one.
            timeout_s: Seconds that a node which asks may take none of its bytes.

        Raises:
            OSError: If the address can't be listened at.
        """
        self._local, self._timeout_s = local, timeout_s
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=1024)
        self.address: tuple[str, int] = (host, self._listener.getsockname()[1])
        self.token = secrets.token_hex(16)
        self._lock, self._free = threading.Lock(), threading.BoundedSemaphore(MOST_SERVED)
        self._calls: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._sent_bytes, self._is_over = 0, False
        self._thread = threading.Thread(target=self._listen, name="file server", daemon=True)
        self._thread.start()

    @property
    def sent_bytes(self) -> int:
        """Bytes of files sent so far."""
        with self._lock:
            return self._sent_bytes

    def close(self) -> None:
        """Answer no more; who is in the middle of a file is cut off. Twice does no harm."""
        self._is_over = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Wakes the thread that waits there.
        self._listener.close()
        self._hang_up()
        self._thread.join()
        self._hang_up()  # On who called meanwhile.
        for thread in list(self._threads):
            thread.join()

    def _hang_up(self) -> None:
        """Cut off all who are being answered."""
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            with suppress(OSError):
                call.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _listen(self) -> None:
        """Take calls, each on a thread of its own, until closed."""
        while True:
            self._free.acquire()
            try:
                call, _ = self._listener.accept()
            except OSError:
                if self._is_over:
                    return
                self._free.release()  # As when a caller is gone already, or files are many.
                time.sleep(0.05)
                continue
            thread = threading.Thread(target=self._answer, args=(call,), name="serve", daemon=True)
            with self._lock:
                self._calls.add(call)
                self._threads.add(thread)
            thread.start()

    def _answer(self, call: socket.socket) -> None:
        """Answer one request; a caller that is gone, or no node of ours, is left alone."""
        try:
            with call, suppress(OSError):
                call.settimeout(min(self._timeout_s, REQUEST_S))
                token, name = _read_request(call)
                call.settimeout(self._timeout_s)
                if hmac.compare_digest(token.encode(), self.token.encode()):
                    self._send(call, name)
        finally:
            with self._lock:
                self._calls.discard(call)
                self._threads.discard(threading.current_thread())
            self._free.release()

    def _send(self, call: socket.socket, name: str) -> None:
        """Send a file, or that it isn't there."""
        try:
            if _is_outside(name):
                raise FileNotFoundError(name)
            file = self._local.path(name).open("rb")
        except (OSError, ValueError):
            call.sendall(ANSWER.pack(ABSENT, 0))
            return
        with file:
            size = file.seek(0, 2)
            file.seek(0)
            call.sendall(ANSWER.pack(FOUND, size))
            try:
                call.sendfile(file)
            finally:
                with self._lock:
                    self._sent_bytes += file.tell()


def _read_request(call: socket.socket) -> tuple[str, str]:
    """Token and name that a caller sends.

    Raises:
        OSError: If it sends anything else.
    """
    with call.makefile("rb") as words:
        head = words.read(REQUEST.size)
        text = words.read(REQUEST.unpack(head)[0]) if len(head) == REQUEST.size else b""
    try:
        token, _, name = text.decode().partition("\n")
    except UnicodeDecodeError:
        raise OSError("not a request") from None
    return token, name


def _is_outside(name: str) -> bool:
    """Whether a name leads out of the folder."""
    path = PurePosixPath(name)
    return not name or path.is_absolute() or ".." in path.parts


__all__ = ["ANSWER", "FOUND", "REQUEST", "FileServer"]
