"""Where a process sits, on any placement, and places that cannot be."""

import dataclasses

import pytest

from exastorm.parallel.world import World

BLOCKS = (0, 0, 0, 1, 1, 1)
ROUND_ROBIN = (0, 1, 0, 1, 0, 1)
UNEVEN = (0, 0, 0, 1, 1, 2)  # 3 + 2 + 1


def test_one_process_is_a_world():
    world = World.single()
    assert (world.rank, world.num_ranks, world.node, world.num_nodes) == (0, 1, 0, 1)
    assert (world.rank_of_node, world.ranks_per_node) == (0, 1)
    assert world.is_first
    assert world.is_leader
    assert world.is_even


@pytest.mark.parametrize(
    ("placement", "rank", "node", "rank_of_node", "ranks_per_node", "is_leader", "peers"),
    [
        (BLOCKS, 4, 1, 1, 3, False, (3, 4, 5)),
        (BLOCKS, 3, 1, 0, 3, True, (3, 4, 5)),
        (ROUND_ROBIN, 4, 0, 2, 3, False, (0, 2, 4)),
        (ROUND_ROBIN, 1, 1, 0, 3, True, (1, 3, 5)),
        (UNEVEN, 4, 1, 1, 2, False, (3, 4)),
        (UNEVEN, 5, 2, 0, 1, True, (5,)),
    ],
)
def test_place_of_a_rank(placement, rank, node, rank_of_node, ranks_per_node, is_leader, peers):
    world = World(rank=rank, placement=placement)
    assert world.num_ranks == 6
    assert (world.node, world.rank_of_node) == (node, rank_of_node)
    assert (world.ranks_per_node, world.is_leader) == (ranks_per_node, is_leader)
    assert world.ranks_of(node) == peers
    assert not world.is_first


def test_nodes_share_out_the_ranks():
    for placement, num_nodes, is_even in ((BLOCKS, 2, True), (UNEVEN, 3, False)):
        world = World(rank=0, placement=placement)
        assert (world.num_nodes, world.is_even) == (num_nodes, is_even)
        ranks = [rank for node in range(num_nodes) for rank in world.ranks_of(node)]
        assert sorted(ranks) == list(range(6))


def test_a_world_of_summit():
    # 4560 nodes of 6 (Kurth et al. 2018: 27,360 GPUs): the last rank is the sixth of the last node.
    world = World(rank=27_359, placement=tuple(r // 6 for r in range(27_360)))
    assert (world.num_nodes, world.node, world.rank_of_node) == (4560, 4559, 5)
    assert world.ranks_of(4559) == tuple(range(27_354, 27_360))


def test_a_world_stays_as_it_is():
    with pytest.raises(dataclasses.FrozenInstanceError):
        World.single().rank = 1


@pytest.mark.parametrize(
    ("rank", "placement", "message"),
    [
        (6, BLOCKS, "rank must be from 0 to 5, got 6"),
        (-1, BLOCKS, "rank must be from 0 to 5, got -1"),
        (0, (), "placement must hold at least one rank"),
        (0, (1, 0), r"as they first appear .rank 0 from 0 to 0., got node 1"),
        (0, (0, 2), r"as they first appear .rank 1 from 0 to 1., got node 2"),
        (0, (0, -1), "got node -1"),
    ],
)
def test_places_that_cannot_be(rank, placement, message):
    with pytest.raises(ValueError, match=message):
        World(rank=rank, placement=placement)


@pytest.mark.parametrize("node", [-1, 2])
def test_nodes_that_are_not(node):
    with pytest.raises(ValueError, match=f"node must be from 0 to 1, got {node}"):
        World(rank=0, placement=BLOCKS).ranks_of(node)
