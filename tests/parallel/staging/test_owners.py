"""Who reads and who keeps what: properties that hold for any files, nodes and seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.owners import NOWHERE, plan_staging


def made_files(sizes):
    """Files of (bytes, samples)."""
    return [
        StagedFile(f"{place}", num_bytes, num_samples=num_samples)
        for place, (num_bytes, num_samples) in enumerate(sizes)
    ]


FILES = st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 20)), max_size=40).map(made_files)
NODES, SEEDS = st.integers(1, 12), st.integers(0, 3)


def bytes_of(files, places):
    return sum(files[place].num_bytes for place in places)


def check_consistent(plan, files):
    """What each node keeps is what each file says, and a reader keeps what it reads."""
    kept = [set(own.tolist()) for own in plan.kept]
    assert len(plan.holders) == len(plan.reader) == len(files)
    for place, nodes in enumerate(plan.holders):
        assert list(nodes) == sorted({node for node, own in enumerate(kept) if place in own})
        assert plan.reader[place] in nodes or (plan.reader[place] == NOWHERE and not nodes)
    for own in plan.kept:
        assert own.tolist() == sorted(own.tolist())


@given(FILES, NODES, SEEDS)
def test_replicate_keeps_all_on_all_nodes_and_reads_each_once(files, num_nodes, seed):
    plan = plan_staging(files, num_nodes, "replicate", seed=seed)
    check_consistent(plan, files)
    assert all(nodes == tuple(range(num_nodes)) for nodes in plan.holders)
    read = np.concatenate([plan.read_by(node) for node in range(num_nodes)])
    assert sorted(read) == list(range(len(files)))
    loads = [bytes_of(files, plan.read_by(node)) for node in range(num_nodes)]
    assert max(loads) - min(loads) <= max((file.num_bytes for file in files), default=0)


@given(FILES, NODES, SEEDS)
def test_partition_keeps_each_file_on_one_node_and_is_even_to_a_file(files, num_nodes, seed):
    plan = plan_staging(files, num_nodes, "partition", seed=seed)
    check_consistent(plan, files)
    assert all(len(nodes) == 1 for nodes in plan.holders)
    loads = [bytes_of(files, plan.of_node(node)) for node in range(num_nodes)]
    assert max(loads) - min(loads) <= max((file.num_bytes for file in files), default=0)


@given(FILES, NODES, st.integers(1, 60), SEEDS)
def test_sample_keeps_enough_and_hardly_more(files, num_nodes, samples_per_node, seed):
    plan = plan_staging(files, num_nodes, "sample", samples_per_node, seed)
    check_consistent(plan, files)
    num_samples = [file.num_samples for file in files]
    most = max(num_samples, default=0)
    for own in plan.kept:
        kept = sum(num_samples[place] for place in own)
        assert min(samples_per_node, sum(num_samples)) <= kept < samples_per_node + most
    if sum(num_samples) <= num_nodes * samples_per_node:
        assert NOWHERE not in plan.reader


def test_sample_leaves_out_at_random_what_has_no_room():
    # 100 files of one sample; 4 nodes of 5 have room for 20.
    files = made_files([(10, 1)] * 100)
    plan = plan_staging(files, 4, "sample", 5)
    assert (plan.reader != NOWHERE).sum() == 20
    assert all(len(nodes) <= 1 for nodes in plan.holders)
    other = plan_staging(files, 4, "sample", 5, seed=1)
    assert (plan.reader != other.reader).any()


@pytest.mark.parametrize("mode", ["replicate", "partition"])
def test_a_seed_gives_the_same_plan_again_and_another_another(mode):
    files = made_files([(10, 1)] * 50)
    plans = [plan_staging(files, 7, mode, seed=seed).reader for seed in (3, 3, 4)]
    assert (plans[0] == plans[1]).all()
    assert (plans[0] != plans[2]).any()


def test_the_papers_size_is_planned_with_the_papers_copies():
    # 63,000 samples of 57 MB (16 x 768 x 1152 float32 and labels), 1,500 on each of 1,024 nodes:
    # 1,024 * 1,500 / 63,000 = 24.4 copies of a file.
    files = made_files([(57_000_000, 1)] * 63_000)
    plan = plan_staging(files, 1024, "sample", 1500)
    assert {len(own) for own in plan.kept} == {1500}
    copies = np.array([len(nodes) for nodes in plan.holders])
    assert copies.min() >= 1
    assert copies.mean() == pytest.approx(24.38, abs=0.01)
    # 63,000 / 1,024 = 61.5 files are read by each.
    num_read = np.bincount(plan.reader, minlength=1024)
    assert set(num_read.tolist()) <= {61, 62}


def test_all_of_the_paper_is_planned_for_replication():
    files = made_files([(57_000_000, 1)] * 63_000)
    plan = plan_staging(files, 1024)
    assert set(np.bincount(plan.reader).tolist()) == {61, 62}
    assert len(plan.of_node(1023)) == 63_000


def test_a_plan_needs_a_node_and_sample_its_number():
    with pytest.raises(ValueError, match="num_nodes must be at least 1, got 0"):
        plan_staging([], 0)
    with pytest.raises(ValueError, match="samples_per_node must be at least 1 in mode sample"):
        plan_staging([], 1, "sample")
    with pytest.raises(ValueError, match="samples_per_node must be at least 1 in mode sample"):
        plan_staging([StagedFile("a", 1, mode="sample")], 1)
