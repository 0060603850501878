"""However and whenever a process dies, it leaves a whole checkpoint."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from tests.train.made_checkpoints import FILES, load, save_two, state_of, store_of

from exastorm.train.checkpoint import CheckpointSettings, CheckpointStore, has_checkpoint


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of steps 1 and 2, the latter the latest."""
    return save_two(tmp_path)


@pytest.fixture
def folder(run):
    """The folder of its checkpoints."""
    return run / "checkpoints"


def test_partial_checkpoints_are_ignored_and_removed(run, folder):
    partial = folder / "step_00000003.partial"
    shutil.copytree(folder / "step_00000002", partial)
    (folder / "latest.partial").write_text("step_00000003\n")
    assert load(run) == 2
    with store_of(run) as store:
        assert not list(folder.glob("*.partial"))
        assert store.load()[1] == 2


class Died(BaseException):
    """The process is no more: nothing after it is done."""


class Mortal:
    """Kills at one of the calls that change the disk, before it is done."""

    def __init__(self, patch, call_of_death):
        self.num_calls = 0
        self.call_of_death = call_of_death
        calls = [(os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")]
        for where, name in [*calls, (shutil, "rmtree"), (torch, "save")]:
            patch.setattr(where, name, self.counted(getattr(where, name)))

    def counted(self, call):
        def counting(*args, **kwargs):
            self.num_calls += 1
            if self.num_calls == self.call_of_death:
                raise Died
            return call(*args, **kwargs)

        return counting


@pytest.mark.parametrize("num_kept", [1, 2])
@pytest.mark.parametrize("step", [2, 3])
def test_death_at_any_point_of_a_write_leaves_a_whole_checkpoint(tmp_path, num_kept, step, capsys):
    deaths, found = 0, set()
    while True:
        run = tmp_path / str(deaths)
        with store_of(run, num_kept=num_kept) as store:
            for before in (1, 2):
                store.save(state_of(before), before)
        with pytest.MonkeyPatch.context() as patch, store_of(run, num_kept=num_kept) as store:
            mortal = Mortal(patch, deaths + 1)
            try:
                store.save(state_of(step), step)
                break
            except Died:
                deaths += 1
        with store_of(run, num_kept=num_kept) as store:
            found.add(store.load()[1])
            # And the run goes on.
            store.save(state_of(4), 4)
            assert store.load()[1] == 4
        left = {p.suffix for p in (run / "checkpoints").iterdir()}
        assert not left & {".partial", ".replaced"}
    # Clear the way, make the folder, save, sync two files and their folder, rename, sync the folder
    # above, sync and rename `latest`, sync the folder: 11 at the least.
    assert deaths == mortal.num_calls >= 11
    assert found == {2, step}
    assert capsys.readouterr().err == ""


def test_all_is_on_disk_before_it_has_its_name(run, folder, monkeypatch):
    synced, renamed = set(), []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(handle):
        synced.add(os.fstat(handle).st_ino)
        real_sync(handle)

    def rename(path, target):
        if path.name == "step_00000003.partial":
            renamed.append({p.name for p in (path, *path.iterdir()) if p.stat().st_ino in synced})
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    with store_of(run) as store:
        store.save(state_of(3), 3)
    assert renamed == [{"step_00000003.partial", *FILES}]
    assert folder.stat().st_ino in synced


def write_until_killed(run):
    with CheckpointStore(run, CheckpointSettings(num_kept=2)) as store:
        step = store.load()[1] if has_checkpoint(run) else 0
        while True:
            step += 1
            store.save(state_of(step, size=300_000), step)


def test_kills_at_random_moments_leave_a_whole_checkpoint(tmp_path, capsys):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    chance = random.Random(0)
    folder, last, num_amid_write = tmp_path / "checkpoints", 0, 0
    for _ in range(15):
        child = context.Process(target=write_until_killed, args=(tmp_path,))
        child.start()
        while not (
            (folder / "lock").exists() and f" {child.pid} " in (folder / "lock").read_text()
        ):
            time.sleep(0.001)
        while not has_checkpoint(tmp_path):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.2))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        num_amid_write += any(folder.glob("*.partial"))
        step = load(tmp_path)
        assert step >= last
        last = step
    assert last > 2
    assert num_amid_write > 0
    assert capsys.readouterr().err == ""
