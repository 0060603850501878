"""Two trainings one after the other in one cluster, as a program has them that tries settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.parallel.test_cluster import free_ports
from tests.train.conftest import changed, last_state, make_samples
from tests.train.test_ranks import PLAIN, spoil

import exastorm
from exastorm.config import to_dict

RANK = Path(__file__).with_name("rank_of_two_trainings.py")


def test_the_second_training_knows_nothing_of_the_first(samples, tmp_path):
    bad = make_samples(tmp_path / "bad")
    spoil(bad, rank=1, step=1)
    settings = changed(
        PLAIN,
        num_steps=3,
        batch_size=2,
        skip_bad=True,
        exchange__allreduce={"kind": "hierarchical"},
    )
    runs = [(str(bad), str(tmp_path / "first")), (str(samples), str(tmp_path / "second"))]
    told = {"runs": runs, "settings": to_dict(settings)}
    (port,) = free_ports(1)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GLOO", "SLURM", "EXASTORM"))}
    shared = clean | {
        "PYTHONPATH": str(Path(exastorm.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TOLD": json.dumps(told),
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, RANK],
            env=shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ends = [rank.communicate(timeout=280) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    for rank, (_, errors) in zip(ranks, ends, strict=True):
        assert rank.returncode == 0, errors
    first, second = json.loads(ends[0][0])
    assert [last_state(Path(run))["step"] for _, run in runs] == [3, 3]
    # What rank 1 left for rank 0 in the first is not found in the second.
    assert len(first["bad_samples"]) == 2
    assert second["bad_samples"] == []
