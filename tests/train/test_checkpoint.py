"""A checkpoint holds what was at the moment of the save, and comes back as it was."""

import resource
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.made_checkpoints import load, save_two, state_of, store_of

from exastorm.errors import InputError
from exastorm.train import checkpoint
from exastorm.train.checkpoint import CheckpointSettings, CheckpointStore, has_checkpoint
from exastorm.train.checkpoint_files import list_steps
from exastorm.train.snapshot import take_snapshot


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of steps 1 and 2, the latter the latest."""
    return save_two(tmp_path)


@pytest.fixture
def folder(run):
    """The folder of its checkpoints."""
    return run / "checkpoints"


def test_what_is_saved_is_what_is_loaded(tmp_path):
    state = {
        "network": {"a": torch.arange(5.0), "b": torch.tensor(7), "c": torch.ones(2).bfloat16()},
        "groups": [{"betas": (0.9, 0.999), "lr": 1e-3, "fused": None, "nesterov": True}],
        "best": {"tropical_cyclone": None, "background": 0.25},
        "samples": "ab" * 32,
        "random_state": torch.get_rng_state(),
    }
    with CheckpointStore(tmp_path, CheckpointSettings()) as store:
        store.save(state, 3)
        loaded, step = store.load()
    assert step == 3
    for name, tensor in state["network"].items():
        got = loaded["network"].pop(name)
        assert got.dtype == tensor.dtype
        assert torch.equal(got, tensor)
    assert torch.equal(loaded.pop("random_state"), state["random_state"])
    assert loaded == {**{k: v for k, v in state.items() if k != "random_state"}, "network": {}}
    assert isinstance(loaded["groups"][0]["betas"], tuple)


def test_memory_formats_are_kept_and_of_a_view_only_what_it_shows(tmp_path):
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    view = torch.zeros(1_000_000)[:4]
    with store_of(tmp_path) as store:
        store.save({"image": image, "view": view, "leaf": torch.nn.Parameter(view)}, 1)
        loaded, _ = store.load()
    assert loaded["image"].stride() == image.stride()
    assert torch.equal(loaded["image"], image)
    assert loaded["leaf"].requires_grad is False
    assert (tmp_path / "checkpoints" / "step_00000001" / "state.pt").stat().st_size < 10_000


@pytest.fixture
def held_writer(monkeypatch):
    """Writes begin when this event is set."""
    free = threading.Event()
    real_write = checkpoint.write_checkpoint

    def wait_and_write(*args):
        assert free.wait(timeout=60)
        real_write(*args)

    monkeypatch.setattr(checkpoint, "write_checkpoint", wait_and_write)
    return free


def test_the_state_of_the_moment_is_written_in_the_background(tmp_path, held_writer):
    state = {"weights": torch.ones(4), "losses": [1.0], "best": {"step": 1}}
    with CheckpointStore(tmp_path, CheckpointSettings(asynchronous=True)) as store:
        store.save(state, 1)
        assert list_steps(tmp_path / "checkpoints") == []
        # What the steps after it do.
        state["weights"].mul_(5)
        state["losses"].append(2.0)
        state["best"]["step"] = 2
        held_writer.set()
        store.wait()
        assert list_steps(tmp_path / "checkpoints") == [1]
        loaded, _ = store.load()
    assert torch.equal(loaded["weights"], torch.ones(4))
    assert (loaded["losses"], loaded["best"]) == ([1.0], {"step": 1})


def test_in_the_foreground_it_is_on_disk_when_save_returns(tmp_path, held_writer):
    held_writer.set()
    with CheckpointStore(tmp_path, CheckpointSettings(asynchronous=False)) as store:
        store.save(state_of(1), 1)
        assert list_steps(tmp_path / "checkpoints") == [1]


def test_the_end_of_the_context_waits_for_the_write(tmp_path, held_writer):
    with CheckpointStore(tmp_path, CheckpointSettings()) as store:
        store.save(state_of(1), 1)
        threading.Timer(0.05, held_writer.set).start()
    assert load(tmp_path) == 1


@pytest.mark.parametrize("value", [np.float64(1.0), np.zeros(2), object(), Path("a"), {1, 2}])
def test_what_could_not_be_read_back_is_not_written(tmp_path, value):
    with store_of(tmp_path) as store, pytest.raises(TypeError, match=r"got .* in best.iou\[1\]"):
        store.save({"best": {"iou": [0.5, value]}}, 1)
    assert list_steps(tmp_path / "checkpoints") == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_may_go_on_while_its_tensors_are_copied():
    weights = torch.ones(2000, 2000, device="cuda")
    snapshot = take_snapshot({"weights": weights})
    weights.mul_(5)
    copy = snapshot.wait()["weights"]
    assert copy.device.type == "cpu"
    assert copy.is_pinned()
    assert bool((copy == 1).all())


# When, and how many.


def test_the_interval_says_when():
    store = CheckpointStore(Path("run"), CheckpointSettings(interval=3))
    assert [step for step in range(1, 10) if store.is_due(step)] == [3, 6, 9]


@pytest.mark.parametrize("name", ["interval", "num_kept"])
def test_settings_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        CheckpointSettings(**{name: 0})


@pytest.mark.parametrize(("num_kept", "kept"), [(1, [50]), (2, [50, 40]), (9, [50, 40, 30, 20])])
def test_the_last_ones_are_kept(tmp_path, num_kept, kept):
    with store_of(tmp_path, num_kept=num_kept) as store:
        for step in (20, 30, 40, 50):
            store.save(state_of(step), step)
    assert list_steps(tmp_path / "checkpoints") == kept
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_00000050\n"
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"latest", "lock", *(f"step_{step:08d}" for step in kept)}


def test_the_same_step_again_takes_the_place_of_the_first(run, folder):
    with store_of(run) as store:
        store.save({**state_of(2), "note": "again"}, 2)
        assert store.load()[0]["note"] == "again"
    assert list_steps(folder) == [2, 1]
    assert not list(folder.glob("*.replaced*"))


# What cannot be written.


@pytest.fixture
def full_disk():
    """No file can grow beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_is_told_in_one_line_and_leaves_the_one_before(
    run, folder, asynchronous, full_disk, capsys
):
    settings = CheckpointSettings(asynchronous=asynchronous)
    told = r"step_00000003: cannot be written \(File too large\); the checkpoint before it"
    with CheckpointStore(run, settings) as store:
        if asynchronous:
            # The step goes on; the next save tells.
            store.save(state_of(3, size=100_000), 3)
            with pytest.raises(InputError, match=told):
                store.save(state_of(4), 4)
        else:
            with pytest.raises(InputError, match=told):
                store.save(state_of(3, size=100_000), 3)
        assert list_steps(folder) == [2, 1]
        assert not list(folder.glob("*.partial"))
        # When there is room again, so are checkpoints.
        store.save(state_of(5), 5)
    assert load(run) == 5
    assert capsys.readouterr().err == ""


def test_a_failed_write_is_told_at_the_end_at_the_latest(run, full_disk):
    with (
        pytest.raises(InputError, match="cannot be written"),
        CheckpointStore(run, CheckpointSettings()) as store,
    ):
        store.save(state_of(3, size=100_000), 3)


def test_a_failed_write_does_not_hide_what_ended_the_run(run, full_disk, capsys):
    def train():
        with CheckpointStore(run, CheckpointSettings()) as store:
            store.save(state_of(3, size=100_000), 3)
            raise InputError("loss became nan")

    with pytest.raises(InputError, match="loss became nan"):
        train()
    told = capsys.readouterr().err
    assert told.startswith("exastorm: warning: ")
    assert "step_00000003: cannot be written" in told
    # The lock is free again.
    with store_of(run):
        pass


def test_a_disk_that_stays_full_is_told_once(run, full_disk, capsys):
    def train():
        with CheckpointStore(run, CheckpointSettings()) as store:
            store.save(state_of(3, size=100_000), 3)
            try:
                store.save(state_of(4, size=100_000), 4)
            except InputError:
                # As a run does that ends for whatever reason.
                store.save(state_of(5, size=100_000), 5)
                raise

    with pytest.raises(InputError, match="step_00000003: cannot be written"):
        train()
    assert capsys.readouterr().err == ""


def test_the_form_of_before_is_refused_in_one_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"of before")
    for use in (has_checkpoint, lambda run: load(run)):
        with pytest.raises(InputError, match="was written by an earlier version of exastorm"):
            use(tmp_path)


def test_a_run_with_checkpoints_of_its_own_may_keep_an_old_one(run):
    (run / "checkpoint.pt").write_bytes(b"of before")
    assert has_checkpoint(run)
    assert load(run) == 2
