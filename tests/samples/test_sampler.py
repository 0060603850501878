import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exastorm.samples.sampler import (
    SamplePlan,
    SamplePosition,
    batch_of,
    epoch_order,
    position_after,
    random_word,
    rank_samples,
    resume_at,
    sample_order,
    step_samples,
    steps_left,
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


def steps_from(plan, start):
    """Samples of all ranks at each step from a place in an epoch to its end."""
    order = epoch_order(plan, start.epoch)[start.samples_done :]
    return [
        np.concatenate([batch_of(plan, order, step, rank) for rank in range(plan.num_ranks)])
        for step in range(steps_left(plan, start.samples_done))
    ]


@given(
    divisors=st.sampled_from(
        [(12, n, m) for n in (1, 2, 3, 4, 6, 12) for m in (1, 2, 3, 4, 6, 12)]
    ),
    num_samples=st.integers(12, 300),
    num_steps=st.integers(0, 60),
    seed=st.integers(0, 2**63 - 1),
)
def test_another_number_of_ranks_goes_on_with_the_same_steps(
    divisors, num_samples, num_steps, seed
):
    total, before, after = divisors
    plans = [
        SamplePlan(num_samples=num_samples, batch_size=total // n, num_ranks=n, seed=seed)
        for n in (before, after)
    ]
    stopped = position_after(plans[0], SamplePosition(), num_steps)
    assert stopped == position_after(plans[1], SamplePosition(), num_steps)
    epoch, step = divmod(num_steps, plans[0].num_steps)
    assert stopped == (epoch, step * total)
    straight = steps_from(plans[0], SamplePosition(epoch))[step:]
    resumed = steps_from(plans[1], resume_at(plans[1], stopped.samples_done, stopped.epoch))
    assert len(straight) == len(resumed)
    for ours, theirs in zip(straight, resumed, strict=True):
        assert set(ours) == set(theirs)


@given(
    num_samples=st.integers(1, 300),
    batches=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8)), min_size=1, max_size=6),
    num_steps=st.integers(0, 12),
    tail=st.sampled_from(["drop", "keep"]),
    seed=st.integers(0, 2**63 - 1),
)
def test_batches_that_change_repeat_and_miss_no_sample(num_samples, batches, num_steps, tail, seed):
    seen, position = [], SamplePosition(4, 0)
    for batch_size, num_ranks in batches:
        if tail == "drop" and batch_size * num_ranks > num_samples:
            continue
        plan = SamplePlan(
            num_samples=num_samples,
            batch_size=batch_size,
            num_ranks=num_ranks,
            seed=seed,
            tail=tail,
        )
        start = resume_at(plan, position.samples_done, position.epoch)
        if start.epoch > 4:
            break
        steps = steps_from(plan, start)[:num_steps]
        seen += [sample for step in steps for sample in step]
        position = position_after(plan, start, num_steps)
        if position.epoch > 4:
            # With a dropped tail less than one global batch is left over, else nothing.
            assert num_samples - len(seen) < (plan.global_batch if tail == "drop" else 1)
            break
        assert position == (4, len(seen))
    assert len(set(seen)) == len(seen)
    assert seen == sample_order(num_samples, seed, 4)[: len(seen)].tolist()


def test_position_counts_samples_over_epochs():
    # 100 samples in global batches of 8: 12 steps an epoch, 4 samples left over.
    plan = SamplePlan(num_samples=100, batch_size=4, num_ranks=2)
    assert position_after(plan, SamplePosition(), 11) == (0, 88)
    assert position_after(plan, SamplePosition(), 12) == (1, 0)
    assert position_after(plan, SamplePosition(), 30) == (2, 48)
    # From 50 of the epoch 6 steps are left, with 2 left over.
    assert position_after(plan, SamplePosition(3, 50), 5) == (3, 90)
    assert position_after(plan, SamplePosition(3, 50), 6) == (4, 0)
    # What is left fills no batch of 8, but a smaller one.
    assert resume_at(plan, 93, 3) == (4, 0)
    assert resume_at(plan, 92, 3) == (3, 92)
    small = SamplePlan(num_samples=100, batch_size=2)
    assert resume_at(small, 93, 3) == (3, 93)
    assert steps_left(small, 93) == 3
    kept = SamplePlan(num_samples=100, batch_size=4, num_ranks=2, tail="keep")
    assert steps_left(kept, 93) == 1
    assert resume_at(kept, 100) == (1, 0)


@pytest.mark.parametrize("wrong", [-1, 101])
def test_no_epoch_has_so_many_samples(wrong):
    plan = SamplePlan(num_samples=100, batch_size=4)
    with pytest.raises(ValueError, match=f"samples_done must be from 0 to 100, got {wrong}"):
        resume_at(plan, wrong)


def test_words_of_other_streams_and_samples_differ():
    words = {random_word(1, e, n, s) for e in range(3) for n in range(5) for s in range(3)}
    assert len(words) == 45
    assert random_word(1, 2, 3, 1) == random_word(1, 2, 3, 1) != random_word(2, 2, 3, 1)
