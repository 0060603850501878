"""What ranks of the control tree say to one another, and how it looks on the wire.

A packet is what one rank sends to one neighbor at once: a list of messages. On the wire it is JSON,
`[[kind, field, ...], ...]`: readable in a trace, and unlike a pickle it cannot run anything.
"""

import json
from collections.abc import Sequence
from enum import IntFlag
from typing import Any, NamedTuple, get_args


class Status(IntFlag):
    """What a rank can vote; a bit is set in the outcome if any rank set it.

    The tree passes on any bits. What else ranks must do alike needs none: a loss or gradient that
    is not finite is in the sums of all, and checkpoints are due at the same steps.
    """

    NONE = 0
    STOP = 1
    """Leave the loop after this step."""


class Difference(NamedTuple):
    """The first rank whose fingerprint is unlike rank 0's, and where in the fingerprint."""

    rank: int
    position: int


class Culprit(NamedTuple):
    """A rank for which others wait.

    `state` is "silent" (no answer: its process is stopped or its node is lost), "unready" (alive,
    but its main thread has not come so far) or "left" (it has ended, others go on). `missing` holds
    the first few of its `num_missing` buckets.
    """

    rank: int
    state: str
    missing: tuple[int, ...]
    num_missing: int


# Upward.
class Ready(NamedTuple):
    """These buckets are ready on the sender and on all below it."""

    step: int
    buckets: tuple[int, ...]
    as_before: bool
    """So far each of these ranks has gone as in the step before."""


class Done(NamedTuple):
    """The sender and all below it went through the step as cached."""

    step: int


class Deviate(NamedTuple):
    """A rank among the sender and those below it does not go as cached."""

    step: int


class Frozen(NamedTuple):
    """The sender and all below it stopped following the cached order, at most so far into it."""

    step: int
    position: int


class Tally(NamedTuple):
    """The votes of a subtree on a step, added up."""

    step: int
    bits: int
    num_ranks: int
    total_s: float
    total_squares_s2: float
    slowest: tuple[tuple[float, int], ...]
    """(seconds, rank), slowest first."""
    fingerprint: tuple[int, ...] | None
    """That of the subtree's first rank."""
    different: tuple[int, int] | None
    """First rank of the subtree that is unlike its first, and first position in which it is."""
    number: float = 0.0
    """That of the subtree's first rank."""


class Waiting(NamedTuple):
    """The sender has waited long for this; wants a sign of life too."""

    kind: str
    step: int


class Reply(NamedTuple):
    """Whom the sender and those below it wait for."""

    inquiry: int
    culprits: tuple[Culprit, ...]
    num_more: int


# Downward.
class Release(NamedTuple):
    """The next buckets in the agreed order of a step."""

    step: int
    buckets: tuple[int, ...]
    as_before: bool
    """So far all ranks have gone as in the step before."""


class AllDone(NamedTuple):
    """All ranks went through the step as cached."""

    step: int


class Fallback(NamedTuple):
    """Somebody left the cached order: stop following it, negotiate the rest of this step."""

    step: int


class Outcome(NamedTuple):
    """What all ranks together voted on a step."""

    step: int
    bits: int
    num_ranks: int
    mean_s: float
    sd_s: float
    slowest: tuple[tuple[float, int], ...]
    """(seconds, rank), slowest first."""
    different: Difference | None
    """The first rank whose fingerprint is unlike rank 0's, None if all are equal."""
    number: float = 0.0
    """Rank 0's, for all to go by."""

    @property
    def status(self) -> Status:
        """The bits that any rank set."""
        return Status(self.bits)


class Alive(NamedTuple):
    """The sign of life that was asked for."""


class Inquire(NamedTuple):
    """Whom are you waiting for?"""

    inquiry: int
    kind: str
    step: int


# Both ways.
class Failure(NamedTuple):
    """The run ends, everywhere, for this reason."""

    line: str
    ranks: tuple[int, ...]
    is_told: bool = False
    """The rank at which it began tells the user."""


Message = (
    Ready | Done | Deviate | Frozen | Tally | Waiting | Reply
    | Release | AllDone | Fallback | Outcome | Alive | Inquire | Failure
)  # fmt: skip
KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Message)}


def num_messages(packet: Sequence[Message]) -> int:
    """Messages in a packet if each bucket were told of by itself, as by Horovod's coordinator."""
    return sum(
        len(message.buckets) if isinstance(message, Ready | Release) else 1 for message in packet
    )


def encode(packet: Sequence[Message]) -> bytes:
    """A packet as bytes."""
    parts = [[type(message).__name__, *message] for message in packet]
    return json.dumps(parts, separators=(",", ":")).encode()


def decode(data: bytes) -> list[Message]:
    """The packet that bytes hold.

    Raises:
        ValueError: The bytes are no packet.
    """
    try:
        return [_message(KINDS[kind], fields) for kind, *fields in json.loads(data)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a packet of the control plane: {error!r}") from None


def _message(kind: Any, fields: list[Any]) -> Any:
    """One message with its tuples, of which JSON makes lists."""
    message = kind(*map(_tuples, fields))
    if kind is Outcome and message.different is not None:
        return message._replace(different=Difference(*message.different))
    if kind is Reply:
        return message._replace(culprits=tuple(Culprit(*one) for one in message.culprits))
    return message


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
