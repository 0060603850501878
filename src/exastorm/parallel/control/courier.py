"""Carries packets between the state machine of the control plane and its sockets, on a thread.

Whoever changes the state machine (the main thread, or this one when a packet comes) sends what it
has to say at once. The thread sleeps until a neighbor says something, a time is due, or it is
woken through a pair of sockets because there is now something that it has to do.
"""

import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from exastorm.parallel.control.agreement import Member
from exastorm.parallel.control.link import Link
from exastorm.parallel.control.messages import decode, encode, num_messages

LINGER_S = 5.0
"""How long closing waits until the last words are sent; a live neighbor takes them at once."""


class Courier:
    """Keeps one member in touch with its neighbors.

    Attributes:
        news: Held while the state machine is looked at or changed; notified after each change.
        num_sent: Packets sent so far.
        num_received: Packets received so far.
        num_said: Messages sent so far, each bucket by itself.
        num_heard: Messages received so far, each bucket by itself.
    """

    def __init__(self, member: Member, links: Mapping[int, Link], tell: Callable[[], None]) -> None:
        """Start the thread, if there are neighbors.

        Args:
            member: The state machine.
            links: A connection to each neighbor.
            tell: Called on the thread, `news` not held, after it has changed something.
        """
        self.news = threading.Condition()
        self.num_sent = 0
        self.num_received = 0
        self.num_said = 0
        self.num_heard = 0
        self._member = member
        self._links = links
        self._tell = tell
        self._sleeps_until = math.inf
        self._is_awake = False
        self._has_overslept = False
        self._reply_s = member.seat.settings.reply_s
        self._is_closing = False
        self._writing: set[Link] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="exastorm-control", daemon=True)
        if links:
            self._thread.start()

    def changed(self) -> None:
        """With `news` held: the state machine was changed; send what it has to say."""
        self._send()
        self.news.notify_all()
        if self._is_awake or not self._links:
            return
        next_tick = self._member.next_tick()
        is_sooner = next_tick is not None and next_tick < self._sleeps_until
        if is_sooner or any(link.has_more for link in self._links.values()):
            self._wake()

    def close(self) -> None:
        """Send what is left and hang up."""
        with self.news:
            self._is_closing = True
            self._wake()
        if self._links:
            self._thread.join()
        for link in self._links.values():
            link.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _send(self) -> None:
        for rank, packet in self._member.take().items():
            self._links[rank].send(encode(packet))
            self.num_sent += 1
            self.num_said += num_messages(packet)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # It has been woken often enough.
            self._wake_out.send(b"!")

    def _run(self) -> None:
        """The thread; what stops it ends the run on all ranks, who would wait without a word."""
        try:
            self._serve()
        except Exception as error:
            rank = self._member.seat.rank
            what = f"{type(error).__name__}: {error}"
            line = " ".join(f"rank {rank} failed: its control thread stopped: {what}".split())
            with self.news:
                self._member.fail(line, (rank,))
                self.changed()
            self._tell()

    def _serve(self) -> None:
        """Carry packets until closed."""
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        for link in self._links.values():
            self._selector.register(link.socket, selectors.EVENT_READ, link)
        ready = list(self._links.values())  # Something may have come with the greeting.
        ends_at = math.inf
        while True:
            with self.news:
                self._turn(ready)
                if self._is_closing:
                    ends_at = min(ends_at, time.monotonic() + LINGER_S)
                    if time.monotonic() >= ends_at or not self._writing:
                        return
                wake_at = min(self._sleeps_until, ends_at)
            self._tell()
            timeout_s = None if wake_at == math.inf else max(wake_at - time.monotonic(), 0)
            keys = self._selector.select(timeout_s)
            self._has_overslept = time.monotonic() > wake_at + self._reply_s
            ready = [key.data for key, _ in keys if key.data is not None]

    def _turn(self, ready: Sequence[Link]) -> None:
        """Take in all that has come before looking at the clock: this process may have slept."""
        self._is_awake = True
        with suppress(BlockingIOError):
            self._wake_in.recv(4096)
        for link in ready:
            link.flush()
            self._take_in(link)
        if self._has_overslept:  # The whole job was stopped, and goes on now.
            self._member.forgive()
        self._member.tick()
        self.changed()
        self._watch_for_writing()
        next_tick = self._member.next_tick()
        self._sleeps_until = math.inf if next_tick is None else next_tick
        self._is_awake = False

    def _take_in(self, link: Link) -> None:
        """What a neighbor says, and whether it has hung up."""
        ended = False
        try:
            packets, ended = link.receive()
            for data in packets:
                packet = decode(data)
                self.num_received += 1
                self.num_heard += num_messages(packet)
                self._member.receive(link.rank, packet)
        except ValueError as error:
            self._member.fail(f"rank {link.rank} can't be understood: {error}", (link.rank,))
        if ended:
            self._selector.unregister(link.socket)
            self._writing.discard(link)
            link.is_broken = True
            self._member.lose(link.rank)

    def _watch_for_writing(self) -> None:
        """Wake up when there is room for what the kernel did not take."""
        for link in self._links.values():
            if link.has_more == (link in self._writing) or link.is_broken:
                continue
            write = selectors.EVENT_WRITE if link.has_more else 0
            self._selector.modify(link.socket, selectors.EVENT_READ | write, link)
            (self._writing.add if link.has_more else self._writing.discard)(link)
