import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exastorm.parallel.control.tree import Tree


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 9))
def test_every_rank_hangs_below_its_parent_once(num_ranks, radix):
    tree = Tree(num_ranks=num_ranks, radix=radix)
    seen = [0]
    for rank in range(num_ranks):
        children = tree.children(rank)
        assert len(children) <= (radix or num_ranks)
        assert all(tree.parent(child) == rank for child in children)
        seen += children
        # A subtree is its root and its children's subtrees, one after the other.
        below = [rank, *(r for child in children for r in tree.subtree(child))]
        assert below == list(tree.subtree(rank))
    assert sorted(seen) == list(range(num_ranks))


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 9))
def test_depth_and_height_are_those_of_the_longest_way(num_ranks, radix):
    tree = Tree(num_ranks=num_ranks, radix=radix)
    assert tree.depth == 1 + max(tree.level(rank) for rank in range(num_ranks)) == tree.height(0)
    for rank in range(num_ranks):
        assert tree.height(rank) == 1 + max(map(tree.height, tree.children(rank)), default=0)


@pytest.mark.parametrize(("radix", "depth"), [(2, 15), (4, 9), (8, 6)])
def test_depth_on_summit(radix, depth):
    # 27,360 ranks as in the paper. A full tree of n levels holds (r^n - 1) / (r - 1) ranks:
    # r = 2: 16,383 with 14 levels, 32,767 with 15; r = 4: 21,845 with 8, 87,381 with 9;
    # r = 8: 4,681 with 5, 37,449 with 6.
    assert Tree(num_ranks=27_360, radix=radix).depth == depth


def test_first_of_each_range_is_its_root_and_the_rest_is_cut_evenly():
    # Seven ranks, radix 2: 0 over (1 2 3) and (4 5 6); 1 over 2 and 3; 4 over 5 and 6.
    # Eight: seven below the root make ranges of 4 and 3.
    seven, eight = Tree(num_ranks=7, radix=2), Tree(num_ranks=8, radix=2)
    assert [seven.children(rank) for rank in (0, 1, 4)] == [(1, 4), (2, 3), (5, 6)]
    assert [list(eight.subtree(child)) for child in eight.children(0)] == [[1, 2, 3, 4], [5, 6, 7]]
    assert seven.parent(0) is None


@pytest.mark.parametrize("radix", [0, 6, 100])
def test_flat_tree(radix):
    tree = Tree(num_ranks=7, radix=radix)
    assert tree.children(0) == (1, 2, 3, 4, 5, 6)
    assert tree.depth == 2


def test_lone_rank():
    tree = Tree(num_ranks=1, radix=4)
    assert (tree.depth, tree.children(0), tree.parent(0)) == (1, (), None)


def test_mistakes():
    with pytest.raises(ValueError, match="num_ranks must be at least 1, got 0"):
        Tree(num_ranks=0, radix=4)
    with pytest.raises(ValueError, match="radix must be 0"):
        Tree(num_ranks=3, radix=-1)
    with pytest.raises(ValueError, match="rank must be from 0 to 2, got 3"):
        Tree(num_ranks=3, radix=2).parent(3)
