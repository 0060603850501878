"""Trainings of several ranks: the same course as one rank's with the same global batch.

float32 adds the same numbers in another order, and Adam, which divides by the size of a gradient,
makes much of small differences; SGD does not. So trainings with SGD are compared closely, and those
with Adam over their first steps.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parallel.test_allreduce import free_ports
from tests.train.conftest import changed, last_state, last_weights, same
from tests.train.test_loop import SHORT

import exastorm
from exastorm.config import to_dict
from exastorm.parallel.cluster import Cluster
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.run import train

RANK = Path(__file__).with_name("rank_of_training.py")

SGD = OptimizerSettings(name="sgd", learning_rate=0.01)
PLAIN = changed(SHORT, optimizer=SGD, log_interval=1, batch_size=4)


def run_jobs(jobs, limit_s=240):
    """Train on several ranks, one job after the other."""
    for job, port in zip(jobs, free_ports(len(jobs)), strict=True):
        job["port"] = port
        job["samples"], job["run"] = str(job["samples"]), str(job["run"])
        if job["settings"] is not None:
            job["settings"] = to_dict(job["settings"])
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GLOO", "SLURM", "EXASTORM"))}
    environment = clean | {
        "PYTHONPATH": str(Path(exastorm.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "JOBS": json.dumps(jobs),
    }
    num_ranks = max(job["num_ranks"] for job in jobs)
    processes = [
        subprocess.Popen(
            [sys.executable, RANK, str(rank)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(num_ranks)
    ]
    try:
        ends = [process.communicate(timeout=limit_s) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for process, (_, errors) in zip(processes, ends, strict=True):
        assert process.returncode == 0, errors


def losses_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return np.array([line["loss"] for line in lines if "loss" in line])


def scores_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["validation"]["mean_iou"] for line in lines if "validation" in line]


CASES = {
    "deeplab": PLAIN,
    "deeplab, lag": changed(PLAIN, exchange__lag=1),
    "tiramisu": changed(PLAIN, network__name="tiramisu", network__dropout=0.0),
    "tiramisu, lag": changed(
        PLAIN, network__name="tiramisu", network__dropout=0.0, exchange__lag=1
    ),
    "adam": changed(PLAIN, optimizer=OptimizerSettings()),
    "parts": changed(PLAIN, part_size=1, exchange__bucket_mb=0.1),
    "dice": changed(PLAIN, loss__overlap="dice"),
    "hierarchical": changed(PLAIN, exchange__allreduce={"kind": "hierarchical"}),
}


@pytest.fixture(scope="module")
def runs(samples, tmp_path_factory):
    """Run folders by case and number of ranks."""
    folder, jobs = tmp_path_factory.mktemp("ranks"), []
    for name, settings in CASES.items():
        for num_ranks in (2, 4) if name.startswith(("deeplab", "tiramisu")) else (2,):
            job = {
                "samples": samples,
                "run": folder / f"{name}-{num_ranks}",
                "settings": changed(settings, batch_size=4 // num_ranks),
                "num_ranks": num_ranks,
            }
            if name == "hierarchical":
                job["ranks_per_node"] = 1
            jobs.append(job)
    run_jobs(jobs)
    for name, settings in CASES.items():
        train(samples, folder / f"{name}-1", settings, Cluster.alone())
    return folder


@pytest.mark.parametrize("num_ranks", [2, 4])
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("deeplab", "tiramisu"))])
def test_ranks_follow_the_course_of_one(runs, name, num_ranks):
    alone, together = losses_of(runs / f"{name}-1"), losses_of(runs / f"{name}-{num_ranks}")
    # Sums are off by 2^-24 of them; six steps of kinks and norms make more of it.
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    for mine, theirs in zip(
        last_weights(runs / f"{name}-{num_ranks}").values(),
        last_weights(runs / f"{name}-1").values(),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["parts", "dice", "hierarchical"])
def test_options_hold_on_ranks_too(runs, name):
    alone, together = losses_of(runs / f"{name}-1"), losses_of(runs / f"{name}-2")
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_adam_begins_the_same_course(runs):
    alone, together = losses_of(runs / "adam-1"), losses_of(runs / "adam-2")
    np.testing.assert_allclose(together[:3], alone[:3], rtol=1e-3)


def test_lag_is_another_course(runs):
    late, now = losses_of(runs / "deeplab, lag-2"), losses_of(runs / "deeplab-2")
    # A line's loss is that of the gradients used: the first step of six has none.
    assert len(late) == len(now) - 1
    assert late[0] == pytest.approx(now[0], rel=1e-6)
    assert not np.allclose(late[2:], now[2:-1], rtol=1e-3)


def test_scores_are_of_the_whole_split(runs):
    assert scores_of(runs / "deeplab-2") == pytest.approx(scores_of(runs / "deeplab-1"), abs=1e-3)


@pytest.fixture(scope="module")
def resumed(samples, tmp_path_factory):
    """Two ranks that trained 3 steps of 6, gone on by 2, 1 and 4 ranks; and 6 steps straight."""
    folder = tmp_path_factory.mktemp("resumed")
    whole = changed(PLAIN, batch_size=2, exchange__lag=1, checkpoint__interval=3)
    first = {"samples": samples, "num_ranks": 2}
    names = ("two", "four")
    run_jobs(
        [first | {"run": folder / "straight", "settings": whole}]
        + [first | {"run": folder / name, "settings": whole} for name in names]
    )
    for name in names:
        # As if killed after the first checkpoint: the later one is lost.
        latest = folder / name / "checkpoints" / "latest"
        kept = sorted(p for p in latest.parent.iterdir() if p.name.startswith("step_"))
        for path in kept[1:]:
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        latest.write_text(kept[0].name)
    run_jobs(
        [
            {
                "samples": samples,
                "run": folder / name,
                "settings": None,
                "num_ranks": n,
                "resume": True,
            }
            for name, n in (("two", 2), ("four", 4))
        ]
    )
    return folder


def test_ranks_go_on_bit_for_bit(resumed):
    assert last_state(resumed / "straight")["step"] == 6
    assert same(last_weights(resumed / "two"), last_weights(resumed / "straight"))


def test_other_ranks_go_on_in_the_same_epoch(resumed):
    # 24 samples: 3 steps of 2 x 2 are 12; 3 steps of 2 on 4 ranks are 24 more, so of the 12 that
    # are left the first 8 are one step, and what then fills no batch is left for another epoch.
    state = last_state(resumed / "four")
    assert (state["step"], state["position"]) == (6, [1, 16])
    assert not same(state["network"], last_weights(resumed / "straight"))
