"""One line that says who keeps the others waiting."""

from collections.abc import Sequence

from exastorm.parallel.control.messages import Culprit
from exastorm.parallel.control.votes import LEAVE

BUCKETS, VOTES = "buckets", "votes"
"""What can be waited for."""


def describe(
    kind: str, step: int, culprits: Sequence[Culprit], num_more: int, waited_s: float
) -> str:
    """Who is missing, and why, in one line.

    Args:
        kind: `BUCKETS` or `VOTES`.
        step: What everybody waits for.
        culprits: Those who are named.
        num_more: How many more there are.
        waited_s: How long the others have waited.
    """
    what = "the end of the run" if step == LEAVE else f"step {step}"
    parts = [_one(kind, step, culprit) for culprit in culprits]
    if num_more:
        parts.append(f"and {num_more} more ranks")
    return f"{what} has waited {waited_s:g} s for {'; '.join(parts)}"


def _one(kind: str, step: int, culprit: Culprit) -> str:
    """One rank and what is wrong with it."""
    if culprit.state == "silent":
        return (
            f"rank {culprit.rank} (gives no answer: its process is stopped, "
            "or its node or link is lost)"
        )
    if culprit.state == "left":
        return f"rank {culprit.rank} (has ended its run, others go on)"
    if kind == VOTES:
        wanted = "has not ended its run" if step == LEAVE else "has not voted"
    else:
        named = ", ".join(map(str, culprit.missing))
        more = culprit.num_missing - len(culprit.missing)
        wanted = f"has not submitted bucket {named}" + (f" and {more} more" if more else "")
    return f"rank {culprit.rank} (alive, but {wanted})"
