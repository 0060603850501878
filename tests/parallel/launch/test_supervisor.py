"""Ranks that are started, lost and started again; here programs that only say who they are."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import exastorm
from exastorm.parallel.launch.supervisor import Supervisor, SupervisorSettings

QUICK = {"grace_s": 5.0}

SUPERVISE = """
import sys
from exastorm.parallel.launch.supervisor import Supervisor, SupervisorSettings
settings = SupervisorSettings(num_ranks=2, max_restarts=3, grace_s=5.0)
sys.exit(Supervisor(lambda attempt: [sys.executable, "-c", sys.argv[1]], settings).run())
"""


def supervise(program, folder, **settings):
    """Exit code of ranks that run a program, which is told a folder and the attempt."""

    def command(attempt):
        return [sys.executable, "-c", textwrap.dedent(program), str(folder), str(attempt)]

    return Supervisor(command, SupervisorSettings(**QUICK | settings)).run()


SAY = """
import os, pathlib, signal, sys, time
folder, attempt, rank = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(os.environ["RANK"])
(folder / f"{attempt}-{rank}").write_text(
    " ".join(os.environ[n] for n in ("WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"))
)
"""


def seen(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_every_rank_is_started_once_and_knows_who_it_is(tmp_path):
    assert supervise(SAY, tmp_path, num_ranks=3) == 0
    assert seen(tmp_path) == {"0-0": "3 0 0", "0-1": "3 1 0", "0-2": "3 2 0"}


def test_ranks_meet_at_the_supervisors_store(tmp_path):
    program = (
        SAY
        + """
import socket
with socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))):
    pass
assert os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
"""
    )
    assert supervise(program, tmp_path, num_ranks=2, max_restarts=0) == 0


def test_all_ranks_are_started_again_when_one_is_killed(tmp_path, capfd):
    program = (
        SAY
        + """
if attempt == 0:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
"""
    )
    start = time.monotonic()
    assert supervise(program, tmp_path, num_ranks=2) == 0
    # Rank 0 was asked to stop, and not waited for.
    assert time.monotonic() - start < 30
    assert set(seen(tmp_path)) == {"0-0", "0-1", "1-0", "1-1"}
    line = "exastorm: rank 1 was killed by SIGKILL; all ranks are started again (3 restarts left)\n"
    assert capfd.readouterr().err == line


def test_ranks_that_end_by_themselves_are_not_asked_to(tmp_path, capfd):
    # They have heard of the loss, and say why they end; a signal would make them say more.
    program = (
        SAY
        + """
signal.signal(signal.SIGTERM, lambda *_: (folder / f"asked-{rank}").touch())
if rank == 1:
    sys.exit(1)
while not (folder / f"{attempt}-1").exists():
    time.sleep(0.01)
time.sleep(0.5)
sys.exit(1)
"""
    )
    assert supervise(program, tmp_path, num_ranks=2, max_restarts=0) == 1
    assert set(seen(tmp_path)) == {"0-0", "0-1"}
    line = "exastorm: rank 1 ended with code 1; not started again after 0 restarts\n"
    assert capfd.readouterr().err == line


def test_a_stopped_rank_is_not_waited_for_and_named(tmp_path, capfd):
    program = (
        SAY
        + """
if rank == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
while not (folder / f"{attempt}-1").exists():
    time.sleep(0.01)
time.sleep(0.5)
sys.exit(1)
"""
    )
    supervisor = Supervisor(
        lambda attempt: [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), "0"],
        SupervisorSettings(num_ranks=2, max_restarts=0, grace_s=600.0),
    )
    start = time.monotonic()
    assert supervisor.run() == 1
    assert time.monotonic() - start < 300
    line = "rank 1 did not end when it had to, and was killed; not started again after 0 restarts"
    assert capfd.readouterr().err == f"exastorm: {line}\n"


def test_restarts_come_to_an_end(tmp_path, capfd):
    assert supervise(SAY + "sys.exit(5)", tmp_path, num_ranks=1, max_restarts=2) == 1
    assert set(seen(tmp_path)) == {"0-0", "1-0", "2-0"}
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].endswith("all ranks are started again (2 restarts left)")
    assert lines[-1] == "exastorm: rank 0 ended with code 5; not started again after 2 restarts"


def test_what_was_given_wrong_is_as_wrong_the_next_time(tmp_path):
    assert supervise(SAY + "sys.exit(2)", tmp_path, num_ranks=2) == 2
    assert {name[0] for name in seen(tmp_path)} == {"0"}


def test_a_rank_that_does_not_stop_is_killed(tmp_path):
    program = (
        SAY
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if rank == 0:
    (folder / "deaf").write_text(str(os.getpid()))
    time.sleep(60)
while not (folder / "deaf").exists():
    time.sleep(0.01)
sys.exit(1)
"""
    )
    start = time.monotonic()
    supervisor = Supervisor(
        lambda attempt: [sys.executable, "-c", program, str(tmp_path), str(attempt)],
        SupervisorSettings(num_ranks=2, max_restarts=0, grace_s=0.5),
    )
    assert supervisor.run() == 1
    assert 0.5 <= time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "deaf").read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_end_the_run(tmp_path, number):
    program = f"""
import os, pathlib, signal, sys, time
folder, rank = pathlib.Path({str(tmp_path)!r}), os.environ["RANK"]
def stop(*_):
    (folder / f"stopped-{{rank}}").touch()
    sys.exit(0)
signal.signal({int(number)}, stop)
(folder / f"ready-{{rank}}").touch()
time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(exastorm.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, program], env=environment)
    try:
        while len(list(tmp_path.glob("ready-*"))) < 2 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert len(list(tmp_path.glob("stopped-*"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_ranks": 0}, "num_ranks must be at least 1, got 0"),
        ({"max_restarts": -1}, "max_restarts must not be negative, got -1"),
        ({"grace_s": 0.0}, "grace_s must be positive, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SupervisorSettings(**change)


def test_a_signal_while_ranks_are_started_reaches_them_too(capfd):
    def command(attempt):
        # None is there yet.
        os.kill(os.getpid(), signal.SIGTERM)
        return [sys.executable, "-c", "import time; time.sleep(600)"]

    settings = SupervisorSettings(num_ranks=2, max_restarts=3, **QUICK)
    assert Supervisor(command, settings).run() == 1
    assert "not started again, since a signal asked to stop" in capfd.readouterr().err


def test_what_a_deaf_rank_has_started_ends_with_it(tmp_path):
    # Rank 1 fails; rank 0 neither heeds a signal nor lets its child know.
    program = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
if os.environ["RANK"] == "1":
    while not (folder / "child").exists():
        time.sleep(0.02)
    sys.exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
(folder / "new").write_text(str(child.pid))
(folder / "new").rename(folder / "child")
time.sleep(600)
"""
    assert supervise(program, tmp_path, num_ranks=2, max_restarts=0, grace_s=1.0) == 1
    child = Path("/proc") / (tmp_path / "child").read_text()
    deadline = time.monotonic() + 10.0
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(process):
    """Whether a process is there, and more than the note of its end that nobody has read."""
    try:
        return (process / "stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
