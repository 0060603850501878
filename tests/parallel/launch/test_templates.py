"""The scripts in launch/: what they ask launchers for, and how they end, with launchers made up.

What the real ones do with it was tried by hand (docs/parallel.md).
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "launch"

LIMIT_S = 60


@pytest.fixture
def call(tmp_path):
    """Start a script where some launchers are scripts of ours, and hosts is a list of nodes."""
    hosts = tmp_path / "hosts"
    hosts.write_text("# two of them\n\n node1:4\nnode2:4\n")

    def start(script, *words, variables=None, **launchers):
        for name, body in launchers.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMP", "MASTER"))
        }
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            # A shell can't hear a signal that was ignored when it began, as of jobs in background.
            ["env", "--default-signal=INT", SCRIPTS / script, *words],
            cwd=tmp_path, text=True, start_new_session=True,
            env=clean | {"PATH": path} | (variables or {}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


TELL = 'echo "$MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS $I_MPI_PIN: $*"'
OPEN_MPI = '[ "$1" = --version ] && echo "mpirun (Open MPI) 5.0.11" && exit'
HYDRA = '[ "$1" = --version ] && echo "HYDRA build details:" && exit'
TRAIN = "exastorm train samples --out run --auto-resume"


def test_mpi_tells_all_ranks_where_to_meet_and_pins_none(call):
    ask = ("mpi.sh", "hosts", "8", "samples", "run")
    out, _ = call(*ask, mpirun=f"{OPEN_MPI}\n{TELL}").communicate(timeout=LIMIT_S)
    assert out == (
        "node1 29500 1 0: --hostfile hosts --bind-to none -x MASTER_ADDR -x MASTER_PORT "
        f"-x OMP_NUM_THREADS -n 8 {TRAIN} --config cluster\n"
    )
    more = {"MPI_OPTIONS": "-ppn 4", "MASTER_PORT": "77", "OMP_NUM_THREADS": "3"}
    out, _ = call(*ask, variables=more, mpirun=HYDRA, mpiexec=TELL).communicate(timeout=LIMIT_S)
    assert out == f"node1 77 3 0: -f hosts -ppn 4 -n 8 {TRAIN} --config cluster\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_mpi_saves_the_run_at_the_first_signal_and_kills_it_at_the_second(call, number):
    # A launcher that notes USR1, and ends with a code of its own at TERM.
    launcher = (
        f"{OPEN_MPI}\ntrap 'echo saves' USR1; trap 'echo killed; exit 7' TERM\n"
        "echo ready; while :; do sleep 0.05; done"
    )
    script = call("mpi.sh", "hosts", "2", "samples", "run", mpirun=launcher)
    assert script.stdout.readline() == "ready\n"
    for answer in ("saves\n", "killed\n"):
        script.send_signal(number)
        assert script.stdout.readline() == answer
    script.communicate(timeout=LIMIT_S)
    assert script.returncode == 7


SLURM = ("slurm.sh", "samples", "run")


def test_slurm_gives_tasks_their_cpus(call):
    tell = 'echo "$OMP_NUM_THREADS: $*"'
    cpus = {"SLURM_CPUS_PER_TASK": "8"}
    out, _ = call(*SLURM, variables=cpus, srun=tell).communicate(timeout=LIMIT_S)
    assert out == (
        f"8: --cpus-per-task 8 --kill-on-bad-exit=0 --wait 60 {TRAIN} --config cluster\n"
    )


@pytest.mark.parametrize(
    ("codes", "end"),
    [
        ("137 1 0", 0),  # a rank killed, another lost, and then all went well
        ("2 0", 2),  # something given is wrong, and would be again
        ("137 137 137 0", 1),  # not more than three times
    ],
)
def test_slurm_starts_ranks_again_after_a_loss(call, tmp_path, codes, end):
    (tmp_path / "codes").write_text(codes.replace(" ", "\n") + "\n")
    srun = 'code=$(head -n 1 codes); sed -i 1d codes; exit "$code"'
    script = call(*SLURM, srun=srun)
    _, errors = script.communicate(timeout=LIMIT_S)
    assert script.returncode == end
    lost = [code for code in codes.split()[:3] if code not in "02"]
    assert errors.splitlines() == [
        f"slurm.sh: attempt {attempt} ended with code {code}"
        for attempt, code in enumerate(lost, start=1)
    ]


@pytest.mark.parametrize(
    ("ask", "launcher"),
    [
        (("mpi.sh", "hosts", "8", "samples", "run"), "mpiexec"),
        (SLURM, "srun"),
        (("torchrun.sh", "2", "4", "node1", "samples", "run"), "torchrun"),
    ],
)
def test_own_settings_take_the_place_of_the_usual_ones(call, ask, launcher):
    launchers = {"mpirun": HYDRA, launcher: 'echo "$*"'}
    for own in (["--config", "own.yaml"], ["--config=own.yaml"]):
        words = [*own, "--train.num-steps", "5"]
        out, _ = call(*ask, *words, **launchers).communicate(timeout=LIMIT_S)
        assert out.endswith(f"{TRAIN} {' '.join(words)}\n")
    usual, _ = call(*ask, **launchers).communicate(timeout=LIMIT_S)
    assert usual.endswith(f"{TRAIN} --config cluster\n")
