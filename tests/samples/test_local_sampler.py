from itertools import chain

import numpy as np
import pytest
from tests.samples.conftest import SETTINGS

from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import make_loader
from exastorm.samples.local_sampler import LocalPlan
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.sampler import SamplePlan, SamplePosition, position_after, resume_at
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore


def plan_of(**changes):
    settings = {"node_sizes": (14, 13), "batch_size": 2, "placement": (0, 0, 1, 1), "seed": 3}
    return LocalPlan(**{**settings, **changes})


def epoch_of(plan, rank, epoch=0, samples_done=0):
    return [b.tolist() for b in plan.batches_of(rank, SamplePosition(epoch, samples_done))]


def flat(batches):
    return list(chain.from_iterable(batches))


def test_shortest_list_decides_and_counts_are_those_stated():
    plan = plan_of()
    # Two ranks of 2: 14 // 4 = 13 // 4 = 3 steps; 2 and 1 samples are left out of an epoch.
    assert (plan.num_samples, plan.global_batch, plan.num_steps) == (27, 8, 3)
    assert [plan.num_held(rank) for rank in range(4)] == [14, 14, 13, 13]
    # 11 // 4 = 2 steps decide for the longer list too.
    assert plan_of(node_sizes=(14, 11)).num_steps == 2
    # One rank on the node of 13 does 13 // 2 = 6 steps, three on the other 14 // 6 = 2.
    assert plan_of(placement=(0, 1, 0, 0)).num_steps == 2
    # Kept: 14 / 4 and 13 / 4 rounded up, the last step with 2 and 1 samples for two ranks each.
    kept = plan_of(tail="keep")
    assert kept.num_steps == 4
    assert [len(epoch_of(kept, rank)[-1]) for rank in range(4)] == [1, 1, 0, 1]
    # A node without any sample of a split gives empty batches.
    empty = plan_of(node_sizes=(3, 0), tail="keep")
    assert [len(b) for b in epoch_of(empty, 3)] == [0]


def test_no_sample_is_left_out_for_good():
    # 14 and 13 samples, of which 12 are read in an epoch. That one is missed by 20 epochs is as
    # likely as 27 x (2 / 14)^20 < 1e-15.
    plan = plan_of()
    for ranks, size in (((0, 1), 14), ((2, 3), 13)):
        epochs = [
            {s for rank in ranks for s in flat(epoch_of(plan, rank, epoch))} for epoch in range(20)
        ]
        assert {len(seen) for seen in epochs} == {12}
        assert set.union(*epochs) == set(range(size))


def test_samples_change_hands_in_a_node_and_shuffles_differ():
    plan = plan_of(node_sizes=(12, 12))
    shares = {frozenset(flat(epoch_of(plan, 0, epoch))) for epoch in range(6)}
    assert len(shares) == 6, "the rank reads other samples in each epoch"
    orders = {
        tuple(flat(epoch_of(p, first, epoch) + epoch_of(p, first + 1, epoch)))
        for p in (plan, plan_of(node_sizes=(12, 12), seed=4))
        for first in (0, 2)
        for epoch in (0, 1)
    }
    assert len(orders) == 8, "by seed, node and epoch"
    plain = plan_of(shuffle=False)
    assert epoch_of(plain, 0) == [[0, 1], [4, 5], [8, 9]]
    assert epoch_of(plain, 3, epoch=5) == [[2, 3], [6, 7], [10, 11]]


def test_place_of_a_rank_comes_from_the_placement():
    in_turn, by_node = plan_of(placement=(0, 1, 0, 1)), plan_of()
    for theirs, ours in ((0, 0), (1, 2), (2, 1), (3, 3)):
        assert epoch_of(in_turn, theirs) == epoch_of(by_node, ours)


def test_position_is_told_in_samples_of_all_ranks():
    plan = plan_of()
    assert position_after(plan, SamplePosition(), 2) == (0, 16)
    assert position_after(plan, SamplePosition(), 3) == (1, 0)
    assert plan.steps_left(16) == 1
    # Each node has done 8 of its list; another four ranks each of one sample go on from there.
    more = plan_of(batch_size=1, placement=(0, 0, 0, 0, 1, 1, 1, 1))
    assert more.steps_left(16) == 1
    assert flat(epoch_of(more, r, 0, 16)[0] for r in range(4)) == flat(
        epoch_of(plan, r)[2] for r in range(2)
    )
    assert resume_at(more, 16, 0, plan.order_id) == (0, 16)
    # 5 of 13 are left, which fill no batch of 6.
    assert resume_at(plan_of(batch_size=3), 16, 0, plan.order_id) == (1, 0)
    kept = plan_of(tail="keep")
    assert kept.steps_left(24) == 1
    assert kept.steps_left(28) == kept.steps_left(40) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"node_sizes": (14, 13, 13), "placement": (0, 1, 2)},
        {"node_sizes": (13, 14)},
        {"seed": 4},
        {"shuffle": False},
        {"shares_id": "staged anew"},
        {"placement": (0, 0, 1)},
    ],
)
def test_other_lists_are_another_order_and_begin_the_next_epoch(change):
    plan, other = plan_of(), plan_of(**change)
    assert plan.order_id != other.order_id
    assert resume_at(other, 8, 2, plan.order_id) == (3, 0)
    # At the beginning of an epoch nothing is lost.
    assert resume_at(other, 0, 2, plan.order_id) == (2, 0)


def test_ranks_and_batches_in_proportion_are_the_same_order():
    ids = {
        plan_of(batch_size=b, placement=p).order_id
        for b in (1, 2)
        for p in ((0, 1), (0, 1, 1, 0), (0, 0, 0, 1, 1, 1))
    }
    assert len(ids) == 1
    shared = SamplePlan(num_samples=27, batch_size=2, num_ranks=4, seed=3)
    assert shared.order_id == SamplePlan(num_samples=27, batch_size=1, seed=3).order_id
    assert shared.order_id != SamplePlan(num_samples=26, batch_size=1, seed=3).order_id
    assert shared.order_id not in ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"tail": "wrap"}, "tail must be drop or keep, got 'wrap'"),
        ({"node_sizes": ()}, "node_sizes must be at least one, none negative, got"),
        ({"node_sizes": (3, -1)}, r"none negative, got \[3, -1\]"),
        (
            {"placement": (0, 0)},
            "ranks on each of the 2 nodes of node_sizes and on no other, got 1",
        ),
        ({"placement": (0, 1, 2)}, "on no other, got 3 nodes"),
        (
            {"node_sizes": (14, 3)},
            "batch_size x ranks of node 1 must be at most its 3 samples, got 2 x 2",
        ),
    ],
)
def test_impossible_plans_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        plan_of(**change)


@pytest.mark.parametrize(
    ("samples_done", "message"),
    [(-8, "as many for each rank"), (3, "as many for each rank"), (28, "shortest list")],
)
def test_impossible_places_are_refused(samples_done, message):
    with pytest.raises(ValueError, match=f"samples_done must be .*{message}"):
        plan_of().steps_left(samples_done)


def test_lists_of_random_subsets_may_overlap():
    # Three nodes with 8 of 12 samples each: an epoch reads each copy once.
    lists = [np.random.default_rng(n).permutation(12)[:8] for n in range(3)]
    plan = plan_of(node_sizes=(8, 8, 8), placement=(0, 1, 2))
    for rank, held in enumerate(lists):
        seen = held[np.concatenate(plan.batches_of(rank, SamplePosition(1)))]
        assert sorted(seen) == sorted(held)


@pytest.mark.parametrize("tail", ["drop", "keep"])
def test_nodes_that_hold_a_part_give_each_sample_once(archive, labels, tmp_path, tail):
    prepare_samples(
        archive, labels, tmp_path, PrepareSettings(**{**vars(SETTINGS), "shard_mb": 0.05})
    )
    names = [shard.name for shard in SampleStore(tmp_path).index.shards]
    parts = [
        SegmentationDataset(
            SampleStore(tmp_path, only=names[node::2]), "train", class_weights=(1.0, 1.0, 1.0)
        )
        for node in range(2)
    ]
    sizes = tuple(len(part) for part in parts)
    assert sizes[0] != sizes[1]
    placement = (0, 1, 1, 0)
    plan = LocalPlan(node_sizes=sizes, batch_size=5, placement=placement, tail=tail)
    seen, num_steps = [], set()
    for rank, node in enumerate(placement):
        # A batch is valid until the next is asked for.
        batches = [b.field.clone() for b in make_loader(parts[node], plan, epoch=1, rank=rank)]
        num_steps.add(len(batches))
        seen += [field.numpy().tobytes() for batch in batches for field in batch]
    assert num_steps == {plan.num_steps}
    expected = sum(sizes) if tail == "keep" else plan.num_steps * plan.global_batch
    assert len(set(seen)) == len(seen) == expected
    with pytest.raises(ValueError, match=f"num_samples must be {sizes[0]}, got {sizes[1]}"):
        next(make_loader(parts[0], plan, epoch=1, rank=1))
