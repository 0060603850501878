"""Once a step every rank votes, and all get the same outcome.

A member waits for the votes of all its children's subtrees, adds its own and passes one tally up;
what the root has then comes down. Bits are OR-ed. Of the seconds the slowest few are kept, with
count, sum and sum of squares for mean and spread. Of a number, as the time on its clock, rank 0's
reaches all, who would part if they went by their own. Fingerprints (of the weights, say) are
compared on the way: a subtree is a range of ranks that begins at its root, so the first rank unlike
rank 0 is found from each subtree's first fingerprint and its first rank unlike that one.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from exastorm.parallel.control.messages import Difference, Outcome, Tally
from exastorm.parallel.control.seat import Seat
from exastorm.parallel.control.stragglers import StragglerTable

LEAVE = -1
"""The step that is no step: a vote on it says that the rank has nothing more to say."""
NUM_KEPT = 100
"""Outcomes that are kept for the caller; it is seldom more than a step behind."""

Fingerprint = tuple[int, ...]


class Poll:
    """The votes on one step, until all are there."""

    __slots__ = ("since", "tallies")

    def __init__(self) -> None:
        self.since = 0.0  # when something last came
        self.tallies: dict[int, Tally] = {}  # of this rank and its children


class Votes:
    """One member's part in the votes.

    Attributes:
        outcomes: The last outcomes, by step.
        stragglers: At the root, who was late.
    """

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.outcomes: dict[int, Outcome] = {}
        settings = seat.settings
        self.stragglers = StragglerTable(settings.straggler_steps, settings.late_share)
        self.last_voted: int | None = None
        self.has_left = False
        self._num_awaiting = 0
        self._polls: dict[int, Poll] = {}

    def vote(
        self, step: int, bits: int, seconds: float, fingerprint: Fingerprint | None, number: float
    ) -> None:
        """This rank votes.

        Raises:
            ValueError: It has voted on this step or a later one, seconds are no time, or the number
                is none.
        """
        if step < 0 or (self.last_voted is not None and step <= self.last_voted):
            raise ValueError(
                f"votes must be on one step after the other, got step {step} "
                f"after step {self.last_voted}"
            )
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds must be finite and not negative, got {seconds}")
        if not math.isfinite(number):
            raise ValueError(f"number must be finite, got {number}")
        self.last_voted = step
        # Who waited before that has gone on; nobody votes on those steps any more.
        self._keep(lambda one, poll: one > step or one == LEAVE or bool(poll.tallies))
        self._vote(step, bits, seconds, fingerprint, number)

    def leave(self) -> None:
        """This rank has nothing more to say; the outcome comes when no rank has."""
        if not self.has_left:
            self.has_left = True
            self._vote(LEAVE, 0, 0.0, None, 0.0)

    def await_others(self) -> None:
        """This rank waits for others, elsewhere, before it can vote again."""
        self._num_awaiting += 1
        poll = self._polls.setdefault(self._next_step(), Poll())
        if not poll.tallies:
            poll.since = self.seat.clock()

    def go_on(self) -> None:
        """It does so no longer: until somebody votes, silence means nothing."""
        self._num_awaiting -= 1
        poll = self._polls.get(self._next_step())
        if poll is not None and not poll.tallies and self._num_awaiting == 0:
            del self._polls[self._next_step()]

    def on_tally(self, child: int, message: Tally) -> None:
        """The votes of a child's whole subtree."""
        self._add(child, message)

    def on_outcome(self, message: Outcome) -> None:
        """The outcome comes from the root."""
        self.seat.send_down(message)
        done = message.step
        # All have voted on it, so none votes on a step before; after the last goodbye on none.
        self._keep(lambda one, poll: done != LEAVE and (one > done or one == LEAVE))
        self.outcomes[message.step] = message
        while len(self.outcomes) > NUM_KEPT:
            del self.outcomes[next(iter(self.outcomes))]

    def oldest(self) -> tuple[float, int] | None:
        """Since when nothing has come for the first poll that is open, and its step."""
        if not self._polls:
            return None
        step = min(self._polls, key=lambda one: math.inf if one == LEAVE else one)
        return self._polls[step].since, step

    def touch(self, step: int, since: float) -> None:
        """A rank below waits, or waited a moment ago, for an outcome with no vote here so far."""
        has_left = step == LEAVE and LEAVE in self.outcomes
        if not has_left and not self._is_past(step) and step not in self._polls:
            self._polls[step] = Poll()
            self._polls[step].since = since

    def drop(self, step: int) -> None:
        """Nobody waits for an outcome any more."""
        self._polls.pop(step, None)

    def forgive(self) -> None:
        """Count silence from now on."""
        for poll in self._polls.values():
            poll.since = self.seat.clock()

    def own_missing(self, step: int) -> bool:
        """True if this rank has still to vote, and does not itself wait for others."""
        poll = self._polls.get(step)
        if self._num_awaiting:
            return False
        return step not in self.outcomes and (poll is None or self.seat.rank not in poll.tallies)

    def children_missing(self, step: int) -> list[int]:
        """Children whose subtrees have not all voted."""
        if step in self.outcomes:
            return []
        poll = self._polls.get(step)
        return [c for c in self.seat.children if poll is None or c not in poll.tallies]

    def _keep(self, is_open: Callable[[int, Poll], bool]) -> None:
        """Drop all other polls."""
        self._polls = {step: poll for step, poll in self._polls.items() if is_open(step, poll)}

    def _is_past(self, step: int) -> bool:
        """True for a step on which this rank has voted, or never will."""
        return step != LEAVE and self.last_voted is not None and step <= self.last_voted

    def _next_step(self) -> int:
        """On which this rank votes next, or any before that; the same on ranks in step."""
        return 0 if self.last_voted is None else self.last_voted + 1

    def _vote(
        self, step: int, bits: int, seconds: float, fingerprint: Fingerprint | None, number: float
    ) -> None:
        slowest = ((seconds, self.seat.rank),)
        tally = Tally(step, bits, 1, seconds, seconds**2, slowest, fingerprint, None, number)
        self._add(self.seat.rank, tally)

    def _add(self, rank: int, tally: Tally) -> None:
        poll = self._polls.setdefault(tally.step, Poll())
        poll.since = self.seat.clock()
        poll.tallies[rank] = tally
        if len(poll.tallies) < 1 + len(self.seat.children):
            return
        # This rank is the lowest of its subtree, then come its children's subtrees in order.
        ranks = (self.seat.rank, *self.seat.children)
        merged = merge(ranks, [poll.tallies[r] for r in ranks], self.seat.settings.num_slowest)
        if not self.seat.is_root:
            self.seat.send_up(merged)
            return
        outcome = conclude(merged)
        if outcome.step != LEAVE:
            self.stragglers.record(outcome)
        self.on_outcome(outcome)


def merge(ranks: Sequence[int], tallies: Sequence[Tally], num_slowest: int) -> Tally:
    """The tallies of neighboring ranges of ranks as one.

    Args:
        ranks: The first rank of each range, ascending.
        tallies: That of each range.
        num_slowest: How many of the slowest are kept.
    """
    bits = 0
    for tally in tallies:
        bits |= tally.bits
    slowest = sorted((one for tally in tallies for one in tally.slowest), key=_slowest_first)
    return Tally(
        tallies[0].step,
        bits,
        sum(tally.num_ranks for tally in tallies),
        math.fsum(tally.total_s for tally in tallies),
        math.fsum(tally.total_squares_s2 for tally in tallies),
        tuple(slowest[:num_slowest]),
        tallies[0].fingerprint,
        _first_different(ranks, tallies),
        tallies[0].number,
    )


def conclude(tally: Tally) -> Outcome:
    """What all ranks voted together, from the tally of all."""
    mean_s = tally.total_s / tally.num_ranks
    variance_s2 = max(tally.total_squares_s2 / tally.num_ranks - mean_s**2, 0.0)
    different = None if tally.different is None else Difference(*tally.different)
    return Outcome(
        tally.step,
        tally.bits,
        tally.num_ranks,
        mean_s,
        math.sqrt(variance_s2),
        tally.slowest,
        different,
        tally.number,
    )


def _slowest_first(one: tuple[float, int]) -> tuple[float, int]:
    seconds, rank = one
    return -seconds, rank


def _first_different(ranks: Iterable[int], tallies: Sequence[Tally]) -> tuple[int, int] | None:
    """The first rank whose fingerprint is unlike the first one, and where it differs."""
    first = tallies[0].fingerprint
    for rank, tally in zip(ranks, tallies, strict=True):
        if tally.fingerprint != first:
            pairs = zip_longest(first or (), tally.fingerprint or ())
            return rank, next((n for n, (a, b) in enumerate(pairs) if a != b), 0)
        if tally.different is not None:
            return tally.different
    return None
