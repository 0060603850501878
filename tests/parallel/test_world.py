"""Where a process sits, and places that cannot be."""

import dataclasses

import pytest

from exastorm.parallel.world import World

# Two nodes of three: rank 4 is the second process of the second node (1 x 3 + 1).
FIFTH = World(rank=4, num_ranks=6, node=1, num_nodes=2, rank_of_node=1, ranks_per_node=3)


def test_one_process_is_a_world():
    world = World.single()
    assert (world.rank, world.num_ranks, world.num_nodes, world.ranks_per_node) == (0, 1, 1, 1)
    assert world.is_first
    assert not FIFTH.is_first


def test_a_world_stays_as_it_is():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FIFTH.rank = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_ranks": 5}, r"num_ranks must be num_nodes x ranks_per_node .2 x 3., got 5"),
        ({"rank": 2}, r"rank must be .*= 4.*, got 2"),
        ({"node": 2}, "node must be from 0 to 1, got 2"),
        ({"rank_of_node": 3}, "rank_of_node must be from 0 to 2, got 3"),
        ({"num_nodes": 0}, "must be at least 1, got 0 and 3"),
    ],
)
def test_places_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FIFTH, **change)
