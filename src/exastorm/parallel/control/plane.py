"""The control plane of a run: ranks agree, over a tree of connections, beside the step.

`ControlPlane` runs the state machine of `agreement` (read that for the protocol) on a thread of its
own, over TCP. The thread sleeps until a neighbor says something or a time is due: an idle control
plane costs nothing. What the main thread does is worked out, and sent, in the main thread itself.

    with ControlPlane(rank, num_ranks, addresses, settings, num_buckets=7) as control:
        for step in range(num_steps):
            control.submit(step, bucket)  # each bucket, in any order
            control.finish(step)
            for bucket in control.released(step):  # on all ranks in the same order
                reduce(bucket)
            control.vote(step, Status.NONE, seconds=ready_s)
            if control.outcome(step).status & Status.STOP:  # the same on all ranks
                break

A rank that dies, hangs or fails ends the run on all ranks: every call raises the same
`ControlError`. `on_failure` hears of it at once, since the main thread may be stuck in a collective
for ever.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from exastorm.errors import InputError
from exastorm.parallel.control.agreement import Member
from exastorm.parallel.control.courier import Courier
from exastorm.parallel.control.greeting import Addresses, meet
from exastorm.parallel.control.link import Link
from exastorm.parallel.control.messages import Outcome, Status
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.stragglers import Straggler
from exastorm.parallel.control.tree import Tree
from exastorm.parallel.control.votes import Fingerprint
from exastorm.parallel.errors import ControlError


class ControlPlane:
    """This rank's place in the agreement of all ranks.

    Attributes:
        tree: Who talks to whom.
        num_buckets: Buckets of each step.
    """

    def __init__(
        self,
        rank: int,
        num_ranks: int,
        addresses: Addresses | None = None,
        settings: ControlSettings | None = None,
        *,
        num_buckets: int = 0,
        report: Callable[[str], None] | None = None,
        on_failure: Callable[[ControlError], None] | None = None,
    ) -> None:
        """Connect to the neighbors in the tree; returns when all are there.

        Args:
            rank: This rank, from 0.
            num_ranks: All ranks; a lone one needs no addresses and starts no thread.
            addresses: How ranks find one another.
            settings: The same on all ranks.
            num_buckets: Buckets that each rank submits in each step, the same on all ranks.
            report: Takes one line about a stall, in the control thread; called on rank 0, about a
                silent rank 0 on each of its children. An error in it ends the run.
            on_failure: Told why the run ends, in the control thread.

        Raises:
            ControlError: A neighbor is not there in time, or was told otherwise about the run.
        """
        settings = settings or ControlSettings()
        self.num_buckets = num_buckets
        self.tree = Tree(num_ranks=num_ranks, radix=settings.radix)
        self._lines: list[str] = []
        self._report = report
        self._on_failure = on_failure
        self._is_closed = False
        self._is_told = False
        report_line = self._lines.append
        self._member = Member(rank, self.tree, num_buckets, settings, time.monotonic, report_line)
        self._courier = Courier(self._member, self._connect(addresses), self._tell)
        self._news = self._courier.news

    def submit(self, step: int, bucket: int) -> None:
        """A bucket of this rank is ready to be reduced.

        Raises:
            ValueError: A bucket twice, one that there is not, or a step out of order.
            ControlError: The run has to end.
        """
        self._do(lambda: self._member.submit(step, bucket))

    def finish(self, step: int) -> None:
        """Submit what this rank has not submitted in a step: its gradients count as zeros.

        Raises:
            ControlError: The run has to end.
        """
        self._do(lambda: self._member.finish(step))

    def released(self, step: int) -> Iterator[int]:
        """The buckets of a step, each as soon as it may be reduced, in the order all ranks have.

        A step can be read once, and must be, or its order is kept for ever.

        Raises:
            ValueError: The step has been read before.
            ControlError: The run has to end.
        """
        readiness = self._member.readiness
        with self._news:
            if readiness.history.is_complete(step) and step not in readiness.released:
                raise ValueError(f"the order of step {step} has been read")
            order = readiness.released.setdefault(step, [])
        for place in range(self.num_buckets):
            with self._news:
                self._wait_for(lambda place=place: len(order) > place)  # type: ignore[misc]
            yield order[place]
        with self._news:
            readiness.released.pop(step, None)

    def vote(
        self,
        step: int,
        status: Status = Status.NONE,
        *,
        seconds: float = 0.0,
        fingerprint: Fingerprint | None = None,
        number: float = 0.0,
    ) -> None:
        """Say how this step went here; every rank does so once a step.

        Args:
            step: Higher than at the vote before.
            status: What this rank wants.
            seconds: How long it took to be ready, without what it waited for others.
            fingerprint: Of its weights: one hash, or one for each tensor to find which one differs.
            number: That of rank 0 all are told.

        Raises:
            ValueError: A step out of order, seconds that are no time, or a number that is none.
            ControlError: The run has to end.
        """
        self._do(lambda: self._member.vote(step, int(status), seconds, fingerprint, number))

    def outcome(self, step: int) -> Outcome:
        """What all ranks voted on a step together, the same everywhere; waits for it.

        Raises:
            ValueError: This rank has not voted on it, or long ago (only the last are kept).
            ControlError: The run has to end.
        """
        votes = self._member.votes
        with self._news:
            if votes.last_voted is None or step > votes.last_voted:
                raise ValueError(f"this rank has not voted on step {step}")
            self._wait_for(lambda: any(done >= step for done in votes.outcomes))
            if step not in votes.outcomes:
                raise ValueError(f"the outcome of step {step} is not kept any more")
            return votes.outcomes[step]

    def check(self) -> None:
        """Do nothing, unless the run has to end.

        Raises:
            ControlError: The run has to end.
        """
        with self._news:
            self._raise_failure()

    def traffic(self) -> tuple[int, int]:
        """Packets sent and received so far."""
        return self._courier.num_sent, self._courier.num_received

    def messages(self) -> tuple[int, int]:
        """Messages sent and received so far, each bucket by itself; packets hold many."""
        return self._courier.num_said, self._courier.num_heard

    def stragglers(self) -> tuple[Straggler, ...]:
        """Who was late over the last steps, the worst first; on rank 0 (nothing on others)."""
        with self._news:
            return self._member.votes.stragglers.rows()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around whatever waits for other ranks beside the control plane, as a collective does.

        Then silence counts as it does in a vote: a rank that never comes is named. In any thread.
        It raises nothing where the run has to end: what is waited for may be there already.
        """
        with self._news:
            self._member.await_others()
            self._courier.changed()
        try:
            yield
        finally:
            with self._news:
                self._member.go_on()

    def fail(self, reason: str, *, is_told: bool = False) -> None:
        """End the run on all ranks because of this one; `is_told` where it tells the user why."""
        with self._news:
            rank = self._member.seat.rank
            line = " ".join(f"rank {rank} failed: {reason}".split())
            self._member.fail(line, (rank,), is_told=is_told)
            self._courier.changed()

    def close(self) -> None:
        """Leave when all ranks leave.

        Raises:
            ControlError: The run has to end, and no call has said so before.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with self._news:
            self._member.leave()
            self._courier.changed()
            self._news.wait_for(lambda: self._member.is_over or self._member.failure is not None)
        self._courier.close()
        if not self._is_told:
            self._raise_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave; if because of an error, tell all ranks which."""
        if error is not None:
            self._is_told = True
            if not isinstance(error, ControlError):
                # What is wrong with what a rank was given, that rank tells in one line.
                is_told = isinstance(error, InputError | OSError)
                self.fail(f"{type(error).__name__}: {error}", is_told=is_told)
        self.close()

    def _connect(self, addresses: Addresses | None) -> dict[int, Link]:
        """The connections to the neighbors, none for a lone rank."""
        num_ranks = self.tree.num_ranks
        if num_ranks == 1:
            return {}
        if addresses is None:
            raise ValueError("addresses must be given for more than one rank, got None")
        seat = self._member.seat
        facts = {
            "num_ranks": num_ranks,
            "radix": seat.settings.radix,
            "num_buckets": self.num_buckets,
            "confirm_steps": seat.settings.confirm_steps,
        }
        return meet(seat, addresses, facts)

    def _do(self, action: Callable[[], None]) -> None:
        """Change the state machine and send what follows from that."""
        with self._news:
            self._raise_failure()
            action()
            self._courier.changed()
            self._raise_failure()

    def _wait_for(self, happened: Callable[[], bool]) -> None:
        """With the lock held: wait for something or for the end of the run."""
        self._news.wait_for(lambda: happened() or self._member.failure is not None)
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure = self._member.failure
        if failure is not None:
            self._is_told = True
            raise ControlError(failure.line, failure.ranks, is_told=failure.is_told)

    def _tell(self) -> None:
        """On the control thread: pass on what the user should know."""
        failure, on_failure = self._member.failure, self._on_failure
        if failure is not None and on_failure is not None:
            self._on_failure = None
            on_failure(ControlError(failure.line, failure.ranks, is_told=failure.is_told))
        lines = list(self._lines)
        self._lines.clear()  # Before an error in the report, after which the last is told.
        if self._report is not None:
            for line in lines:
                self._report(line)
