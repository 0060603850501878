"""How the neighbors of the control tree find one another, and keep strangers out.

A rank with children opens a port and publishes its address with a random token; each child looks
that up, connects and says the token, who it is and what it was told of the run. A wrong token (a
stranger, a rank of another run that had this address before) is hung up on; a wrong belief about
the run is answered with the reason. The port is closed when all children are there.
"""

import hmac
import json
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exastorm.parallel.control.link import MAX_PACKET_BYTES, Link
from exastorm.parallel.control.messages import Failure, encode
from exastorm.parallel.control.seat import Seat
from exastorm.parallel.errors import ControlError

PROTOCOL = "exastorm control 1"
_MAX_GREETING_BYTES = 4096
_RETRY_S = 0.1
_FAILED = "failed: "
_BACKLOG = 1024


@dataclass(frozen=True)
class Addresses:
    """How ranks find one another: two functions, such as a store's set and get.

    Attributes:
        publish: Takes a rank and its address (text), for others to look up; a second one replaces
            the first.
        lookup: Takes a rank and gives its address, waiting until it is published; raises a
            TimeoutError if that takes longer than ranks may take to connect.
        host: The name or address under which other ranks reach this one.
    """

    publish: Callable[[int, str], None]
    lookup: Callable[[int], str]
    host: str = "127.0.0.1"


def meet(seat: Seat, addresses: Addresses, facts: Mapping[str, int]) -> dict[int, Link]:
    """Connect to all neighbors in the tree.

    Args:
        seat: Where this rank sits.
        addresses: Where the others are.
        facts: What all ranks must believe about the run, by name.

    Returns:
        The connection to each neighbor.

    Raises:
        ControlError: A neighbor is not there in time, or believes otherwise.
    """
    deadline = time.monotonic() + seat.settings.connect_s
    links: dict[int, Link] = {}
    token = secrets.token_hex(16)
    listener = _listen(addresses.host) if seat.children else None
    try:
        if listener is not None:
            port = listener.getsockname()[1]
            addresses.publish(seat.rank, f"{addresses.host} {port} {token}")
        if seat.parent is not None:
            links[seat.parent] = _join(seat, addresses, facts, deadline)
        if listener is not None:
            _gather(_Door(seat, token, facts, links), listener, deadline)
    except ControlError as error:
        for link in links.values():
            link.send(encode([Failure(str(error), error.ranks)]))
            link.close()
        if listener is not None:  # For children that come later.
            addresses.publish(seat.rank, f"{_FAILED}{error}")
        raise
    finally:
        if listener is not None:
            listener.close()
    return links


def _listen(host: str) -> socket.socket:
    family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, 0), family=family, backlog=_BACKLOG)


def _join(seat: Seat, addresses: Addresses, facts: Mapping[str, int], deadline: float) -> Link:
    """Connect to the parent and greet it."""
    parent = seat.parent
    assert parent is not None
    connection, token = _connect(parent, addresses, deadline)
    link = Link(connection, parent)
    link.send(json.dumps([PROTOCOL, token, seat.rank, dict(facts)]).encode())
    try:
        answer = _wait_for_packet(link, deadline)
    except ControlError:
        link.close()
        raise
    if answer != "welcome":
        link.close()
        raise ControlError(answer, (seat.rank,))
    return link


def _connect(rank: int, addresses: Addresses, deadline: float) -> tuple[socket.socket, str]:
    """A connection to a rank, and the token it published."""
    while True:
        try:
            address = addresses.lookup(rank)
        except TimeoutError:
            raise ControlError(f"rank {rank} did not say where it is in time", (rank,)) from None
        if address.startswith(_FAILED):
            raise ControlError(address.removeprefix(_FAILED))
        host, port, token = address.split()
        try:
            left_s = max(deadline - time.monotonic(), _RETRY_S)
            return socket.create_connection((host, int(port)), timeout=left_s), token
        except OSError as error:
            if time.monotonic() + _RETRY_S > deadline:
                raise ControlError(
                    f"rank {rank} can't be reached at {host} port {port} ({error})", (rank,)
                ) from None
            time.sleep(_RETRY_S)


def _wait_for_packet(link: Link, deadline: float) -> str:
    """The parent's answer to the greeting."""
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        while selector.select(max(deadline - time.monotonic(), 0)):
            packets, ended = link.receive()
            if packets:
                link.put_back(packets[1:])
                return str(json.loads(packets[0]))
            if ended:
                raise ControlError(
                    f"rank {link.rank} hung up: is its address that of this run?", (link.rank,)
                )
    raise ControlError(f"rank {link.rank} did not answer in time", (link.rank,))


class _Door:
    """Where children come in."""

    def __init__(
        self, seat: Seat, token: str, facts: Mapping[str, int], links: dict[int, Link]
    ) -> None:
        self.seat = seat
        self._token = token
        self._facts = dict(facts)
        self._links = links

    @property
    def missing(self) -> tuple[int, ...]:
        """Children that have not come yet."""
        return tuple(child for child in self.seat.children if child not in self._links)

    def answer(self, link: Link, greeting: bytes) -> bool:
        """Let a child in, or not; True if it is in."""
        try:
            protocol, token, rank, facts = json.loads(greeting)
            is_ours = protocol == PROTOCOL and hmac.compare_digest(str(token), self._token)
        except (ValueError, TypeError):
            return False
        if not is_ours or rank not in self.missing:
            return False
        if facts != self._facts:
            told = ", ".join(f"{name} {facts.get(name)}" for name in self._facts)
            here = ", ".join(f"{name} {value}" for name, value in self._facts.items())
            # The same line on both ends, and through them everywhere.
            line = (
                f"all ranks must be told the same of the run: rank {rank} was told {told}, "
                f"rank {self.seat.rank} {here}"
            )
            link.send(json.dumps(line).encode())
            raise ControlError(line, (rank,))
        link.rank = rank
        link.max_packet_bytes = MAX_PACKET_BYTES
        self._links[rank] = link
        link.send(json.dumps("welcome").encode())
        return True


def _gather(door: _Door, listener: socket.socket, deadline: float) -> None:
    """Take in all children; whoever else knocks is left outside."""
    listener.setblocking(False)
    knocking: set[Link] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while door.missing:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                ranks = ", ".join(map(str, door.missing))
                raise ControlError(f"rank {ranks} did not connect in time", door.missing)
            for key, _ in selector.select(left_s):
                if key.data is None:
                    _let_knock(listener, selector, knocking)
                elif _hear(door, key.data):
                    selector.unregister(key.fileobj)
                    knocking.discard(key.data)
    for link in knocking:
        link.close()


def _let_knock(
    listener: socket.socket, selector: selectors.BaseSelector, knocking: set[Link]
) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return  # It went away before it was let in.
    link = Link(connection)
    link.max_packet_bytes = _MAX_GREETING_BYTES
    selector.register(connection, selectors.EVENT_READ, link)
    knocking.add(link)


def _hear(door: _Door, link: Link) -> bool:
    """What somebody at the door says; True when it has been dealt with."""
    try:
        packets, ended = link.receive()
    except ValueError:
        packets, ended = [], True
    if packets and door.answer(link, packets[0]):
        return True
    if packets or ended:
        link.close()
        return True
    return False
