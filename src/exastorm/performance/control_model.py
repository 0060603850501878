"""What the control tree costs at any number of ranks: a discrete-event simulation of the real code.

Each rank is a `Member` of `exastorm.parallel.control.agreement`, the same state machine that runs
on sockets. Here a packet takes `latency_s` from one rank to another, and a rank spends `handling_s`
on each packet it receives or sends, one after the other. A rank takes in all packets that have
arrived before it answers, as the thread on real sockets does, so ranks that are busy send fewer,
larger packets.

What must come out, for P ranks, radix r, B buckets, L levels (`Tree.depth`), a = `latency_s` and
m = `handling_s`, and is tested:

- negotiated, every bucket by itself: B (P - 1) packets up and as many down; a rank with c children
  receives B (c + 1) and sends B (c + 1), at most B (r + 1); the root of the flat tree receives
  B (P - 1) and sends as many.
- cached order: P - 1 packets up and P - 1 down, whatever B is.
- One bucket, submitted by all at once, in a full tree: a level costs, upward, a send, the way and r
  receipts, and downward, r sends, the way and a receipt:

      agreement takes 2 (L - 1) (a + (r + 1) m)

  and in the flat tree, where L = 2 and r = P - 1, 2 (a + P m).
"""

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.parallel.control.agreement import Member
from exastorm.parallel.control.messages import num_messages
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.tree import Tree


@dataclass(frozen=True, kw_only=True)
class ControlCosts:
    """What the simulated machine and training step are like."""

    latency_s: float = 5e-6
    """From one rank's send to the other's receipt; 5 us is our assumption for Summit's network
    (an InfiniBand message takes 1 to 2 us, the rest is software)."""

    handling_s: float = 1e-6
    """A rank's time for each packet it receives or sends: a million packets a second, as a compiled
    coordinator may reach (one in Python handled 0.06 to 0.16 million a second when measured)."""

    step_s: float = 0.1
    """Time over which backward submits the buckets, evenly."""

    jitter_s: float = 0.001
    """Standard deviation of a rank's delay in a step."""

    seed: int = 0
    """Of the delays and of the orders."""

    def __post_init__(self) -> None:
        for name in ("latency_s", "handling_s", "step_s", "jitter_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ControlTraffic:
    """What one step of the control plane took.

    Attributes:
        num_ranks: Ranks.
        radix: Of the tree, 0 for flat.
        depth: Levels of the tree.
        num_buckets: Buckets.
        mean_received: Packets that a rank receives, mean over ranks.
        max_received: The most that any rank receives.
        root_received: What rank 0 receives.
        root_sent: What rank 0 sends.
        max_sent: The most that any rank sends.
        root_heard: Messages that rank 0 receives, each bucket by itself: a packet holds many.
        root_said: Messages that rank 0 sends.
        max_heard: The most messages that any rank receives.
        max_said: The most messages that any rank sends.
        max_handled: The most packets that any rank receives and sends.
        agreement_s: From the last rank's last submission until all ranks know all of the order.
        busiest_s: Time that the busiest rank spends on packets.
    """

    num_ranks: int
    radix: int
    depth: int
    num_buckets: int
    mean_received: float
    max_received: int
    root_received: int
    root_sent: int
    max_sent: int
    root_heard: int
    root_said: int
    max_heard: int
    max_said: int
    max_handled: int
    agreement_s: float
    busiest_s: float


class ControlSimulation:
    """All ranks of a run, and the packets between them.

    Args:
        num_ranks: Ranks.
        num_buckets: Buckets (or tensors) of each step.
        settings: Of the control plane; its clock is the simulated one.
        costs: Of the machine and the step.
        is_shuffled: Each rank submits in an order of its own, drawn anew in each step.
        keeps_order: That order is drawn only once, so it can be cached.
    """

    def __init__(
        self,
        num_ranks: int,
        num_buckets: int,
        settings: ControlSettings,
        costs: ControlCosts,
        *,
        is_shuffled: bool = False,
        keeps_order: bool = False,
    ) -> None:
        self.now = 0.0
        self.tree = Tree(num_ranks=num_ranks, radix=settings.radix)
        self._costs = costs
        self._num_buckets = num_buckets
        self._is_shuffled = is_shuffled
        self._keeps_order = keeps_order
        self._random = np.random.default_rng(costs.seed)

        def clock() -> float:
            return self.now

        self._members = [
            Member(rank, self.tree, num_buckets, settings, clock) for rank in range(num_ranks)
        ]
        self._inboxes: list[deque[tuple[int, Any]]] = [deque() for _ in range(num_ranks)]
        self._free_at = [0.0] * num_ranks
        self._is_waking = [False] * num_ranks
        self._events: list[tuple[float, int, int, Any]] = []
        self._ticket = count()  # events at the same time keep their order
        self._received: NDArray[np.int64] = np.zeros(num_ranks, np.int64)
        self._sent: NDArray[np.int64] = np.zeros(num_ranks, np.int64)
        self._heard: NDArray[np.int64] = np.zeros(num_ranks, np.int64)
        self._said: NDArray[np.int64] = np.zeros(num_ranks, np.int64)
        self._step = -1
        self._starts: list[float] = []
        self._offsets: list[float] = np.linspace(0.0, costs.step_s, num_buckets).tolist()
        self._orders = [list(range(num_buckets))] * num_ranks
        self._num_submitted = [0] * num_ranks
        self._wakes = [-1.0] * num_ranks

    def run_step(self) -> ControlTraffic:
        """Simulate the next step, from the first submission until nobody has anything to say."""
        self._step += 1
        for counter in (self._received, self._sent, self._heard, self._said):
            counter[:] = 0
        last_submitted = self._plan_submissions()
        self._run()
        agreed_at = self.now
        for member in self._members:
            order = member.readiness.released.pop(self._step)
            assert len(order) == self._num_buckets
        return self._traffic(agreed_at - last_submitted)

    def _plan_submissions(self) -> float:
        """Draw when each rank submits what; the time of the last one."""
        costs, num_ranks = self._costs, len(self._members)
        start = max(self.now, max(self._free_at))
        delays = costs.jitter_s * np.abs(self._random.standard_normal(num_ranks))
        self._starts = (start + delays).tolist()
        self._num_submitted = [0] * num_ranks
        for rank in range(num_ranks):
            if self._is_shuffled and not (self._keeps_order and self._step):
                self._orders[rank] = self._random.permutation(self._num_buckets).tolist()
            self._wake(self._starts[rank] + self._offsets[0], rank)
        return max(self._starts) + self._offsets[-1]

    def _run(self) -> None:
        """Handle events until there are none."""
        events = self._events
        while events:
            self.now, _, rank, arrived = heapq.heappop(events)
            if arrived is not None:
                self._inboxes[rank].append(arrived)
            if self._free_at[rank] > self.now:
                if not self._is_waking[rank]:
                    self._is_waking[rank] = True
                    self._wake(self._free_at[rank], rank)
                continue
            self._is_waking[rank] = False
            self._work(rank)
        self.now = max(self.now, max(self._free_at))

    def _work(self, rank: int) -> None:
        """A rank takes in what has come, submits what is due, and sends what follows."""
        member, inbox, costs = self._members[rank], self._inboxes[rank], self._costs
        busy_until = self.now + costs.handling_s * len(inbox)
        self._received[rank] += len(inbox)
        while inbox:
            sender, packet = inbox.popleft()
            self._heard[rank] += num_messages(packet)
            member.receive(sender, packet)
        self._submit_due(rank)
        mail = member.take()
        self._wake_for_next(rank)
        for neighbor, packet in mail.items():
            self._said[rank] += num_messages(packet)
            busy_until += costs.handling_s
            arrives = busy_until + costs.latency_s
            heapq.heappush(self._events, (arrives, next(self._ticket), neighbor, (rank, packet)))
        self._sent[rank] += len(mail)
        self._free_at[rank] = busy_until

    def _submit_due(self, rank: int) -> None:
        """Submit the buckets whose time has come."""
        place, order = self._num_submitted[rank], self._orders[rank]
        start, offsets, member = self._starts[rank], self._offsets, self._members[rank]
        while place < len(order) and start + offsets[place] <= self.now:
            member.submit(self._step, order[place])
            place += 1
        self._num_submitted[rank] = place

    def _wake_for_next(self, rank: int) -> None:
        """Come back when the next bucket is ready, or those held back may leave.

        What is ready while nothing may be said upward changes nothing, and is submitted when it
        may: an event saved.
        """
        seat, place = self._members[rank].seat, self._num_submitted[rank]
        ready_due = seat.ready_due()
        if ready_due is not None:
            wake = ready_due
        elif place < self._num_buckets:
            due = self._starts[rank] + self._offsets[place]
            wake = due if seat.is_root else max(due, seat.next_ready_s)
        else:
            return
        if wake != self._wakes[rank]:
            self._wakes[rank] = wake
            self._wake(wake, rank)

    def _wake(self, time_s: float, rank: int) -> None:
        heapq.heappush(self._events, (time_s, next(self._ticket), rank, None))

    def _traffic(self, agreement_s: float) -> ControlTraffic:
        handled = self._received + self._sent
        return ControlTraffic(
            num_ranks=len(self._members),
            radix=self.tree.radix,
            depth=self.tree.depth,
            num_buckets=self._num_buckets,
            mean_received=float(self._received.mean()),
            max_received=int(self._received.max()),
            root_received=int(self._received[0]),
            root_sent=int(self._sent[0]),
            max_sent=int(self._sent.max()),
            root_heard=int(self._heard[0]),
            root_said=int(self._said[0]),
            max_heard=int(self._heard.max()),
            max_said=int(self._said.max()),
            max_handled=int(handled.max()),
            agreement_s=agreement_s,
            busiest_s=float(handled.max()) * self._costs.handling_s,
        )


def negotiated_and_cached(
    num_ranks: int, num_buckets: int, radix: int, costs: ControlCosts, batch_s: float = 0.002
) -> tuple[ControlTraffic, ControlTraffic]:
    """What a negotiated step takes, and what one with a cached order.

    Each rank submits in an order of its own, which it keeps.
    """
    settings = ControlSettings(radix=radix, batch_s=batch_s, confirm_steps=1)
    run = ControlSimulation(
        num_ranks, num_buckets, settings, costs, is_shuffled=True, keeps_order=True
    )
    # One order suffices to be cached, from the third step on.
    negotiated, _, cached = (run.run_step() for _ in range(3))
    return negotiated, cached
