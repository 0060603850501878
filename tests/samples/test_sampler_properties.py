"""What must hold of any plan, shared or local: for all sizes, seeds, places and changes of size."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.samples import sampler
from exastorm.samples.local_sampler import LocalPlan
from exastorm.samples.sampler import SamplePlan, SamplePosition, position_after, resume_at

SUMMIT_NODES, RANKS_PER_NODE, PAPER_SAMPLES = 4560, 6, 63_000
"""The largest run of the paper: 27,360 ranks."""

seeds = st.integers(0, 2**63 - 1)
tails = st.sampled_from(["drop", "keep"])


@st.composite
def placements(draw, num_nodes):
    """Node of each rank, numbered as they first appear; nodes may differ in size."""
    ranks = [n for n in range(num_nodes) for _ in range(draw(st.integers(1, 4)))]
    order = draw(st.permutations(ranks))
    number = {node: k for k, node in enumerate(dict.fromkeys(order))}
    return tuple(number[node] for node in order)


@st.composite
def plans(draw):
    """A shared or a local plan with at least one step, and the samples of each node's list."""
    batch_size, seed, tail = draw(st.integers(1, 5)), draw(seeds), draw(tails)
    options = {"batch_size": batch_size, "seed": seed, "tail": tail}
    if draw(st.booleans()):
        num_ranks = draw(st.integers(1, 12))
        num_samples = draw(st.integers(batch_size * num_ranks, 200))
        plan = SamplePlan(num_samples=num_samples, num_ranks=num_ranks, **options)
        return plan, [np.arange(num_samples)] * num_ranks
    num_nodes = draw(st.integers(1, 5))
    placement = draw(placements(num_nodes))
    full = batch_size * max(Counter(placement).values())
    sizes = draw(st.lists(st.integers(full, full + 40), min_size=num_nodes, max_size=num_nodes))
    samples = np.random.default_rng(0).permutation(sum(sizes))
    lists = np.split(samples, np.cumsum(sizes)[:-1])
    plan = LocalPlan(node_sizes=tuple(sizes), placement=placement, **options)
    return plan, [lists[node] for node in placement]


def read_from(plan, lists, start):
    """Samples that each rank reads in each step from a place: by rank, then by step."""
    batches = [plan.batches_of(rank, start) for rank in range(len(lists))]
    return [[held[b] for b in steps] for held, steps in zip(lists, batches, strict=True)]


@given(plans(), st.integers(0, 1000))
def test_each_sample_at_most_once_and_equally_many_steps(made, epoch):
    plan, lists = made
    by_rank = read_from(plan, lists, SamplePosition(epoch))
    assert {len(steps) for steps in by_rank} == {plan.num_steps}
    seen = np.concatenate([b for steps in by_rank for b in steps])
    assert len(set(seen.tolist())) == len(seen)
    if plan.tail == "keep":
        assert sorted(seen) == list(range(plan.num_samples))
    else:
        assert {len(b) for steps in by_rank for b in steps} == {plan.batch_size}
        assert len(seen) == plan.num_steps * plan.global_batch
        # No more steps were possible: in some list less than a batch of its ranks is left.
        ranks = Counter(held.tobytes() for held in lists)
        left = {held.tobytes(): len(set(held.tolist()) - set(seen.tolist())) for held in lists}
        assert any(left[key] < plan.batch_size * ranks[key] for key in left)


@given(plans(), st.integers(0, 40), st.integers(0, 5))
def test_a_run_goes_on_with_what_it_would_have_read(made, num_steps, epoch):
    plan, lists = made
    start = position_after(plan, SamplePosition(epoch), num_steps)
    done = num_steps % plan.num_steps
    assert start.epoch == epoch + num_steps // plan.num_steps
    straight = read_from(plan, lists, SamplePosition(start.epoch))
    resumed = read_from(plan, lists, resume_at(plan, start.samples_done, start.epoch))
    for whole, rest in zip(straight, resumed, strict=True):
        assert [b.tolist() for b in whole[done:]] == [b.tolist() for b in rest]


@given(
    sizes=st.lists(st.integers(30, 60), min_size=1, max_size=4),
    batches=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=5),
    num_steps=st.integers(0, 3),
    seed=seeds,
)
def test_local_runs_of_changing_size_repeat_and_miss_nothing(sizes, batches, num_steps, seed):
    lists = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    seen, position, order_id = [], SamplePosition(7), None
    for batch_size, ranks_per_node in batches:
        # Ranks dealt out in turn, or node by node, make no difference.
        placement = tuple(range(len(sizes))) * ranks_per_node
        if ranks_per_node % 2:
            placement = tuple(sorted(placement))
        plan = LocalPlan(
            node_sizes=tuple(sizes), batch_size=batch_size, placement=placement, seed=seed
        )
        start = resume_at(plan, position.samples_done, position.epoch, order_id)
        order_id = plan.order_id
        if start.epoch > 7:
            break
        by_rank = read_from(plan, [lists[node] for node in placement], start)
        seen += [int(s) for steps in by_rank for batch in steps[:num_steps] for s in batch]
        position = position_after(plan, start, num_steps)
        if position.epoch > 7:
            left = [len(set(held.tolist()) - set(seen)) for held in lists]
            assert min(left) < batch_size * ranks_per_node, "the shortest list is used up"
            break
        assert position == (7, len(seen))
    assert len(set(seen)) == len(seen)
    # Each node has gone through its own shuffle from the beginning, by whatever ranks and batches.
    whole = LocalPlan(
        node_sizes=tuple(sizes),
        batch_size=1,
        placement=tuple(range(len(sizes))),
        seed=seed,
        tail="keep",
    )
    for node, held in enumerate(lists):
        mine = set(seen) & set(held.tolist())
        order = np.concatenate(whole.batches_of(node, SamplePosition(7)))
        assert mine == set(held[order[: len(mine)]].tolist())


@given(plans(), st.integers(0, 3))
def test_another_order_begins_the_next_epoch(made, epoch):
    plan, _ = made
    stopped = position_after(plan, SamplePosition(epoch), plan.num_steps - 1)
    assert resume_at(plan, *stopped[::-1], plan.order_id).epoch == epoch
    elsewhere = resume_at(plan, *stopped[::-1], "another order")
    assert elsewhere == ((epoch, 0) if stopped.samples_done == 0 else (epoch + 1, 0))


class Work:
    """Counts the random words that are drawn; each is sorted once."""

    def __init__(self, monkeypatch):
        self.num_words = 0
        real = sampler.random_words

        def count(seed, epoch, num_words, **where):
            self.num_words += num_words
            return real(seed, epoch, num_words, **where)

        monkeypatch.setattr(sampler, "random_words", count)


def peak_bytes(work):
    """Most bytes that Python and numpy hold at once for a piece of work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def paper_sizes():
    """63,000 samples over 4,560 nodes: 13 or 14 each."""
    bounds = np.arange(SUMMIT_NODES + 1) * PAPER_SAMPLES // SUMMIT_NODES
    return tuple(np.diff(bounds).tolist())


def test_shared_samples_at_the_size_of_the_paper(monkeypatch):
    work = Work(monkeypatch)
    num_ranks = SUMMIT_NODES * RANKS_PER_NODE
    plan = SamplePlan(num_samples=PAPER_SAMPLES, batch_size=2, num_ranks=num_ranks, seed=1)
    # A rank's own share of an epoch costs one shuffle and a view of it: words, order and the
    # sort's room are three arrays of 63,000 x 8 bytes; a fourth allows for rounding up.
    peak = peak_bytes(lambda: plan.batches_of(num_ranks - 1, SamplePosition(3)))
    assert work.num_words == PAPER_SAMPLES
    assert peak < 4 * 8 * PAPER_SAMPLES
    order = sampler.epoch_order(plan, 3)
    seen = np.concatenate([sampler.batch_of(plan, order, 0, rank) for rank in range(num_ranks)])
    # 27,360 x 2 of 63,000 in the one step; the other 8,280 come in other epochs.
    assert plan.num_steps == 1
    assert len(set(seen.tolist())) == 54_720
    assert plan.batches_of(17, SamplePosition(3))[0].tolist() == seen[34:36].tolist()
    # Small batches of one rank: 31,500 steps, and still one shuffle.
    work.num_words = 0
    alone = SamplePlan(num_samples=PAPER_SAMPLES, batch_size=2, seed=1)
    peak = peak_bytes(lambda: alone.batches_of(0, SamplePosition(3)))
    assert work.num_words == PAPER_SAMPLES
    # With a view of about 120 bytes for each step.
    assert peak < 4 * 8 * PAPER_SAMPLES + 160 * alone.num_steps


@pytest.mark.parametrize("mode", ["partition", "sample"])
def test_local_samples_at_the_size_of_the_paper(monkeypatch, mode):
    work = Work(monkeypatch)
    # Each node 13 or 14 samples of its own, or 1,500 at random as in the paper.
    sizes = paper_sizes() if mode == "partition" else (1500,) * SUMMIT_NODES
    placement = tuple(n for n in range(SUMMIT_NODES) for _ in range(RANKS_PER_NODE))
    plan = LocalPlan(node_sizes=sizes, batch_size=2, placement=placement, seed=1)
    rank = len(placement) - 1
    peak = peak_bytes(lambda: plan.batches_of(rank, SamplePosition(3)))
    # A rank draws and sorts the words of its own node alone. Memory is for the nodes' sizes and
    # the ranks' places, a handful of arrays of each, and for a view for each step.
    assert work.num_words == sizes[-1]
    assert peak < 4 * 8 * len(placement) + 8 * 8 * SUMMIT_NODES + 160 * plan.num_steps + 40_000
    # 13 // (2 x 6) = 1 step; 1500 // 12 = 125.
    assert plan.num_steps == (1 if mode == "partition" else 125)
    # All ranks of some nodes: each sample of a list at most once.
    for node in (0, 1, SUMMIT_NODES - 1):
        ranks = range(node * RANKS_PER_NODE, (node + 1) * RANKS_PER_NODE)
        seen = np.concatenate([b for r in ranks for b in plan.batches_of(r, SamplePosition(3))])
        assert len(set(seen.tolist())) == len(seen) == plan.num_steps * 12
        assert seen.max() < sizes[node]
