"""What a training on many ranks will do, against figures worked out by hand."""

import dataclasses
import json

import pytest
from tests.train.conftest import changed

from exastorm.errors import InputError
from exastorm.networks.build import build_network
from exastorm.parallel.allreduce.choosing import AloneAllReduce
from exastorm.parallel.control.tree import Tree
from exastorm.parallel.gradients import GradientExchange
from exastorm.parallel.staging.figures import Spread
from exastorm.samples.shards import SampleStore
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.plan import Machine, link_bytes, most_messages, optimizer_states, plan_training
from exastorm.train.settings import TrainSettings
from exastorm.train.stage_settings import SampleStageSettings
from exastorm.train.staged import manifest_of, plan_of
from exastorm.train.staging_forecast import plan_stage
from exastorm.train.together import NUM_EXTRA

SMALL = TrainSettings(num_steps=120, batch_size=2)


@pytest.fixture(scope="module")
def index(samples):
    """24 training samples of 2 channels on 16 x 24 points."""
    return SampleStore(samples).index


# M = 120 bytes.
@pytest.mark.parametrize(
    ("num_nodes", "ranks_per_node", "flat", "dealt_out", "hierarchical"),
    [
        # Nothing leaves a machine that is alone.
        (1, 1, 0, 0, 0),
        (1, 6, 0, 0, 0),
        # One rank a node: 2 x 120 x 3 / 4, whatever the way.
        (4, 1, 180, 180, 180),
        # 8 ranks: 2 x 120 x 7 / 8 from each rank, of which one in a node sends outside, or both;
        # across 4 nodes 2 x 120 x 3 / 4.
        (4, 2, 210, 420, 180),
        # 2 nodes, 6 ranks: 2 x 120 x 5 / 6, three times that, 2 x 120 x 1 / 2.
        (2, 3, 200, 600, 120),
    ],
)
def test_bytes_that_a_node_sends(num_nodes, ranks_per_node, flat, dealt_out, hierarchical):
    machine = Machine(num_nodes=num_nodes, ranks_per_node=ranks_per_node)
    assert machine.num_ranks == num_nodes * ranks_per_node
    assert link_bytes(120.0, machine) == pytest.approx(
        {"flat": flat, "flat, ranks dealt out in turn": dealt_out, "hierarchical": hierarchical}
    )


def test_samples_and_steps(index):
    plan = plan_training(index, SMALL, Machine(num_nodes=5))
    # 5 ranks of 2: of 24 samples 2 x 10 are read, 4 by each rank, and 4 are left over.
    assert (plan.num_nodes, plan.num_ranks, plan.global_batch) == (5, 5, 10)
    assert (plan.steps_per_epoch, plan.samples_per_rank, plan.samples_left_over) == (2, 4, 4)
    assert plan.num_epochs == 60.0
    alone = plan_training(index, SMALL, Machine())
    assert (alone.steps_per_epoch, alone.samples_left_over) == (12, 0)
    assert plan.step_tflop == pytest.approx(5 * alone.step_tflop)


def test_buckets_are_those_of_the_training(index):
    settings = changed(SMALL, exchange__bucket_mb=0.5)
    plan = plan_training(index, settings, Machine(num_nodes=3, ranks_per_node=2))
    network = build_network(settings.network, 2, 3, 24)
    exchange = GradientExchange(
        list(network.parameters()), AloneAllReduce(), bucket_mb=0.5, num_extra=NUM_EXTRA
    )
    assert plan.num_parameters == sum(p.numel() for p in network.parameters())
    assert len(plan.bucket_mb) == exchange.num_buckets > 1
    assert sum(plan.bucket_mb) == pytest.approx(exchange.num_bytes / 1e6)
    assert all(size >= 0.5 for size in plan.bucket_mb[:-1])
    # Of 6 ranks on 3 nodes.
    sent = {"flat": 5 / 3, "flat, ranks dealt out in turn": 10 / 3, "hierarchical": 4 / 3}
    for way, times in sent.items():
        assert plan.node_link_mb[way] == pytest.approx(times * exchange.num_bytes / 1e6)


def test_the_least_time_is_that_of_the_link(index):
    slow = plan_training(index, SMALL, Machine(num_nodes=2, link_gbit=1.0))
    # 1 Gbit/s carries 0.125 MB in a millisecond; on 2 nodes each sends the gradients once.
    assert slow.least_exchange_ms == pytest.approx(sum(slow.bucket_mb) / 0.125)
    fast = plan_training(index, SMALL, Machine(num_nodes=2, link_gbit=50.0))
    assert fast.least_exchange_ms == pytest.approx(slow.least_exchange_ms / 50)


@pytest.mark.parametrize(
    ("num_ranks", "radix", "most"),
    [
        (1, 4, 0),
        # A root hears each of its children.
        (2, 4, 1),
        (5, 4, 4),
        # Below the root of 11 are 3, 3, 2, 2: the first hears its two children and its parent.
        (11, 4, 4),
        (40, 4, 5),
        (27360, 4, 5),
        (27360, 2, 3),
        # The flat tree, whose root hears all.
        (27360, 0, 27359),
    ],
)
def test_messages_of_the_rank_that_hears_most(num_ranks, radix, most):
    tree = Tree(num_ranks=num_ranks, radix=radix)
    assert most_messages(tree) == most
    if num_ranks < 100:
        heard = [len(tree.children(r)) + (r > 0) for r in range(num_ranks)]
        assert max(heard) == most


def test_the_tree_is_that_of_the_settings(index):
    machine = Machine(num_nodes=6)
    plan = plan_training(index, SMALL, machine)
    # Rank 0, under it ranges of 2, 1, 1 and 1, under the first of them one.
    assert (plan.tree_depth, plan.messages_per_rank) == (3, 4)
    flat = plan_training(index, changed(SMALL, control__radix=0), machine)
    assert (flat.tree_depth, flat.messages_per_rank) == (2, 5)


@pytest.mark.parametrize(
    ("settings", "states"),
    [
        (SMALL, 2),  # Adam keeps the means of gradients and of their squares
        (changed(SMALL, optimizer=OptimizerSettings(name="lamb")), 2),
        (changed(SMALL, optimizer=OptimizerSettings(name="sgd", momentum=0.9)), 1),
        (changed(SMALL, optimizer=OptimizerSettings(name="sgd", momentum=0.0)), 0),
        (changed(SMALL, ema_decay=0.9), 3),
    ],
)
def test_copies_of_the_weights(index, settings, states):
    assert optimizer_states(settings) == states
    plan = plan_training(index, settings, Machine(num_nodes=2))
    late = plan_training(index, changed(settings, exchange__lag=1), Machine(num_nodes=2))
    weights_mb = 4 * plan.num_parameters / 1e6
    # The weights, their gradients, and the states; with lag the gradients of two steps, of which
    # those in flight are also in checkpoints.
    assert plan.rank_memory_mb == pytest.approx((2 + states) * weights_mb)
    assert late.rank_memory_mb == pytest.approx((3 + states) * weights_mb)
    assert plan.checkpoint_mb == pytest.approx((1 + states) * weights_mb)
    assert late.checkpoint_mb == pytest.approx((2 + states) * weights_mb)


def test_figures_are_json(index):
    plan = plan_training(index, SMALL, Machine(num_nodes=2))
    figures = json.loads(json.dumps(plan.to_dict()))
    assert figures["num_buckets"] == len(figures["bucket_mb"])


def test_more_ranks_than_samples(index):
    with pytest.raises(InputError, match="must be at most the 24 samples, got 2 x 27360"):
        plan_training(index, SMALL, Machine(num_nodes=4560, ranks_per_node=6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 0}, "num_nodes must be at least 1, got 0"),
        ({"ranks_per_node": 0}, "ranks_per_node must be at least 1, got 0"),
        ({"link_gbit": 0.0}, "link_gbit must be positive, got 0.0"),
        ({"link_gbit": float("nan")}, "link_gbit must be positive, got nan"),
    ],
)
def test_a_machine_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Machine(**change)


def staged(mode, samples_per_node=None, **options):
    """A training that stages first."""
    stage = SampleStageSettings(folder="d", mode=mode, samples_per_node=samples_per_node)
    return changed(SMALL, stage=stage, **options)


def in_shards(index, *sizes):
    """The same index with so many samples, a megabyte each, in shards of these sizes."""
    (shard,) = [s for s in index.shards if s.split == "train"][:1]
    shards = tuple(
        dataclasses.replace(shard, name=f"train-{i}.bin", num_samples=n, num_bytes=n * 1_000_000)
        for i, n in enumerate(sizes)
    )
    return dataclasses.replace(index, shards=shards)


def test_a_plan_without_staging_says_nothing_of_it(index):
    plan = plan_training(index, SMALL, Machine(num_nodes=2))
    assert plan.staging is None
    assert "staging" not in plan.to_dict()


def test_copies_of_all_on_each_node(index):
    plan = plan_training(
        in_shards(index, 8, 8, 8, 8), staged("replicate"), Machine(num_nodes=4, ranks_per_node=2)
    )
    found = plan.staging
    assert (found.num_files, found.num_nowhere, found.store_read_mb) == (4, 0, 32.0)
    assert found.copies["train"] == Spread(least=4, mean=4, most=4)
    assert found.samples["train"] == Spread(least=32, mean=32, most=32)
    # Each reads one shard of four, sends it to three, and gets three.
    assert found.kept_mb == Spread(least=32, mean=32, most=32)
    assert found.read_mb == Spread(least=8, mean=8, most=8)
    assert found.sent_mb == found.received_mb == Spread(least=24, mean=24, most=24)
    # Epochs are those of samples that all have: 32 in steps of 2 x 8.
    assert (plan.steps_per_epoch, plan.samples_left_over) == (2, 0)


def test_a_part_on_each_node(index):
    # The largest goes to one node, the other two to the other: 10 and 4 + 4 samples.
    plan = plan_training(in_shards(index, 4, 10, 4), staged("partition"), Machine(num_nodes=2))
    found = plan.staging
    assert found.samples["train"] == Spread(least=8, mean=9, most=10)
    assert found.kept_mb == found.read_mb == Spread(least=8, mean=9, most=10)
    assert found.sent_mb == found.received_mb == Spread(least=0, mean=0, most=0)
    # Steps of 2 on each node: the node with 8 has 4, in which 2 of the other's 10 are left over.
    assert (plan.steps_per_epoch, plan.samples_per_rank, plan.samples_left_over) == (4, 8, 2)


def test_a_subset_on_each_node_as_in_the_paper(index):
    # 63,000 samples, of which each of 1,024 nodes keeps 1,500 (SC18 paper, section V-A1, which
    # says 23 copies): 1,024 x 1,500 / 63,000 = 24.4.
    machine = Machine(num_nodes=1024, ranks_per_node=6)
    plan = plan_training(in_shards(index, *[1] * 63_000), staged("sample", 1500), machine)
    found = plan.staging
    assert found.copies["train"].mean == pytest.approx(24.4, abs=0.05)
    assert found.copies["train"].least >= 1
    assert found.samples["train"] == Spread(least=1500, mean=1500, most=1500)
    # Read once in all, 61.5 files by each node, and the rest of 1,500 from others.
    assert found.store_read_mb == 63_000
    assert found.read_mb.mean == pytest.approx(61.5, abs=0.1)
    assert found.received_mb.mean == pytest.approx(1500 - 61.5, abs=0.1)
    assert found.sent_mb.mean == pytest.approx(found.received_mb.mean)
    # 6 ranks of 2 samples go through 1,500 in 125 steps.
    assert plan.steps_per_epoch == 125


def test_the_plan_is_that_of_the_run(samples, index, tmp_path):
    settings = staged("partition")
    machine = Machine(num_nodes=3)
    sizes = plan_stage(index, settings.stage, 3)[1]
    manifest = manifest_of(index, samples, settings.stage)
    kept = plan_of(manifest, settings.stage, 3).kept
    names = [tuple(manifest.files[i].name for i in own) for own in kept]
    # What a store of a node's shards counts is what was forecast.
    held = [len(SampleStore(samples, (), only).indices("train")) for only in names]
    assert tuple(held) == sizes
    assert sum(held) == 24
    assert machine.placement == (0, 1, 2)


def test_a_node_that_holds_less_than_a_step_takes(index):
    with pytest.raises(InputError, match="must be at most its 0 samples"):
        plan_training(in_shards(index, 24), staged("partition"), Machine(num_nodes=2))


def test_nodes_too_few_for_all_samples_keep_some_nowhere(index):
    # 2 nodes of 2 samples have room for 4 of 6.
    plan = plan_training(in_shards(index, *[1] * 6), staged("sample", 2), Machine(num_nodes=2))
    assert (plan.staging.num_nowhere, plan.staging.store_read_mb) == (2, 4.0)
    assert "staging reads 0.00 GB once" in plan.staging.to_line()
    assert json.loads(json.dumps(plan.to_dict()))["staging"]["samples"]["train"]["most"] == 2
