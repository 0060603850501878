"""One process at a time trains in a run folder."""

import errno
import os

import pytest
from tests.train.made_checkpoints import load, state_of, store_of

from exastorm.errors import InputError
from exastorm.train import run_lock


def test_a_second_one_is_refused(tmp_path):
    with store_of(tmp_path) as first:
        holder = rf"another process trains in this folder \(process {os.getpid()} on "
        with pytest.raises(InputError, match=holder), store_of(tmp_path):
            pass
        first.save(state_of(3), 3)
    with store_of(tmp_path) as store:
        assert store.load()[1] == 3


def test_a_filesystem_without_locks_is_no_reason_not_to_train(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", no_locks)
    with store_of(tmp_path) as store:
        store.save(state_of(1), 1)
    assert load(tmp_path) == 1
