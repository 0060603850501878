"""Which bucket may be reduced next: negotiated up and down the tree, or in a cached order.

This is one member's part of the protocol that `agreement` describes. Members agree on one thing,
for each step: the order in which the buckets are released. Every member, also the root, learns
it from the same sequence of messages, so whatever is computed from that alone (here: whether a step
starts with a cached order) is the same everywhere without another word.
"""

from collections import deque

from exastorm.parallel.control.messages import (
    AllDone,
    Deviate,
    Done,
    Fallback,
    Frozen,
    Ready,
    Release,
)
from exastorm.parallel.control.own_steps import OwnSteps
from exastorm.parallel.control.rounds import Round
from exastorm.parallel.control.seat import Seat
from exastorm.parallel.control.static_order import StaticOrder


class Readiness:
    """One member's part in the agreement on the order of buckets.

    Attributes:
        released: For each step, the buckets that this rank may reduce so far, in order. The caller
            removes a step when it needs it no more.
        own: What this rank has submitted.
        history: The orders agreed so far.
    """

    def __init__(self, seat: Seat, num_buckets: int) -> None:
        self.seat = seat
        self.num_buckets = num_buckets
        self.released: dict[int, list[int]] = {}
        self.own = OwnSteps(num_buckets)
        self.history = StaticOrder(seat.settings.confirm_steps)
        self._num_needed = 1 + len(seat.children)
        self._rounds: dict[int, Round] = {}
        self._heard_of: set[int] = set()
        self._held: deque[tuple[int, int, bool]] = deque()

    # What this rank does.

    def submit(self, step: int, bucket: int) -> None:
        """A bucket of this rank is ready.

        Raises:
            ValueError: A bucket or step that cannot come now.
        """
        as_before = self.own.submit(step, bucket)
        if self.history.first not in (None, self.own.first):
            self._fail_at_different_steps(self.seat.rank, step)
        elif self.history.is_decided(step):
            self._count_own(self._open(step), bucket, as_before)
        else:
            self._held.append((step, bucket, as_before))

    def finish(self, step: int) -> None:
        """Submit all buckets of a step that were not, in ascending order."""
        for bucket in self.own.missing(step):
            self.submit(step, bucket)

    # What the neighbors say.

    def on_ready(self, child: int, message: Ready) -> None:
        """Buckets are ready in a child's whole subtree."""
        round_ = self._heard(child, message.step)
        if round_ is not None:
            round_.as_before &= message.as_before
            round_.from_child[self.seat.child_number[child]] += len(message.buckets)
            for bucket in message.buckets:
                self._count(round_, bucket)

    def on_release(self, message: Release) -> None:
        """The parent passes on the next buckets in the agreed order."""
        round_ = self._rounds[message.step]
        round_.since = self.seat.clock()
        round_.as_before &= message.as_before
        for bucket in message.buckets:
            self._agree(round_, bucket)

    def on_done(self, child: int, message: Done) -> None:
        """A child's whole subtree went through the step as cached."""
        round_ = self._heard(child, message.step)
        if round_ is not None and round_.plan is not None:
            round_.done[self.seat.child_number[child]] = True
            round_.num_done += 1
            self._check_done(round_)

    def on_all_done(self, message: AllDone) -> None:
        """The step went as cached, everywhere."""
        self.seat.send_down(message)
        self._complete(self._rounds[message.step])

    def on_deviate(self, child: int, message: Deviate) -> None:
        """Somebody below left the cached order."""
        round_ = self._heard(child, message.step)
        if round_ is not None and round_.plan is not None:
            self._deviate(round_)

    def on_fallback(self, message: Fallback) -> None:
        """The rest of the step is negotiated."""
        self._fall_back(self._open(message.step))

    def on_frozen(self, child: int, message: Frozen) -> None:
        """A child's subtree follows the cached order no further."""
        round_ = self._heard(child, message.step)
        if round_ is not None:
            self._freeze(round_, message.position)

    # What the search for missing ranks asks.

    def oldest(self) -> tuple[float, int] | None:
        """Since when nothing has come for the first step that is not complete, and that step."""
        if not self._rounds:
            return None
        step = min(self._rounds)
        return self._rounds[step].since, step

    def touch(self, step: int, since: float) -> None:
        """A rank below waits for a step of which nothing was heard here."""
        if (
            self.history.is_decided(step)
            and not self.history.is_complete(step)
            and step not in self._rounds
        ):
            self._open(step).since = since

    def forgive(self) -> None:
        """Count silence from now on."""
        for round_ in self._rounds.values():
            round_.since = self.seat.clock()

    def own_missing(self, step: int) -> list[int]:
        """Buckets of a step that this rank has not submitted."""
        return [] if self.history.is_complete(step) else self.own.missing(step)

    def children_missing(self, step: int) -> list[int]:
        """Children whose subtrees have not told all."""
        if self.history.is_complete(step):
            return []
        round_ = self._rounds.get(step)
        children = self.seat.children
        return list(children if round_ is None else [children[n] for n in round_.silent_children()])

    # Rounds.

    def _open(self, step: int) -> Round:
        round_ = self._rounds.get(step)
        if round_ is None:
            plan = self.history.begin(step)
            order = self.released.setdefault(step, [])
            mine = bytearray(self.num_buckets)
            round_ = Round(step, len(self.seat.children), order, mine, plan)
            self._rounds[step] = round_
        round_.since = self.seat.clock()
        return round_

    def _heard(self, child: int, step: int) -> Round | None:
        """The round of which a child speaks, None if it is at a step that cannot be."""
        history = self.history
        can_be = history.is_decided(step) and not history.is_complete(step)
        if child not in self._heard_of:
            self._heard_of.add(child)
            can_be = history.first in (None, step)
        if not can_be:
            self._fail_at_different_steps(child, step)
            return None
        return self._open(step)

    def _fail_at_different_steps(self, rank: int, step: int) -> None:
        self.seat.fail(
            f"ranks must begin at the same step: rank {rank} is at step {step}, "
            f"others began at step {self.history.first}",
            (rank,),
        )

    def _complete(self, round_: Round) -> None:
        """The whole order of a step is agreed; submit what had to wait for that."""
        del self._rounds[round_.step]
        self.history.complete(round_.step, tuple(round_.order), round_.as_before)
        while self._held and self.history.is_decided(self._held[0][0]):
            step, bucket, as_before = self._held.popleft()
            self._count_own(self._open(step), bucket, as_before)

    def _count_own(self, round_: Round, bucket: int, as_before: bool) -> None:
        round_.mine[bucket] = 1
        round_.num_mine += 1
        round_.as_before &= as_before
        if round_.plan is None:
            self._count(round_, bucket)
            return
        if not as_before:
            self._deviate(round_)
        if round_.plan is not None:
            self._follow_plan(round_)

    # Negotiation.

    def _count(self, round_: Round, bucket: int) -> None:
        """One more of itself and its children has the bucket ready in its whole subtree."""
        round_.counts[bucket] += 1
        if round_.counts[bucket] < self._num_needed:
            return
        if self.seat.is_root:
            round_.ready.append(bucket)
            self._release_ready(round_)
        else:
            self.seat.queue_ready(round_.step, bucket, round_.as_before)

    def _release_ready(self, round_: Round) -> None:
        """Root: release what is ready everywhere, after what somebody has reduced already."""
        if round_.num_unfrozen:
            return
        required = round_.required
        while round_.num_agreed < len(required):
            bucket = required[round_.num_agreed]
            if round_.counts[bucket] < self._num_needed:
                return
            self._agree(round_, bucket)
        free = [bucket for bucket in round_.ready if bucket not in required]
        round_.ready.clear()
        for bucket in free:
            self._agree(round_, bucket)

    def _agree(self, round_: Round, bucket: int) -> None:
        """The next bucket in the agreed order, for all below and for this rank."""
        self.seat.queue_released(round_.step, bucket, round_.as_before)
        if round_.num_agreed == len(round_.order):
            round_.order.append(bucket)
        round_.num_agreed += 1
        if round_.num_agreed == self.num_buckets:
            self._complete(round_)

    # Cached order.

    def _follow_plan(self, round_: Round) -> None:
        """Release to this rank what it has submitted, as far as the plan has no gap."""
        plan, order = round_.plan, round_.order
        assert plan is not None
        while len(order) < len(plan) and round_.mine[plan[len(order)]]:
            order.append(plan[len(order)])
        self._check_done(round_)

    def _check_done(self, round_: Round) -> None:
        """Say so once this rank and all below have gone through the step as cached."""
        if round_.deviated or round_.num_mine < self.num_buckets:
            return
        if round_.num_done < len(self.seat.children):
            return
        if self.seat.is_root:
            self.seat.send_down(AllDone(round_.step))
            self._complete(round_)
        else:
            self.seat.send_up(Done(round_.step))

    def _deviate(self, round_: Round) -> None:
        if self.seat.is_root:
            self._fall_back(round_)
        elif not round_.deviated:
            round_.deviated = True
            self.seat.send_up(Deviate(round_.step))

    def _fall_back(self, round_: Round) -> None:
        """Follow the plan no further, and negotiate what is left."""
        round_.left_plan, round_.plan = round_.plan, None
        self.seat.send_down(Fallback(round_.step))
        round_.num_unfrozen = self._num_needed
        self._freeze(round_, len(round_.order))
        for bucket in range(self.num_buckets):
            if round_.mine[bucket]:
                self._count(round_, bucket)

    def _freeze(self, round_: Round, position: int) -> None:
        """One more of itself and its children stands still, at most so far into the plan."""
        round_.frozen_position = max(round_.frozen_position, position)
        round_.num_unfrozen -= 1
        if round_.num_unfrozen:
            return
        if self.seat.is_root:
            assert round_.left_plan is not None
            round_.required = round_.left_plan[: round_.frozen_position]
            self._release_ready(round_)
        else:
            self.seat.send_up(Frozen(round_.step, round_.frozen_position))
