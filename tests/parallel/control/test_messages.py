import pytest

from exastorm.parallel.control import messages
from exastorm.parallel.control.messages import (
    KINDS,
    Alive,
    AllDone,
    Culprit,
    Deviate,
    Difference,
    Done,
    Failure,
    Fallback,
    Frozen,
    Inquire,
    Outcome,
    Ready,
    Release,
    Reply,
    Tally,
    Waiting,
    decode,
    encode,
    num_messages,
)

PACKET = [
    Ready(1, (2, 3), True),
    Done(1),
    Deviate(2),
    Frozen(2, 3),
    Tally(5, 3, 7, 1.5, 2.25, ((1.0, 4), (0.5, 2)), (2**63, 17), (4, 1)),
    Tally(5, 0, 1, 0.1, 0.01, ((0.1, 4),), None, None),
    Waiting("votes", -1),
    Reply(4, (Culprit(3, "unready", (1, 2), 5), Culprit(9, "silent", (), 0)), 2),
    Release(1, (), False),
    AllDone(3),
    Fallback(4),
    Outcome(5, 9, 7, 0.1 + 0.2, 1e-300, ((1.0, 4),), Difference(4, 1)),
    Outcome(5, 9, 7, 0.0, 0.0, (), None),
    Alive(),
    Inquire(3, "buckets", 8),
    Failure("rank 3 died: its connection was “closed”", (3,)),
]


def test_every_kind_comes_back_as_it_was():
    assert {type(message) for message in PACKET} == set(KINDS.values())
    back = decode(encode(PACKET))
    assert back == PACKET
    assert [type(message) for message in back] == [type(message) for message in PACKET]
    assert back[11].different.rank == 4
    assert back[7].culprits[0].num_missing == 5


def test_all_kinds_are_known_by_their_name():
    classes = {
        name
        for name, value in vars(messages).items()
        if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
    }
    assert classes - {"Culprit", "Difference"} == set(KINDS)


@pytest.mark.parametrize("data", [b"", b"{}!", b'[["Nothing"]]', b'[["Done"]]', b"[1]", b"\xff"])
def test_what_is_no_packet(data):
    with pytest.raises(ValueError, match="not a packet of the control plane"):
        decode(data)


def test_each_bucket_counts_as_a_message():
    # 3 buckets ready, 2 released, and one word for a whole step.
    packet = [Ready(4, (0, 5, 2), True), Release(3, (1, 2), False), Done(2)]
    assert num_messages(packet) == 3 + 2 + 1
    assert num_messages([]) == 0
