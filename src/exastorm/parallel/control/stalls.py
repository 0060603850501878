"""Whom is everybody waiting for? One member's part in the search for missing ranks.

Each member notes when something last came for the first step that is not complete. After `stall_s`
of silence
- the root begins an inquiry: it asks each child whose subtree has not told all, which asks its own
  such children, and so on. A member answers with itself, if its own main thread has not come so
  far, and with what its children answer. A child that gives no answer in time is named as silent;
  the deeper a member, the shorter it waits, so that its parent still hears from it.
- any other member says upward that it waits. That reaches the root also where no subtree is whole
  and the root knows of nothing; and it asks for a sign of life from the parent, since nobody asks a
  silent parent from below, and nobody at all a silent root.
What was found is reported in one line, on rank 0. A silent rank 0 is reported by each of its
children: the first sits on its node, and may be lost with it. After `hang_s` of silence what was
found ends the run.
"""

import math
from collections.abc import Callable, Iterable

from exastorm.parallel.control.messages import Alive, Culprit, Inquire, Reply, Waiting
from exastorm.parallel.control.readiness import Readiness
from exastorm.parallel.control.seat import Seat
from exastorm.parallel.control.stall_report import BUCKETS, VOTES, describe
from exastorm.parallel.control.votes import Votes

NUM_NAMED = 16
"""Culprits that are named; more than a line holds are only counted."""
NUM_NAMED_BUCKETS = 4
"""Buckets that are named for one culprit."""

Report = Callable[[str], None]


class Inquiry:
    """What a member wants to know: whom is it and all below it waiting for."""

    def __init__(self, number: int, kind: str, step: int) -> None:
        self.number = number
        self.kind = kind
        self.step = step
        self.waited_s = 0.0  # until it began
        self.is_last = False  # what it finds ends the run
        self.deadlines: dict[int, float] = {}  # of the children that have still to answer
        self.culprits: list[Culprit] = []
        self.num_more = 0

    def add(self, culprits: Iterable[Culprit], num_more: int = 0) -> None:
        """More culprits were found."""
        self.culprits += culprits
        self.num_more += num_more + max(len(self.culprits) - NUM_NAMED, 0)
        del self.culprits[NUM_NAMED:]


class StallSearch:
    """One member's watch over silence.

    Args:
        seat: Where it sits.
        readiness: What it knows of buckets.
        votes: What it knows of votes.
        report: Takes one line for the user.
    """

    def __init__(self, seat: Seat, readiness: Readiness, votes: Votes, report: Report) -> None:
        self.seat = seat
        self._parts: dict[str, Readiness | Votes] = {BUCKETS: readiness, VOTES: votes}
        self._readiness = readiness
        self._votes = votes
        self._report = report
        self._num_ranks = seat.tree.num_ranks
        self._asked_at: float | None = None
        self._asked_parent: Inquiry | None = None
        self._parent_deadline = math.inf
        self._inquiry: Inquiry | None = None
        self._num_inquiries = 0

    def tick(self) -> None:
        """Do what is due."""
        now = self.seat.clock()
        self._give_up_on_children(now)
        oldest = self._oldest()
        if oldest is None:
            self._asked_parent = self._asked_at = None
            return
        if self._asked_parent is not None and now >= self._parent_deadline:
            self._find_parent_silent(self._asked_parent)
        since, kind, step = oldest
        if now >= self._due(since) and self._inquiry is None:
            self._asked_at = now
            self._num_inquiries += 1
            inquiry = Inquiry(self._num_inquiries, kind, step)
            inquiry.waited_s = now - since
            inquiry.is_last = now >= since + self.seat.settings.hang_s
            if self.seat.is_root:
                self._inquire(inquiry)
            else:
                self.seat.send_up(Waiting(kind, step))
                self._asked_parent = inquiry
                self._parent_deadline = now + self.seat.settings.reply_s

    def next_tick(self) -> float | None:
        """When there is something to do at the latest, None if nothing is waited for."""
        times = list(self._inquiry.deadlines.values()) if self._inquiry is not None else []
        if self._asked_parent is not None:
            times.append(self._parent_deadline)
        oldest = self._oldest()
        if oldest is not None and self._inquiry is None:
            times.append(self._due(oldest[0]))
        return min(times, default=None)

    def forgive(self) -> None:
        """Count silence from now on: this rank itself was asleep, and blames nobody for that."""
        self._inquiry = self._asked_parent = self._asked_at = None
        for part in self._parts.values():
            part.forgive()

    def on_waiting(self, child: int, message: Waiting) -> None:
        """A child waits, and wants to know if this rank is alive."""
        self.seat.send(child, Alive())
        now = self.seat.clock()
        self._parts[message.kind].touch(message.step, now - self.seat.settings.stall_s)
        self.tick()

    def on_alive(self) -> None:
        """The parent gives a sign of life."""
        self._asked_parent = None

    def on_inquire(self, message: Inquire) -> None:
        """The parent wants to know whom this subtree waits for."""
        self._inquire(Inquiry(message.inquiry, message.kind, message.step))

    def on_reply(self, child: int, message: Reply) -> None:
        """A child tells whom its subtree waits for."""
        inquiry = self._inquiry
        if inquiry is None or inquiry.number != message.inquiry or child not in inquiry.deadlines:
            return
        del inquiry.deadlines[child]
        inquiry.add(message.culprits, message.num_more)
        self._check_inquiry(inquiry)

    def _oldest(self) -> tuple[float, str, int] | None:
        """Since when nothing has come for what waits longest, its kind and its step."""
        found = [(kind, part.oldest()) for kind, part in self._parts.items()]
        return min(((one[0], kind, one[1]) for kind, one in found if one), default=None)

    def _due(self, since: float) -> float:
        """When to ask (again), if nothing comes after `since`."""
        settings = self.seat.settings
        stall, hang = since + settings.stall_s, since + settings.hang_s
        if self._asked_at is None or self._asked_at < stall:
            return stall
        again = self._asked_at + settings.stall_s
        return min(again, hang) if self._asked_at < hang else again

    def _inquire(self, inquiry: Inquiry) -> None:
        """Ask all below that have not told all; what is asked later replaces it."""
        seat, kind, step = self.seat, inquiry.kind, inquiry.step
        self._inquiry = inquiry
        own = self._own_part(kind, step)
        if own is not None:
            inquiry.add([own])
        for child in self._parts[kind].children_missing(step):
            seat.send(child, Inquire(inquiry.number, kind, step))
            patience_s = seat.settings.reply_s * seat.tree.height(child)
            inquiry.deadlines[child] = seat.clock() + patience_s
        self._check_inquiry(inquiry)

    def _own_part(self, kind: str, step: int) -> Culprit | None:
        """This rank, if others wait for its main thread."""
        missing = self._readiness.own_missing(step) if kind == BUCKETS else []
        if not missing and not (kind == VOTES and self._votes.own_missing(step)):
            return None
        state = "left" if self._votes.has_left else "unready"
        return Culprit(self.seat.rank, state, tuple(missing[:NUM_NAMED_BUCKETS]), len(missing))

    def _give_up_on_children(self, now: float) -> None:
        """Children that should have answered by now are silent."""
        inquiry = self._inquiry
        if inquiry is None:
            return
        silent = [child for child, deadline in inquiry.deadlines.items() if now >= deadline]
        for child in silent:
            del inquiry.deadlines[child]
        inquiry.add(Culprit(child, "silent", (), 0) for child in silent)
        if silent:
            self._check_inquiry(inquiry)

    def _check_inquiry(self, inquiry: Inquiry) -> None:
        """Pass on what was found once all children have answered."""
        if inquiry.deadlines:
            return
        self._inquiry = None
        if not self.seat.is_root:
            culprits = tuple(inquiry.culprits)
            self.seat.send_up(Reply(inquiry.number, culprits, inquiry.num_more))
            return
        oldest = self._oldest()
        if oldest is None or oldest[1:] != (inquiry.kind, inquiry.step):
            return  # It came in the meantime.
        self._found(inquiry)

    def _found(self, inquiry: Inquiry) -> None:
        """Report the culprits, or end the run because of them."""
        if not inquiry.culprits:
            return
        if inquiry.kind == VOTES and len(inquiry.culprits) + inquiry.num_more == self._num_ranks:
            self._votes.drop(inquiry.step)  # Who said that it waits has gone on.
            return
        culprits = sorted(inquiry.culprits)
        # On the last time all ranks must say the same, whenever exactly each of them asked.
        waited_s = self.seat.settings.hang_s if inquiry.is_last else round(inquiry.waited_s, 1)
        line = describe(inquiry.kind, inquiry.step, culprits, inquiry.num_more, waited_s)
        if inquiry.is_last:
            self.seat.fail(line, tuple(culprit.rank for culprit in culprits))
        else:
            self._report(line)

    def _find_parent_silent(self, inquiry: Inquiry) -> None:
        """Nobody else may notice a silent rank 0, and nobody else tells those below this rank."""
        parent = self.seat.parent
        assert parent is not None
        self._asked_parent = None
        inquiry.add([Culprit(parent, "silent", (), 0)])
        if inquiry.is_last or parent == 0:
            self._found(inquiry)
