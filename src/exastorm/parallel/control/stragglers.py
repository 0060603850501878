"""Who is late, how often and by how much, over the last steps."""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

from exastorm.parallel.control.messages import Outcome


class Straggler(NamedTuple):
    """A rank that was late.

    Attributes:
        rank: The rank.
        num_late: Steps in which it was late.
        num_steps: Steps that were looked at.
        mean_late_s: By how much it was later than the others' mean, in the steps in which it was.
        most_late_s: The same at its worst.
    """

    rank: int
    num_late: int
    num_steps: int
    mean_late_s: float
    most_late_s: float


class StragglerTable:
    """The last steps' slowest ranks.

    Args:
        num_steps: Steps that are remembered.
        late_share: A rank is late if it takes longer than the mean of all others by more than this
            share of it.
    """

    def __init__(self, num_steps: int, late_share: float) -> None:
        self._late_share = late_share
        self._steps: deque[tuple[tuple[int, float], ...]] = deque(maxlen=num_steps)

    def record(self, outcome: Outcome) -> None:
        """Note who was late in one step; of many, only the slowest that the outcome names."""
        late = []
        for seconds, rank in outcome.slowest:
            num_others = max(outcome.num_ranks - 1, 1)
            others_s = (outcome.mean_s * outcome.num_ranks - seconds) / num_others
            if outcome.num_ranks > 1 and seconds > others_s * (1 + self._late_share):
                late.append((rank, seconds - others_s))
        self._steps.append(tuple(late))

    def rows(self) -> tuple[Straggler, ...]:
        """The ranks that were late, most lateness in total first."""
        late_s: dict[int, list[float]] = defaultdict(list)
        for step in self._steps:
            for rank, seconds in step:
                late_s[rank].append(seconds)
        total_s = Counter({rank: sum(seconds) for rank, seconds in late_s.items()})
        rows = []
        for rank, total in total_s.most_common():
            times = late_s[rank]
            rows.append(
                Straggler(rank, len(times), len(self._steps), total / len(times), max(times))
            )
        return tuple(rows)
