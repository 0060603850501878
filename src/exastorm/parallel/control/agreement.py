"""How all ranks agree, over a tree, on what is ready, what to do next, and who is missing.

This is the protocol, as the state machine of one member (one rank). It reads no socket and no
clock of its own: it takes messages and local events, and gives packets to send. `control` runs it
on sockets, `performance.control_model` runs it in a simulation of 27,360 ranks.

Members sit in a `Tree`: each talks to its parent and at most `radix` children, and to nobody else.
Channels between neighbors are reliable and keep their order (TCP).

**Readiness** (`readiness`, `rounds`). In each step every rank submits the same buckets, 0 to
num_buckets - 1, in its own order. A bucket may be reduced when all ranks have submitted it, and all
must reduce in the same order.
- Up: `Ready`. A member passes a bucket on when it has submitted it itself and all its children have
  passed it on; so it is ready in the whole subtree.
- Down: `Release`. The root puts the buckets that are ready everywhere in one order; that goes down
  the tree as it is, and each rank reduces in that order.
- So for each bucket a rank receives at most one `Ready` from each of its radix children and one
  `Release` from its parent: radix + 1 messages, and it sends as many. What comes together leaves in
  one packet, and a rank sends `Ready` at most once in `batch_s`: so there are fewer.
- `finish(step)` submits what a rank has not submitted (a branch not taken: its gradients are
  zeros). So every rank submits everything sooner or later, in every step, and nothing deadlocks.

**Cached order** (`static_order`). Once every rank has submitted its buckets in the same order in
`confirm_steps` steps in a row (each rank compares with itself; an AND that rides on `Ready` and
`Release`), the last agreed order is the plan, and nobody asks any more: a rank reduces the next
bucket of the plan as soon as it has submitted it itself. Only one message a step goes up, `Done`
("all here went as cached", an AND over the subtree), and one down, `AllDone`.
- All members decide this from what they know of the steps up to two before; no message says so.
- A rank whose own submissions come in another order than in the step before *deviates* (a plan
  can wait for a late bucket and lose its overlap, but never deadlocks, since `finish` fills gaps).
  `Deviate` goes up; the root answers with `Fallback` down; each member stops following the plan and
  says how far anyone in its subtree has followed it (`Frozen`, a maximum). The root then releases
  that beginning of the plan first, because somebody has reduced it, and negotiates the rest. That
  costs at most two messages more up and one more down per neighbor, in that step.

**Votes** (`votes`, `stragglers`). Once a step each rank votes: status bits, the seconds it took, a
fingerprint of its weights. `Tally` goes up, `Outcome` comes down, the same on all ranks: so all
stop, save, or skip at the same step. Leaving the run is a vote too: nobody hangs up while others
talk.

**Stalls** (`stalls`). After `stall_s` of silence the root asks down the tree (`Inquire`, `Reply`)
and names the ranks that are missing, told apart: alive but not ready, or silent. Those who wait say
so upward (`Waiting`) and hear that their parent lives (`Alive`). After `hang_s` the run ends.
A main thread that waits in a collective says so to its own member (`await_others`): that counts as
waiting for the next vote, to which then nobody comes.

**Failure**. A neighbor whose connection ends without a goodbye is dead. Its rank floods the tree
both ways (`Failure`); what a dead inner rank cut off hears it from its own closed connection.
Whoever hears it passes it on once, and says nothing more. Every rank ends with the same line.
"""

from collections.abc import Callable, Sequence
from typing import Any

from exastorm.parallel.control.messages import (
    Alive,
    AllDone,
    Deviate,
    Done,
    Failure,
    Fallback,
    Frozen,
    Inquire,
    Message,
    Outcome,
    Ready,
    Release,
    Reply,
    Tally,
    Waiting,
)
from exastorm.parallel.control.readiness import Readiness
from exastorm.parallel.control.seat import Clock, Seat
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.stalls import Report, StallSearch
from exastorm.parallel.control.tree import Tree
from exastorm.parallel.control.votes import LEAVE, Fingerprint, Votes


def _say_nothing(line: str) -> None:
    """Report to nobody."""


class Member:
    """One rank's part in the agreement.

    After each call, what `take()` gives has to be sent. The caller calls `tick()` at the latest at
    `next_tick()`.

    Args:
        rank: This rank.
        tree: The tree over all ranks.
        num_buckets: Buckets of each step, the same on all ranks.
        settings: The same on all ranks.
        clock: Tells the time in seconds.
        report: Takes a line for the user; called on rank 0 (on its children if rank 0 is silent).
    """

    def __init__(
        self,
        rank: int,
        tree: Tree,
        num_buckets: int,
        settings: ControlSettings,
        clock: Clock,
        report: Report = _say_nothing,
    ) -> None:
        self.seat = Seat(rank, tree, settings, clock)
        self.readiness = Readiness(self.seat, num_buckets)
        self.votes = Votes(self.seat)
        self.stalls = StallSearch(self.seat, self.readiness, self.votes, report)

    @property
    def failure(self) -> Failure | None:
        """Why the run ended, None while it goes on."""
        return self.seat.failure

    @property
    def is_over(self) -> bool:
        """True once all ranks have left."""
        return LEAVE in self.votes.outcomes

    def submit(self, step: int, bucket: int) -> None:
        """A bucket is ready here; ValueError if it cannot come now."""
        if self.failure is None:
            self.readiness.submit(step, bucket)

    def finish(self, step: int) -> None:
        """All buckets of a step count as ready here, submitted or not."""
        if self.failure is None:
            self.readiness.finish(step)

    def vote(
        self,
        step: int,
        bits: int = 0,
        seconds: float = 0.0,
        fingerprint: Fingerprint | None = None,
        number: float = 0.0,
    ) -> None:
        """Vote on a step; ValueError for a step out of order."""
        if self.failure is None:
            self.votes.vote(step, bits, seconds, fingerprint, number)

    def leave(self) -> None:
        """This rank has nothing more to say."""
        if self.failure is None:
            self.votes.leave()

    def await_others(self) -> None:
        """The main thread waits for others in something that is agreed on elsewhere."""
        self.votes.await_others()

    def go_on(self) -> None:
        """It waits no longer."""
        self.votes.go_on()

    def fail(self, line: str, ranks: tuple[int, ...], *, is_told: bool = False) -> None:
        """End the run on all ranks; `is_told` where this one tells the user why."""
        self.seat.fail(line, ranks, is_told=is_told)

    def lose(self, rank: int) -> None:
        """The connection to a neighbor has ended."""
        if not self.is_over:
            self.seat.fail(f"rank {rank} died: its connection was closed", (rank,))

    def receive(self, sender: int, packet: Sequence[Message]) -> None:
        """Take in what a neighbor says."""
        for message in packet:
            if self.failure is not None:
                return
            _HANDLERS[type(message)](self, sender, message)

    def take(self) -> dict[int, list[Message]]:
        """What is to be sent now: for each neighbor one packet. It counts as sent."""
        return self.seat.take()

    def tick(self) -> None:
        """Do what the passing of time asks for."""
        if self.failure is None:
            self.stalls.tick()

    def forgive(self) -> None:
        """Call in place of a `tick` that comes much too late: silence counts from now on."""
        self.stalls.forgive()

    def next_tick(self) -> float | None:
        """When `tick` and `take` must be called at the latest, None if time changes nothing."""
        if self.failure is not None:
            return None
        times = (self.seat.ready_due(), self.stalls.next_tick())
        return min((time for time in times if time is not None), default=None)


_HANDLERS: dict[type, Callable[[Member, int, Any], None]] = {
    Ready: lambda member, sender, message: member.readiness.on_ready(sender, message),
    Release: lambda member, sender, message: member.readiness.on_release(message),
    Done: lambda member, sender, message: member.readiness.on_done(sender, message),
    AllDone: lambda member, sender, message: member.readiness.on_all_done(message),
    Deviate: lambda member, sender, message: member.readiness.on_deviate(sender, message),
    Fallback: lambda member, sender, message: member.readiness.on_fallback(message),
    Frozen: lambda member, sender, message: member.readiness.on_frozen(sender, message),
    Tally: lambda member, sender, message: member.votes.on_tally(sender, message),
    Outcome: lambda member, sender, message: member.votes.on_outcome(message),
    Waiting: lambda member, sender, message: member.stalls.on_waiting(sender, message),
    Alive: lambda member, sender, message: member.stalls.on_alive(),
    Inquire: lambda member, sender, message: member.stalls.on_inquire(message),
    Reply: lambda member, sender, message: member.stalls.on_reply(sender, message),
    Failure: lambda member, sender, message: member.seat.fail(
        message.line, message.ranks, sender, is_told=message.is_told
    ),
}
