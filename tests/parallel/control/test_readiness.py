from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parallel.control.made_members import MadeTree

from exastorm.parallel.control.messages import Deviate


@st.composite
def runs(draw):
    """A tree, and for each of a few steps the buckets that each rank submits, in its own order."""
    num_ranks, num_buckets = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    radix, num_steps = draw(st.integers(0, 4)), draw(st.integers(1, 8))
    static = list(range(num_buckets))
    ranks = []
    for _ in range(num_steps):
        shuffled = st.permutations(static)
        skipping = shuffled.flatmap(lambda o: st.integers(0, len(o)).map(lambda n: o[:n]))
        # Most steps are static, so that orders get cached and then left.
        usual = st.lists(st.just(static), min_size=num_ranks, max_size=num_ranks)
        unusual = st.lists(skipping | st.just(static), min_size=num_ranks, max_size=num_ranks)
        ranks.append(draw(usual | usual | unusual))
    return num_ranks, num_buckets, radix, ranks, draw(st.integers(0, 2**32))


@settings(max_examples=300, deadline=None)
@given(runs())
def test_all_ranks_release_all_buckets_in_one_order(run):
    num_ranks, num_buckets, radix, steps, seed = run
    made = MadeTree(num_ranks, radix, num_buckets, seed=seed, confirm_steps=2)
    for step, orders in enumerate(steps):
        before_in, before_out = list(made.messages_in), list(made.messages_out)
        made.run_step(step, orders)
        released = made.orders(step)
        assert sorted(released[0]) == list(range(num_buckets))
        assert set(released) == {released[0]}
        # A bucket costs a rank at most one message from and to each neighbor; a step that leaves
        # a cached order one Deviate, one Fallback and one Frozen each besides.
        for rank in range(num_ranks):
            num_neighbors = len(made.tree.children(rank)) + (rank > 0)
            limit = num_neighbors * num_buckets + 2 * num_neighbors
            assert made.messages_in[rank] - before_in[rank] <= limit
            assert made.messages_out[rank] - before_out[rank] <= limit
        for member in made.members:
            assert member.failure is None
            assert not member.readiness._rounds, "nothing of a step is kept when it is over"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 14), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32))
def test_a_negotiated_step_costs_one_message_per_neighbor_and_bucket(ranks, radix, buckets, seed):
    made = MadeTree(ranks, radix, buckets, seed=seed)
    orders = [made.random.sample(range(buckets), buckets) for _ in range(ranks)]
    made.run_step(0, orders)
    for rank in range(ranks):
        num_children = len(made.tree.children(rank))
        # Received: Ready from each child and Release from the parent, for each bucket (batched,
        # fewer); so at most (radix + 1) x buckets.
        assert made.messages_in[rank] <= (num_children + (rank > 0)) * buckets
        assert made.messages_in[rank] <= (radix + 1) * buckets


def test_ranks_run_ahead_of_one_another():
    # Lag 1: a rank submits the next step while this one is not over. Rank 6 is three steps late.
    made = MadeTree(7, 2, 3, confirm_steps=1)
    for step in range(4):
        for rank in range(6):
            for bucket in range(3):
                made.members[rank].submit(step, bucket)
            made.settle()
    assert all(not any(orders) for orders in map(made.orders, range(4)))
    for step in range(4):
        for bucket in range(3):
            made.members[6].submit(step, bucket)
            made.settle()
    assert [set(made.orders(step)) for step in range(4)] == [{(0, 1, 2)}] * 4


class TestCachedOrder:
    def steps(self, made, first, num_steps, order=(0, 1, 2, 3, 4)):
        for step in range(first, first + num_steps):
            made.run_step(step, [order] * len(made.members))

    def messages(self, made, step, orders):
        before = list(made.messages_in)
        made.run_step(step, orders)
        return [after - b for after, b in zip(made.messages_in, before, strict=True)]

    @pytest.mark.parametrize("confirm_steps", [1, 2, 3])
    def test_begins_two_steps_after_it_is_confirmed(self, confirm_steps):
        # Steps 0 .. confirm - 1 are equal; what comes two steps after the last of them is cached:
        # one Done from each child and one AllDone from the parent, whatever the number of buckets.
        made = MadeTree(7, 2, confirm_steps=confirm_steps)
        per_step = [self.messages(made, s, [range(5)] * 7) for s in range(confirm_steps + 3)]
        cached = [2, 3, 1, 1, 3, 1, 1]  # seven ranks, radix 2: children and parent of each
        assert [sent == cached for sent in per_step] == [False] * (confirm_steps + 1) + [True] * 2

    def test_a_rank_reduces_without_hearing_from_others(self):
        made = MadeTree(7, 2)
        self.steps(made, 0, 6)
        made.members[5].submit(6, 0)
        made.members[5].submit(6, 1)
        assert made.orders(6)[5] == (0, 1)

    def test_own_static_orders_may_differ(self):
        # Every rank has its own order, in each step the same, and all keep the same pace: nobody
        # deviates from itself. Ranks 0 over 1 and 3, 1 over 2.
        made = MadeTree(4, 2)
        own = [(0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (4, 3, 2, 1, 0), (0, 1, 2, 4, 3)]
        for step in range(6):
            before = list(made.messages_in)
            for place in range(5):
                for member, order in zip(made.members, own, strict=True):
                    member.submit(step, order[place])
                made.settle()
            assert len(set(made.orders(step))) == 1
        assert [n - b for n, b in zip(made.messages_in, before, strict=True)] == [2, 2, 1, 1]

    def test_is_left_when_one_rank_deviates_and_learned_again(self):
        made = MadeTree(7, 2)
        self.steps(made, 0, 6)
        # Ranks 0 to 5 follow the plan as far as bucket 3, then rank 6 begins with bucket 4.
        for rank in range(6):
            for bucket in range(4):
                made.members[rank].submit(6, bucket)
        assert made.orders(6)[:6] == [(0, 1, 2, 3)] * 6
        made.members[6].submit(6, 4)
        made.settle()
        assert made.orders(6)[6] == ()
        made.on_all(lambda member: member.finish(6))
        made.settle()
        # What somebody reduced comes first, in that order.
        assert set(made.orders(6)) == {(0, 1, 2, 3, 4)}
        # Step 7 was decided before, but in it rank 6 goes unlike it went in step 6: it is left too.
        # The orders of 7, 8 and 9 are equal on each rank, so that 11, two steps later, is cached.
        cached = [2, 3, 1, 1, 3, 1, 1]
        per_step = [self.messages(made, s, [range(5)] * 7) == cached for s in range(7, 14)]
        assert per_step == [False] * 4 + [True] * 3

    def test_who_deviates_does_not_claim_to_have_gone_as_cached(self):
        made = MadeTree(3, 2)
        self.steps(made, 0, 6)
        for bucket in (4, 3, 2, 1, 0):
            made.members[2].submit(6, bucket)
        assert made.members[2].take() == {0: [Deviate(6)]}

    def test_a_rank_that_skips_the_same_bucket_always_does_not_deviate(self):
        made = MadeTree(7, 2)
        orders = [range(5)] * 6 + [(0, 2, 3, 4)]
        for step in range(20):
            messages = self.messages(made, step, orders)
        assert messages == [2, 3, 1, 1, 3, 1, 1]


def test_buckets_that_come_together_travel_together():
    # A burst of 20 buckets on 3 ranks: with batch_s a leaf sends its first one at once, the others
    # in one packet when the time has come.
    alone, together = (MadeTree(3, 2, 20, batch_s=batch_s) for batch_s in (0.0, 0.002))
    for made in (alone, together):
        for bucket in range(20):
            made.on_all(lambda member, b=bucket: member.submit(0, b))
            made.settle()
        made.run_until(1.0)
        assert set(made.orders(0)) == {tuple(range(20))}
    assert alone.packets == 20 * 4  # 2 up, 2 down for each bucket
    assert together.packets == 2 * 4


class TestMistakes:
    def test_own(self):
        made = MadeTree(2, 2, 3)
        rank = made.members[1]
        rank.submit(5, 0)
        with pytest.raises(ValueError, match="bucket 0 of step 5 is submitted twice"):
            rank.submit(5, 0)
        with pytest.raises(ValueError, match="bucket must be from 0 to 2, got 3"):
            rank.submit(5, 3)
        with pytest.raises(ValueError, match="got step 6 in step 5 with 1 of 3 buckets"):
            rank.submit(6, 0)
        rank.finish(5)
        with pytest.raises(ValueError, match="one after the other, got step 7"):
            rank.submit(7, 0)

    @pytest.mark.parametrize("first", [[4, 9], [9, 4], [4, 5]])
    def test_ranks_that_begin_at_different_steps(self, first):
        # As after a resume from different checkpoints: noticed with the first message, both ways.
        made = MadeTree(2, 2, 3)
        for member, step in zip(made.members, first, strict=True):
            member.submit(step, 0)
        made.settle()
        for member in made.members:
            assert "must begin at the same step" in member.failure.line
            assert str(first[1]) in member.failure.line


def test_nothing_here_loads_torch():
    folder = Path(__file__).parents[3] / "src" / "exastorm" / "parallel" / "control"
    for name in ("agreement", "readiness", "rounds", "seat", "stalls", "static_order", "votes"):
        assert "torch" not in (folder / f"{name}.py").read_text(encoding="utf-8")
