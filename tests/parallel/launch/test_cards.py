"""What follows from what all ranks tell."""

import dataclasses

import pytest

from exastorm.errors import InputError
from exastorm.parallel.launch.cards import Card, Verdict, judge

HERE = Card(host="a", device="cpu", reached="127.0.0.1")
THERE = Card(host="b", device="cpu", reached="10.0.0.1")


def test_ranks_are_placed_by_their_hosts():
    assert judge([HERE, THERE, HERE]).placement == (0, 1, 0)


def test_nodes_may_be_emulated():
    cards = [dataclasses.replace(HERE, ranks_per_node=2)] * 5
    assert judge(cards).placement == (0, 0, 1, 1, 2)


def test_all_use_an_address_that_others_reach():
    # On rank 0's own machine its name means loopback; seen from the other it is 10.0.0.1.
    debian = dataclasses.replace(HERE, reached="127.0.1.1")
    assert judge([HERE, debian, THERE]).address == "10.0.0.1"
    assert judge([HERE, HERE]).address == "127.0.0.1"
    assert judge([dataclasses.replace(HERE, reached="::1")] * 2).address == "::1"


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (
            [HERE, HERE, dataclasses.replace(HERE, ranks_per_node=2)],
            "EXASTORM_RANKS_PER_NODE must be the same on all ranks, got None on rank 0 and 2 on "
            "rank 2",
        ),
        (
            [dataclasses.replace(HERE, device="GPU-1"), THERE],
            "device must be the same on all ranks, got GPU on rank 0 and CPU on rank 1",
        ),
        (
            [dataclasses.replace(HERE, device=f"GPU-{i}") for i in (1, 2, 1)],
            "each rank must have its own GPU, got one for 0 and 2",
        ),
    ],
)
def test_ranks_that_cannot_work_together(cards, message):
    with pytest.raises(InputError, match=message):
        judge(cards)


def test_ranks_with_a_gpu_each():
    assert judge([dataclasses.replace(HERE, device=f"GPU-{i}") for i in (1, 2)]).placement == (0, 0)


@pytest.mark.parametrize("card", [HERE, dataclasses.replace(THERE, ranks_per_node=3)])
def test_cards_come_as_they_were_sent(card):
    assert Card.from_text(card.to_text().encode()) == card


def test_verdicts_come_as_they_were_sent_and_stay_short():
    num_ranks = 27_360
    placements = ((), (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 0))
    blocks = tuple(rank // 6 for rank in range(num_ranks))
    in_turn = tuple(rank % 4560 for rank in range(num_ranks))
    for placement in (*placements, blocks, in_turn):
        verdict = Verdict(placement=placement, address="10.0.0.1", problem="none: é")
        text = verdict.to_text()
        assert Verdict.from_text(text.encode()) == verdict
        # All ranks read it from one store: 27,360 x 1 kB are sent in less than a second.
        assert len(text) < 1000
