"""Two jobs never stage into one folder; a lock of a job that is gone holds nobody up."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from exastorm.errors import InputError
from exastorm.parallel.staging.folder_lock import FolderLock, _self_record

HOLD = """
import sys, time
from pathlib import Path
from exastorm.parallel.staging.folder_lock import FolderLock
FolderLock(Path(sys.argv[1]), Path(sys.argv[1]).parent).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def lock_in(tmp_path):
    return FolderLock(tmp_path / "lock", tmp_path)


def without_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("has_locks", [True, False])
def test_one_at_a_time_until_it_is_killed(tmp_path, other, has_locks, monkeypatch):
    if not has_locks:
        without_locks(monkeypatch)
    line = re.escape(
        f"{tmp_path}: another job or node stages into this folder (process {other.pid} on "
    )
    with pytest.raises(InputError, match=line):
        lock_in(tmp_path).acquire()
    other.send_signal(signal.SIGKILL)
    other.wait()
    lock = lock_in(tmp_path)
    lock.acquire()
    lock.acquire()
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()
    lock.release()
    assert (tmp_path / "lock").read_text() == ""


def test_two_in_one_process(tmp_path):
    lock = lock_in(tmp_path)
    lock.acquire()
    with pytest.raises(InputError, match=f"process {os.getpid()} "):
        lock_in(tmp_path).acquire()
    lock.release()
    again = lock_in(tmp_path)
    again.acquire()
    again.release()


@pytest.mark.parametrize(
    "stale",
    [
        {"boot": "another"},  # The machine was started again.
        {"start": "1"},  # Another process got its number.
        {"processes": "pid:[1]"},  # Its number counts in another container: the kernel's lock says.
    ],
)
def test_a_number_that_now_means_another_process(tmp_path, other, stale, monkeypatch):
    without_locks(monkeypatch)
    record = json.loads((tmp_path / "lock").read_text())
    assert record["pid"] == other.pid
    assert record.keys() == _self_record().keys()
    (tmp_path / "lock").write_text(json.dumps(record | stale))
    lock = lock_in(tmp_path)
    lock.acquire()
    lock.release()


def test_a_record_that_is_torn(tmp_path):
    (tmp_path / "lock").write_text('{"pid": 1')
    lock = lock_in(tmp_path)
    lock.acquire()
    lock.release()
