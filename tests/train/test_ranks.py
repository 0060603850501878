"""Trainings of several ranks: the same course as one rank's with the same global batch.

float32 adds the same numbers in another order, and Adam, which divides by the size of a gradient,
makes much of small differences; SGD does not. So trainings with SGD are compared closely, and those
with Adam over their first steps.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes
from tests.train.conftest import changed, last_state, last_weights, make_samples, same
from tests.train.test_loop import SHORT

from exastorm.config import to_dict
from exastorm.parallel.cluster import Cluster
from exastorm.samples.sampler import SamplePlan, step_samples
from exastorm.samples.shards import SampleStore
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.run import train

RANK = Path(__file__).with_name("rank_of_training.py")

SGD = OptimizerSettings(name="sgd", learning_rate=0.01)
PLAIN = changed(SHORT, optimizer=SGD, log_interval=1, batch_size=4)


def run_jobs(jobs, limit_s=280):
    """Train on several ranks, one job after the other."""
    for job, port in zip(jobs, free_ports(len(jobs)), strict=True):
        job["port"] = port
        job["samples"], job["run"] = str(job["samples"]), str(job["run"])
        if job.setdefault("settings", None) is not None:
            job["settings"] = to_dict(job["settings"])
    run_processes([RANK], max(job["num_ranks"] for job in jobs), limit_s, JOBS=jobs)


def losses_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return np.array([line["loss"] for line in lines if "loss" in line])


def scores_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["validation"]["mean_iou"] for line in lines if "validation" in line]


TIRAMISU = changed(PLAIN, network__name="tiramisu", network__dropout=0.0)

CASES = {
    "deeplab": PLAIN,
    "deeplab, lag": changed(PLAIN, exchange__lag=1),
    "tiramisu": TIRAMISU,
    "adam": changed(PLAIN, optimizer=OptimizerSettings()),
    "parts": changed(PLAIN, part_size=1, exchange__bucket_mb=0.1),
    "hierarchical": changed(PLAIN, exchange__allreduce={"kind": "hierarchical"}),
}

MORE_CASES = {
    "deeplab": PLAIN,
    "deeplab, lag": changed(PLAIN, exchange__lag=1),
    "tiramisu": TIRAMISU,
    "tiramisu, lag": changed(TIRAMISU, exchange__lag=1),
    "dice": changed(PLAIN, loss__overlap="dice"),
    "order": changed(PLAIN, exchange__order="agreed", exchange__bucket_mb=0.1),
}
"""On four ranks."""

LATE = changed(PLAIN, batch_size=2, exchange__lag=1, checkpoint__interval=3)
"""What is interrupted, on two ranks."""

TIMED = changed(
    PLAIN,
    batch_size=2,
    num_steps=100_000,
    max_minutes=0.03,
    schedule__name="cosine",
    exchange__check_interval=1,
)
"""Learning rates follow the clock, and weights are compared after every step."""


def case_jobs(samples, folder, cases, num_ranks):
    """One rank's batch is cut into as many as there are ranks."""
    return [
        {
            "samples": samples,
            "run": folder / f"{name}-{num_ranks}",
            "settings": changed(settings, batch_size=4 // num_ranks),
            "num_ranks": num_ranks,
            # Two ranks of a node share memory; on nodes of their own they don't.
            "ranks_per_node": num_ranks // 2 if name == "hierarchical" else None,
        }
        for name, settings in cases.items()
    ]


def spoil(samples, rank, step):
    """Make the samples that one of two ranks reads at a step no numbers; returns their times."""
    store = SampleStore(samples)
    index, train_samples = store.index, store.indices("train")
    plan = SamplePlan(num_samples=len(train_samples), batch_size=2, num_ranks=2, seed=PLAIN.seed)
    spoiled = train_samples[step_samples(plan, epoch=0, step=step, rank=rank)]
    for sample in spoiled:
        path = store.place_of(sample)["file"]
        first = max(start for start in index.shard_starts if start <= sample)
        with path.open("r+b") as file:
            file.seek(int(sample - first) * index.layout.stride)
            file.write(np.full(20, np.nan, np.float32).tobytes())
    return [str(store.time(sample)) for sample in spoiled]


@pytest.fixture(scope="module")
def runs(samples, tmp_path_factory):
    """Run folders by case and number of ranks, and those that were interrupted."""
    folder = tmp_path_factory.mktemp("ranks")
    pair = {"samples": samples, "num_ranks": 2}
    names = ("straight", "two", "four")
    first = [pair | {"run": folder / name, "settings": LATE} for name in names]
    again = {"resume": True, "forget": True}
    rest = [
        pair | {"run": folder / "two"} | again,
        pair | {"run": folder / "four", "num_ranks": 4} | again,
        # A run that is over already; its ranks part in peace, and go on to the next.
        pair | {"run": folder / "straight", "resume": True},
        pair | {"run": folder / "deeplab-2", "resume": True, "lose": True},
    ]
    bad = make_samples(folder / "samples")
    (folder / "spoiled").write_text(json.dumps([spoil(bad, rank, step=rank) for rank in (0, 1)]))
    lenient = changed(PLAIN, batch_size=2, skip_bad=True)
    slow = {"samples": bad, "run": folder / "slow", "settings": lenient, "slow": (1, 0.5)}
    *rest, lost = rest
    timed = pair | {"run": folder / "timed", "settings": TIMED}
    run_jobs([*first, *rest, timed, pair | slow, *case_jobs(samples, folder, CASES, 2), lost])
    for name, settings in CASES.items():
        train(samples, folder / f"{name}-1", settings, Cluster.alone())
    return folder


@pytest.fixture(scope="module")
def more_runs(samples, tmp_path_factory):
    """The same of four ranks."""
    folder = tmp_path_factory.mktemp("more")
    run_jobs(case_jobs(samples, folder, MORE_CASES, 4))
    for name, settings in MORE_CASES.items():
        train(samples, folder / f"{name}-1", settings, Cluster.alone())
    return folder


def assert_same_course(folder, name, num_ranks):
    alone, together = losses_of(folder / f"{name}-1"), losses_of(folder / f"{name}-{num_ranks}")
    # Sums are off by 2^-24 of them (6e-8); in six steps norms, which divide by small spreads, and
    # kinks make up to a thousand times more of it. Another batch or a step late is off by 1e-2.
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    for mine, theirs in zip(
        last_weights(folder / f"{name}-{num_ranks}").values(),
        last_weights(folder / f"{name}-1").values(),
        strict=True,
    ):
        # Weights near 0 differ by a share of what a step changes: of 0.01 times gradients of 1.
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["deeplab", "deeplab, lag", "tiramisu"])
def test_ranks_follow_the_course_of_one(runs, name):
    assert_same_course(runs, name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_CASES)
def test_more_ranks_follow_it_too(more_runs, name):
    assert_same_course(more_runs, name, 4)


@pytest.mark.parametrize("name", ["parts", "hierarchical"])
def test_options_hold_on_ranks_too(runs, name):
    alone, together = losses_of(runs / f"{name}-1"), losses_of(runs / f"{name}-2")
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_adam_begins_the_same_course(runs):
    # It divides gradients by their own size, so those near 0 count with their rounding: closely
    # only over the first steps.
    alone, together = losses_of(runs / "adam-1"), losses_of(runs / "adam-2")
    np.testing.assert_allclose(together[:3], alone[:3], rtol=1e-3)


def test_lag_is_another_course(runs):
    late, now = losses_of(runs / "deeplab, lag-2"), losses_of(runs / "deeplab-2")
    # A line's loss is that of the gradients used: the first step of six has none.
    assert len(late) == len(now) - 1
    assert late[0] == pytest.approx(now[0], rel=1e-6)
    assert not np.allclose(late[2:], now[2:-1], rtol=1e-3)


def test_scores_are_of_the_whole_split(runs):
    # A pixel whose two largest logits are equal but for rounding may go either way: of the 3,072
    # pixels scored a few at most.
    assert scores_of(runs / "deeplab-2") == pytest.approx(scores_of(runs / "deeplab-1"), abs=1e-3)


def test_ranks_go_on_bit_for_bit(runs):
    assert last_state(runs / "straight")["step"] == 6
    assert same(last_weights(runs / "two"), last_weights(runs / "straight"))


def test_three_ranks_go_on_with_the_sums_that_were_chosen(samples, tmp_path):
    three = {"samples": samples, "num_ranks": 3, "ranks_per_node": 2}
    flat, levels = {"fastest": "FlatAllReduce"}, {"fastest": "HierarchicalAllReduce"}
    jobs = [
        three | {"run": tmp_path / name, "settings": LATE} | fastest
        for name, fastest in (("flat", flat), ("levels", levels), ("again", levels))
    ]
    # When it goes on the ring is the fastest.
    run_jobs([*jobs, three | {"run": tmp_path / "again", "resume": True, "forget": True} | flat])
    # It adds three numbers in another order than two levels do, which begin inside the node.
    in_ring, in_levels = last_weights(tmp_path / "flat"), last_weights(tmp_path / "levels")
    assert not same(in_ring, in_levels)
    assert same(last_weights(tmp_path / "again"), in_levels)
    choice = last_state(tmp_path / "again")["exchange"]["allreduce"]["choice"]
    assert set(choice.values()) == {"hierarchical"}


def test_other_ranks_go_on_in_the_same_epoch(runs):
    # 24 samples: 3 steps of 2 x 2 are 12; 3 steps of 2 on 4 ranks are 24 more, so of the 12 that
    # are left the first 8 are one step, and what then fills no batch is left for another epoch.
    state = last_state(runs / "four")
    assert (state["step"], state["position"]) == (6, [1, 16])
    assert not same(state["network"], last_weights(runs / "straight"))


def test_ranks_go_by_one_clock(runs):
    # No two clocks are alike: by their own, weights would differ from the second step on, and the
    # run would end there.
    state = last_state(runs / "timed")
    assert 2 < state["step"] < TIMED.num_steps
    assert state["minutes"] >= TIMED.max_minutes


def summary_of(run):
    return json.loads(run.with_suffix(".json").read_text())


def test_a_run_that_is_over_is_told_again(runs):
    summary = summary_of(runs / "straight")
    assert summary["num_steps"] == 6
    assert summary["stragglers"] == []


def test_best_weights_that_were_lost_are_lost_to_all_ranks(runs):
    # Only the first rank sees that the file is gone; all must score the last weights again.
    assert (runs / "deeplab-2" / "model.safetensors").is_file()
    assert summary_of(runs / "deeplab-2")["best_step"] == 6


def test_samples_that_any_rank_left_out_are_told(runs):
    # Each rank read two bad samples, at different steps.
    spoiled = json.loads((runs / "spoiled").read_text())
    assert [len(times) for times in spoiled] == [2, 2]
    summary = summary_of(runs / "slow")
    assert len(summary["bad_samples"]) == 4
    for time in itertools.chain(*spoiled):
        assert any(time in line for line in summary["bad_samples"])
    assert "(4 samples left out)" in summary["line"]
    assert last_state(runs / "slow")["bad_samples"] == tuple(summary["bad_samples"])


def test_a_rank_that_is_late_is_told(runs):
    # Rank 1 slept half a second in each of 6 steps, many times as long as a step takes.
    summary = summary_of(runs / "slow")
    worst = summary["stragglers"][0]
    assert (worst["rank"], worst["num_steps"]) == (1, 6)
    assert worst["num_late"] >= 4
    assert f" (rank 1 was late in {worst['num_late']} of the last 6 steps, by " in summary["line"]
    lines = [json.loads(line) for line in (runs / "slow" / "log.jsonl").read_text().splitlines()]
    late = [line["stragglers"] for line in lines if "validation" in line]
    assert [rows[0]["rank"] for rows in late] == [1, 1]
