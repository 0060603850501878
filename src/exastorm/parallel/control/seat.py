"""One rank's seat in the control tree: its neighbors, its clock, and the mail it has to send.

Mail leaves in packets, one for each neighbor, when the owner of the seat asks for it. Ready and
released buckets wait here in between, so that what comes together leaves together. The order in
which things were said to a neighbor is kept: the protocol counts on it.
"""

import math
from collections.abc import Callable, Iterator

from exastorm.parallel.control.messages import Failure, Message, Ready, Release
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.tree import Tree

Clock = Callable[[], float]
"""Seconds, from whatever beginning; never goes back."""


Batch = tuple[list[int], bool]
"""Buckets of one step, and whether it has gone as the step before, as of the last of them."""


class Seat:
    """Where a rank sits and what it has to say.

    Attributes:
        rank: This rank.
        tree: The tree it sits in.
        settings: The run's settings.
        clock: Tells the time.
        parent: The rank above, None at the root.
        children: The ranks directly below, in ascending order.
        child_number: Place of each child among the children.
        failure: Why the run ended, None while it goes on.
        next_ready_s: Before this time no packet goes up only because buckets are ready.
    """

    def __init__(self, rank: int, tree: Tree, settings: ControlSettings, clock: Clock) -> None:
        self.rank = rank
        self.tree = tree
        self.settings = settings
        self.clock = clock
        self.parent = tree.parent(rank)
        self.children = tree.children(rank)
        self.child_number = {child: number for number, child in enumerate(self.children)}
        self.failure: Failure | None = None
        self._mail: dict[int, list[Message]] = {}
        self._ready: dict[int, Batch] = {}
        self._released: dict[int, Batch] = {}
        self.next_ready_s = -math.inf

    @property
    def is_root(self) -> bool:
        """True for rank 0."""
        return self.parent is None

    def send(self, rank: int, message: Message) -> None:
        """Say something to a neighbor, after all that was said to it before."""
        if rank == self.parent:
            self._pack_ready()
        else:
            self._pack_released()
        self._mail.setdefault(rank, []).append(message)

    def send_up(self, message: Message) -> None:
        """Say something to the parent; not for the root."""
        assert self.parent is not None
        self.send(self.parent, message)

    def send_down(self, message: Message) -> None:
        """Say something to all children."""
        for child in self.children:
            self.send(child, message)

    def queue_ready(self, step: int, bucket: int, as_before: bool) -> None:
        """Tell the parent that a bucket is ready, in the next packet that may carry it."""
        _add(self._ready, step, bucket, as_before)

    def queue_released(self, step: int, bucket: int, as_before: bool) -> None:
        """Tell all children that a bucket is released, in the next packet."""
        if self.children:
            _add(self._released, step, bucket, as_before)

    def fail(
        self,
        line: str,
        ranks: tuple[int, ...],
        heard_from: int | None = None,
        *,
        is_told: bool = False,
    ) -> None:
        """End the run: say why to all neighbors but the one who said it, and nothing else."""
        if self.failure is not None:
            return
        self.failure = Failure(line, ranks, is_told)
        self._mail.clear()
        self._ready.clear()
        self._released.clear()
        neighbors = self.children if self.parent is None else (self.parent, *self.children)
        for neighbor in neighbors:
            if neighbor != heard_from:
                self._mail[neighbor] = [self.failure]

    def take(self) -> dict[int, list[Message]]:
        """What is to be sent now: for each neighbor one packet. It counts as sent."""
        if not self._mail and not self._ready and not self._released:
            return {}
        if self._released:
            self._pack_released()
        if self._ready and (self.parent in self._mail or self.clock() >= self.next_ready_s):
            self._pack_ready()
        mail, self._mail = self._mail, {}
        return mail

    def ready_due(self) -> float | None:
        """When the buckets that are held back may leave, None if there are none."""
        return self.next_ready_s if self._ready else None

    def _pack_ready(self) -> None:
        if self._ready and self.parent is not None:
            packet = self._mail.setdefault(self.parent, [])
            packet += [Ready(*batch) for batch in _batches(self._ready)]
            self._ready = {}
            self.next_ready_s = self.clock() + self.settings.batch_s

    def _pack_released(self) -> None:
        if self._released:
            parts = [Release(*batch) for batch in _batches(self._released)]
            self._released = {}
            for child in self.children:
                self._mail.setdefault(child, []).extend(parts)


def _add(batches: dict[int, Batch], step: int, bucket: int, as_before: bool) -> None:
    buckets = batches[step][0] if step in batches else []
    buckets.append(bucket)
    batches[step] = buckets, as_before


def _batches(batches: dict[int, Batch]) -> Iterator[tuple[int, tuple[int, ...], bool]]:
    for step, (buckets, as_before) in batches.items():
        yield step, tuple(buckets), as_before
