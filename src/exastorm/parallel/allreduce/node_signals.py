"""Short messages between the ranks of one node: "chunk 17 is there", without a poll and in order.

Each pair of ranks has one Unix stream socket for each kind of signal, so that one thread can wait
for one kind while another waits for another. The addresses are abstract: they leave no file behind
and belong to the network namespace, which is what a node is here (`hosts.py`). A system call on
either side orders the memory that the signal speaks of, on any processor.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterable

from exastorm.errors import ExchangeError

NUMBER = struct.Struct("<q")
GREETING = struct.Struct("<qq")

RETRY_S = 0.01
"""Wait before a rank that does not listen yet is tried again."""


class NodeSignals:
    """Streams from one rank of a node to each of the others, one for each kind of signal.

    Numbers of one kind must rise. Each kind is waited for by one thread, and sent by one.
    """

    def __init__(
        self,
        name: str,
        ranks: tuple[int, ...],
        index: int,
        kinds: tuple[str, ...],
        timeout_s: float,
    ) -> None:
        """Connect to the other ranks of the node, which do the same.

        Args:
            name: Of this meeting, the same on all ranks of the node and no other's.
            ranks: Of the node.
            index: Place of this rank among them.
            kinds: Names of the kinds of signals.
            timeout_s: Longest wait for any of them.

        Raises:
            ExchangeError: If one of them does not come.
        """
        self._ranks, self._index, self._timeout_s = ranks, index, timeout_s
        self._streams: dict[tuple[str, int], socket.socket] = {}
        # A rank speaks to itself as to others, from one of its threads to another.
        self._own = {kind: socket.socketpair() for kind in kinds}
        self._heard: dict[tuple[str, int], int] = {}
        deadline = time.monotonic() + timeout_s
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(_address(name, index))
            listener.listen(len(ranks) * len(kinds))
            try:
                for other in range(index):
                    for number, kind in enumerate(kinds):
                        stream = _connect(_address(name, other), deadline)
                        stream.sendall(GREETING.pack(index, number))
                        self._streams[kind, other] = stream
                listener.settimeout(timeout_s)
                for _ in range((len(ranks) - 1 - index) * len(kinds)):
                    stream = listener.accept()[0]
                    stream.settimeout(timeout_s)
                    other, number = GREETING.unpack(_read(stream, GREETING.size))
                    self._streams[kinds[number], other] = stream
            except OSError as error:
                self.close()
                here = {other for _, other in self._streams} | {index}
                away = [rank for i, rank in enumerate(ranks) if i not in here]
                raise ExchangeError(f"ranks {away} of this node did not come: {error}") from error
        for kind, (_, heard) in self._own.items():
            self._streams[kind, index] = heard
        for stream in self._streams.values():
            stream.settimeout(timeout_s)

    def send(self, kind: str, to: Iterable[int], number: int) -> None:
        """Tell some ranks, by their places in the node, that a number is reached.

        Raises:
            ExchangeError: If one of them is gone.
        """
        text = NUMBER.pack(number)
        for other in to:
            own = other == self._index
            stream = self._own[kind][0] if own else self._streams[kind, other]
            try:
                stream.sendall(text)
            except OSError as error:
                raise self._lost(other, error) from error

    def wait(self, kind: str, of: Iterable[int], number: int) -> None:
        """Wait until some ranks, by their places in the node, have reached a number.

        Raises:
            ExchangeError: If one of them is gone, or silent for too long.
        """
        for other in of:
            while self._heard.get((kind, other), -1) < number:
                try:
                    text = _read(self._streams[kind, other], NUMBER.size)
                except OSError as error:
                    raise self._lost(other, error) from error
                self._heard[kind, other] = NUMBER.unpack(text)[0]

    def close(self) -> None:
        """Close all streams; who waits for this rank hears it at once."""
        for stream in (*self._streams.values(), *(speaks for speaks, _ in self._own.values())):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()

    def _lost(self, other: int, error: OSError) -> ExchangeError:
        """What is said of a rank that does not answer."""
        rank = self._ranks[other]
        if isinstance(error, TimeoutError):
            return ExchangeError(f"rank {rank} was silent for {self._timeout_s:g} s")
        return ExchangeError(f"rank {rank} is gone")


def _address(name: str, index: int) -> str:
    """Abstract address of a rank (unix(7))."""
    return f"\0exastorm-{name}-{index}"


def _connect(address: str, deadline: float) -> socket.socket:
    """A stream to a rank, which may begin to listen a little later."""
    while True:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(address)
        except ConnectionRefusedError:
            stream.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return stream


def _read(stream: socket.socket, size: int) -> bytes:
    """So many bytes.

    Raises:
        ConnectionResetError: At the end of the stream.
        TimeoutError: If they don't come in time.
    """
    text = b""
    while len(text) < size:
        more = stream.recv(size - len(text))
        if not more:
            raise ConnectionResetError("closed")
        text += more
    return text
