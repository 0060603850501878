"""One TCP connection of the control tree: whole packets in and out of a stream of bytes.

A packet on the wire is its length (4 bytes, big-endian) and its bytes. Sockets never block: what
the kernel does not take at once waits here until it does.
"""

import os
import socket
import struct
import weakref

_LENGTH = struct.Struct(">I")
MAX_PACKET_BYTES = 64 * 2**20
"""More is no packet of ours but a stranger or a torn stream. The largest real ones, fingerprints of
every tensor, take 20 bytes for each: 64 MiB is beyond any network."""
_READ_BYTES = 2**16


class Link:
    """A connection to one neighbor.

    Attributes:
        socket: The connection.
        rank: The rank at its other end.
        is_broken: True once nothing can be written to it any more.
    """

    def __init__(self, connection: socket.socket, rank: int = -1) -> None:
        self.socket = connection
        self.rank = rank
        self.is_broken = False
        self.max_packet_bytes = MAX_PACKET_BYTES
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._put_back: list[bytes] = []
        _OPEN.add(self)
        connection.setblocking(False)
        # Small packets leave at once; a lost node is noticed even if nothing is sent.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def has_more(self) -> bool:
        """True while there is something left to write."""
        return bool(self._outgoing) and not self.is_broken

    def send(self, packet: bytes) -> None:
        """Send a packet, as far as the kernel takes it now."""
        self._outgoing += _LENGTH.pack(len(packet)) + packet
        self.flush()

    def flush(self) -> None:
        """Write as much of what is left as the kernel takes.

        An error is not told here: the reading side sees it too, after all that came before it (the
        other end may have said why it is gone).
        """
        try:
            while self.has_more:
                sent = self.socket.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.is_broken = True

    def receive(self) -> tuple[list[bytes], bool]:
        """The packets that have come, and whether the connection has ended behind them.

        Raises:
            ValueError: What comes is no stream of packets.
        """
        ended = False
        try:
            while True:
                data = self.socket.recv(_READ_BYTES)
                if not data:
                    ended = True
                    break
                self._incoming += data
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        return self._packets(), ended

    def put_back(self, packets: list[bytes]) -> None:
        """Let the next `receive` give these packets again, first."""
        self._put_back = packets

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _packets(self) -> list[bytes]:
        """The whole packets among what has come."""
        packets, self._put_back = self._put_back, []
        while len(self._incoming) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._incoming)
            if length > self.max_packet_bytes:
                raise ValueError(f"a packet of {length} bytes")
            end = _LENGTH.size + length
            if len(self._incoming) < end:
                break
            packets.append(bytes(self._incoming[_LENGTH.size : end]))
            del self._incoming[:end]
        return packets


_OPEN: weakref.WeakSet[Link] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked process (a loader's worker) must not hold on to connections that aren't its own.

    They would stay open when this rank is killed, and nobody would notice its death.
    """
    for link in _OPEN:
        link.close()


os.register_at_fork(after_in_child=_close_in_child)
