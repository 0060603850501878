"""Files from node to node, the asking side: what comes is checked before it is visible."""

import socket
import time
from collections.abc import Callable
from typing import Protocol, Self

from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.serving import ANSWER, FOUND, REQUEST

BUFFER_BYTES = 1 << 20
"""What is received at once: large enough that calls cost nothing, small enough for the cache."""

LOOK_UP_S = 0.5
"""How often one who waits for bytes looks whether they are still wanted."""

CONNECT_S = 4.0
"""As LOOK_UP_S, for one who calls: the system calls again after 1 and 3 s (RFC 6298)."""


class TransferError(Exception):
    """A file did not arrive as it was announced; it may, if asked for again, or elsewhere."""


class Incoming(Protocol):
    """A file that is being written: of `PartialFile`, what fetching needs.

    Attributes:
        crc32c: CRC-32C of what was written.
    """

    crc32c: int

    def write(self, buffer: memoryview, /) -> object:
        """Append bytes."""
        ...

    def commit(self) -> Entry:
        """Make the file whole and visible."""
        ...


def fetch(
    address: tuple[str, int],
    token: str,
    expected: Entry,
    partial: Incoming,
    timeout_s: float,
    is_over: Callable[[], bool] = lambda: False,
) -> Entry:
    """Get a file from a node that has it, and make it visible here if it is what was announced.

    Args:
        address: Host and port of the node's server.
        token: Of that server.
        expected: Name, size and checksum, as announced.
        partial: Where it goes; left as it is if something is wrong.
        timeout_s: Seconds that the other node may send nothing.
        is_over: Whether nobody wants the file any more; asked now and then.

    Raises:
        TransferError: If the node is gone or silent, hasn't the file, or sends something else.
        InputError: If the file can't be written.
    """
    with _Call(address, timeout_s, is_over) as call:
        call.ask(token, expected)
        missing = expected.num_bytes
        buffer = memoryview(bytearray(BUFFER_BYTES))
        while missing:
            part = buffer[: call.receive(buffer[: min(missing, len(buffer))])]
            partial.write(part)
            missing -= len(part)
    if partial.crc32c != expected.crc32c:
        raise TransferError(
            f"{call.where} sent {expected.name} with checksum {partial.crc32c:08x} "
            f"in place of {expected.crc32c:08x}"
        )
    return partial.commit()


class _Call:
    """The asking side of a request, as a context manager."""

    def __init__(
        self, address: tuple[str, int], timeout_s: float, is_over: Callable[[], bool]
    ) -> None:
        self.where = f"{address[0]}:{address[1]}"
        self._timeout_s, self._is_over = timeout_s, is_over
        self._socket = self._connect(address)
        self._socket.settimeout(min(timeout_s, LOOK_UP_S))

    def _connect(self, address: tuple[str, int]) -> socket.socket:
        """Reach a node, which may be switched off and answer nothing.

        Raises:
            TransferError: If it can't be reached.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return socket.create_connection(address, timeout=min(self._timeout_s, CONNECT_S))
            except OSError as error:
                is_late = self._is_over() or time.monotonic() >= deadline
                if is_late or not isinstance(error, TimeoutError):
                    reason = error.strerror or error
                    raise TransferError(f"{self.where} can't be reached ({reason})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, token: str, expected: Entry) -> None:
        """Send a request, and read the head of its answer.

        Raises:
            TransferError: If the file isn't there, or of another size.
        """
        request = f"{token}\n{expected.name}".encode()
        try:
            self._socket.sendall(REQUEST.pack(len(request)) + request)
        except OSError as error:
            raise TransferError(f"{self.where} hung up ({error.strerror or error})") from error
        head = bytearray(ANSWER.size)
        filled = 0
        while filled < len(head):
            filled += self.receive(memoryview(head)[filled:])
        status, size = ANSWER.unpack(head)
        if status != FOUND:
            raise TransferError(f"{self.where} has no {expected.name}")
        if size != expected.num_bytes:
            raise TransferError(
                f"{self.where} has {expected.name} with {size} bytes "
                f"in place of {expected.num_bytes}"
            )

    def receive(self, buffer: memoryview) -> int:
        """Receive into a buffer; how many bytes came, one at least.

        Raises:
            TransferError: If none did.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                num_bytes = self._socket.recv_into(buffer)
                break
            except TimeoutError as error:
                if self._is_over() or time.monotonic() >= deadline:
                    raise TransferError(f"{self.where} fell silent") from error
            except OSError as error:
                raise TransferError(f"{self.where} hung up ({error.strerror or error})") from error
        if not num_bytes:
            raise TransferError(f"{self.where} hung up in mid-file")
        return num_bytes


__all__ = ["TransferError", "fetch"]
