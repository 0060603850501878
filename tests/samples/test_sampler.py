import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.samples.sampler import (
    SamplePlan,
    batch_of,
    epoch_order,
    rank_samples,
    sample_order,
    step_samples,
)

sizes = {
    "num_samples": st.integers(1, 400),
    "batch_size": st.integers(1, 9),
    "num_ranks": st.integers(1, 24),
    "seed": st.integers(0, 2**63),
    "epoch": st.integers(0, 1000),
}


@given(**sizes)
def test_every_sample_once_when_the_tail_is_kept(num_samples, batch_size, num_ranks, seed, epoch):
    plan = SamplePlan(
        num_samples=num_samples, batch_size=batch_size, num_ranks=num_ranks, seed=seed, tail="keep"
    )
    parts = [rank_samples(plan, epoch=epoch, rank=r) for r in range(num_ranks)]
    assert sorted(np.concatenate(parts)) == list(range(num_samples))
    lengths = [len(p) for p in parts]
    assert max(lengths) - min(lengths) <= 1, "the tail is dealt out evenly"


@given(**sizes)
def test_full_batches_and_no_sample_twice_when_the_tail_is_dropped(
    num_samples, batch_size, num_ranks, seed, epoch
):
    if batch_size * num_ranks > num_samples:
        with pytest.raises(ValueError, match=r"batch_size x num_ranks must be at most"):
            SamplePlan(num_samples=num_samples, batch_size=batch_size, num_ranks=num_ranks)
        return
    plan = SamplePlan(
        num_samples=num_samples, batch_size=batch_size, num_ranks=num_ranks, seed=seed
    )
    parts = [rank_samples(plan, epoch=epoch, rank=r) for r in range(num_ranks)]
    assert {len(p) for p in parts} == {plan.num_steps * batch_size}
    together = np.concatenate(parts)
    assert len(set(together)) == len(together)
    # Fewer are left out than one global batch holds.
    assert num_samples - len(together) < batch_size * num_ranks


@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 5))
def test_another_number_of_ranks_sees_the_same_global_batches(num_ranks, step):
    one = SamplePlan(num_samples=100, batch_size=12, num_ranks=1, seed=5)
    many = SamplePlan(num_samples=100, batch_size=12 // num_ranks, num_ranks=num_ranks, seed=5)
    parts = [step_samples(many, epoch=3, step=step, rank=r) for r in range(num_ranks)]
    assert np.concatenate(parts).tolist() == step_samples(one, epoch=3, step=step).tolist()


def test_order_changes_with_seed_and_epoch_and_with_nothing_else():
    orders = {tuple(sample_order(50, s, e)) for s in range(4) for e in range(4)}
    assert len(orders) == 16
    assert sample_order(50, 1, 2).tolist() == sample_order(50, 1, 2).tolist()


def test_shuffle_is_made_of_the_published_generator():
    # Known answer of Philox4x64-10 for counter 0 and key 0 (kat_vectors of Random123); numpy counts
    # up before it draws, so counter 0 comes after the largest. Another answer would mean that runs
    # could not go on elsewhere.
    largest = np.full(4, 2**64 - 1, np.uint64)
    known = np.random.Philox(key=np.zeros(2, np.uint64), counter=largest).random_raw(4)
    assert [f"{w:016x}" for w in known] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]
    # The words of counters 1 and 2, in ascending order: 02f4, 1c86, 3dd6, 4711, 809b, 907d.
    assert sample_order(6, 0, 0).tolist() == [0, 2, 1, 5, 4, 3]


def test_every_place_is_equally_likely():
    # 2000 shuffles of 8: each sample comes first 250 times on average, with a standard deviation
    # of sqrt(2000 x 1/8 x 7/8) = 14.8; five of them are 74.
    first = [sample_order(8, 7, epoch)[0] for epoch in range(2000)]
    assert np.abs(np.bincount(first, minlength=8) - 250).max() < 74


def test_unshuffled_plan_reads_in_order():
    plan = SamplePlan(num_samples=5, batch_size=2, shuffle=False, tail="keep")
    batches = [batch_of(plan, epoch_order(plan, 9), s, 0).tolist() for s in range(plan.num_steps)]
    assert batches == [[0, 1], [2, 3], [4]]


def test_wrong_tail_is_refused():
    with pytest.raises(ValueError, match="tail must be drop or keep, got 'wrap'"):
        SamplePlan(num_samples=5, batch_size=2, tail="wrap")


@pytest.mark.parametrize("name", ["num_samples", "batch_size", "num_ranks"])
def test_counts_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        SamplePlan(**{"num_samples": 5, "batch_size": 2, "num_ranks": 1, name: 0})
