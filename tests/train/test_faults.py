"""Each fault of bench/faults.sh once: all ranks end, in one line, and the run goes on as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import exastorm

BENCH = Path(__file__).resolve().parents[2] / "bench" / "faults.sh"

LIMIT_S = 900


def run_bench(out, *words):
    """Run the bench; what it says of each trial, and what it prints."""
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(Path(exastorm.__file__).parents[1]),
    }
    done = subprocess.run(
        # Other tests may have the machine too.
        ["sh", str(BENCH), str(out), "--num-trials", "1", "--patience", "3", *words],
        env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.stdout.startswith("| fault |"), done.stdout + done.stderr
    path = out / "trials.jsonl"
    trials = [json.loads(line) for line in path.read_text().splitlines()]
    return trials, done


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Where samples and the run without a fault are made once."""
    return tmp_path_factory.mktemp("faults")


def try_fault(out, fault):
    """The one trial of a fault."""
    trials, done = run_bench(out, "--faults", fault)
    if "left out" in done.stdout:
        pytest.skip(done.stdout.splitlines()[-1])
    trial = trials[-1]
    assert trial["fault"] == fault
    assert trial["problems"] == []
    assert trial["is_clear"], trial["told"]
    assert trial["is_bounded"], trial
    assert trial["is_same"]
    assert trial["is_other_right"]
    assert done.returncode == 0
    return trial


@pytest.mark.slow
@pytest.mark.parametrize("place", ["forward", "backward", "exchange", "checkpoint"])
def test_a_rank_is_killed(out, place):
    trial = try_fault(out, f"kill-{place}")
    error, restart = trial["told"]
    assert error.startswith("exastorm: error: rank ")
    assert error.endswith(" died: its connection was closed")
    assert restart.endswith("was killed by SIGKILL; all ranks are started again (1 restarts left)")


@pytest.mark.slow
def test_a_rank_is_stopped(out):
    trial = try_fault(out, "stop")
    silent = f"for rank {trial['rank']} (gives no answer: its process is stopped, or its node"
    assert sum(silent in line for line in trial["told"]) >= 2  # the report, and the end


@pytest.mark.slow
def test_a_rank_is_given_what_is_no_number(out):
    trial = try_fault(out, "nan")
    (line,) = trial["told"]
    assert "loss or gradients were not finite in 1 steps in a row" in line
    assert f"the last of them step {trial['step'] + 1};" in line


@pytest.mark.slow
def test_the_link_of_a_node_is_cut(out):
    trial = try_fault(out, "cut")
    errors = [line for line in trial["told"] if line.startswith("exastorm: error: ")]
    assert any("for rank 0 (gives no answer" in line for line in errors)
    assert any("for rank 1 (gives no answer" in line for line in errors)


@pytest.mark.slow
def test_the_disk_of_the_checkpoints_is_full(out):
    trial = try_fault(out, "full-disk")
    (line,) = trial["told"]
    assert "cannot be written (No space left on device); the checkpoint before it is as" in line
