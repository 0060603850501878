"""Batches in buffers that are used again, filled by threads or processes, copied to a device."""

import gc
import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.parallel.made_forks import Fork, run_program
from tests.samples.kept import kept

from exastorm.errors import InputError
from exastorm.samples import worker_choice
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.device_feed import copied_ahead
from exastorm.samples.loader import LoaderSettings, endless_loader, make_loader, with_workers
from exastorm.samples.sampler import SamplePlan, SamplePosition
from exastorm.samples.shards import SampleStore
from exastorm.samples.worker_choice import WorkerChoice, choose_workers

PROCESSES = LoaderSettings(workers="processes", num_threads=2)


@pytest.fixture
def dataset(prepared):
    return SegmentationDataset(
        SampleStore(prepared), "train", class_weights=(1.0, 37.5, 7.7), roll=True
    )


def plan_of(dataset, **changes):
    return SamplePlan(**{"num_samples": len(dataset), "batch_size": 4, "seed": 1, **changes})


def equal(ours, theirs):
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("num_ahead", [1, 3])
def test_a_step_allocates_nothing(dataset, num_threads, num_ahead):
    settings = LoaderSettings(num_threads=num_threads, num_ahead=num_ahead)
    loader = make_loader(dataset, plan_of(dataset), epoch=0, settings=settings)
    places = [batch.field.data_ptr() for batch in loader]
    assert len(places) > 2 * (num_ahead + 2)
    # The ring has a batch for each made ahead, the one given, and one that is copied.
    assert len(set(places)) == num_ahead + 2
    assert places[: num_ahead + 2] == places[num_ahead + 2 : 2 * (num_ahead + 2)]


def test_a_batch_is_not_touched_until_the_next_is_asked_for(dataset):
    for batch in make_loader(dataset, plan_of(dataset), epoch=0):
        before = batch.field.clone()
        time.sleep(0.005)  # the threads have time to fill all that they may
        assert torch.equal(batch.field, before)


def test_processes_give_what_threads_give(dataset):
    plan = plan_of(dataset, tail="keep")
    for epoch in (0, 1):
        ours = kept(make_loader(dataset, plan, epoch=epoch))
        assert equal(ours, kept(make_loader(dataset, plan, epoch=epoch, settings=PROCESSES)))


def test_processes_without_workers_are_none(dataset):
    settings = LoaderSettings(workers="processes", num_threads=0)
    assert len(list(make_loader(dataset, plan_of(dataset), epoch=0, settings=settings))) > 5


def num_shared():
    """Parts of this process' memory that are shared rings."""
    return Path("/proc/self/maps").read_text().count("memfd:exastorm-samples")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is Linux'")
def test_shared_memory_has_no_name_and_goes_with_its_last_user(dataset):
    loader = make_loader(dataset, plan_of(dataset), epoch=0, settings=PROCESSES)
    batch = next(loader)
    before, pids = batch.field.clone(), [p.pid for p in processes_of(loader)]
    assert num_shared() == 1
    loader.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    # What was given stays readable as long as somebody has it.
    assert torch.equal(batch.field, before)
    del batch, loader
    gc.collect()
    assert num_shared() == 0


def processes_of(loader):
    """The filler's processes, found in the frames of the generator."""
    return loader.gi_frame.f_locals["filler"]._processes


def test_a_dead_worker_is_one_clear_error(dataset):
    loader = make_loader(dataset, plan_of(dataset), epoch=0, settings=PROCESSES)
    next(loader)
    os.kill(processes_of(loader)[1].pid, signal.SIGKILL)
    with pytest.raises(InputError, match="which read samples, ended by signal 9") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_a_sample_comes_from_processes_as_from_threads(prepared, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in Path(prepared).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    store = SampleStore(folder)
    with (folder / "train-00000.bin").open("r+b") as file:
        file.write(b"\xff" * 64)  # the first values of the first sample are no numbers
    told = []
    for settings in (LoaderSettings(), PROCESSES):
        dataset = SegmentationDataset(store, "train", class_weights=(1.0, 2.0, 3.0))
        with pytest.raises(InputError) as caught:
            list(make_loader(dataset, plan_of(dataset), epoch=0, settings=settings))
        told.append((str(caught.value), caught.value.variable))
        dataset = SegmentationDataset(store, "train", class_weights=(1.0, 2.0, 3.0), skip_bad=True)
        with pytest.warns(RuntimeWarning, match="sample left out: "):
            list(make_loader(dataset, plan_of(dataset), epoch=0, settings=settings))
        told.append(dataset.bad_samples)
    assert told[:2] == told[2:]
    assert list(told[1]) == [0]


SCRIPT = """
import sys, time
from pathlib import Path
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import LoaderSettings, make_loader
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.shards import SampleStore

if __name__ == "__main__":
    dataset = SegmentationDataset(SampleStore(sys.argv[1]), "train", class_weights=(1, 1, 1))
    plan = SamplePlan(num_samples=len(dataset), batch_size=4)
    settings = LoaderSettings(workers="processes", num_threads=1)
    loader = make_loader(dataset, plan, epoch=0, settings=settings)
    next(loader)
    pids = [p.pid for p in loader.gi_frame.f_locals["filler"]._processes]
    Path(sys.argv[2]).write_text(f"{pids[0]} {len(pids)}.")
    time.sleep(60)
"""


def test_workers_end_with_a_parent_that_is_killed(prepared, tmp_path):
    script, told = tmp_path / "feed.py", tmp_path / "told.txt"
    script.write_text(SCRIPT)
    parent = Fork(run_program, ((script, prepared, told),), tmp_path / "parent")
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text().endswith(".")) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    parent.kill()
    pid, num_workers = told.read_text().rstrip(".").split()
    assert int(num_workers) == 1
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert not Path(f"/proc/{pid}").exists()


LEFT_HALF_READ = """
import sys
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import LoaderSettings, make_loader
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.shards import SampleStore

if __name__ == "__main__":
    dataset = SegmentationDataset(SampleStore(sys.argv[1]), "train", class_weights=(1, 1, 1))
    plan = SamplePlan(num_samples=len(dataset), batch_size=4)
    settings = LoaderSettings(workers="processes", num_threads=2)
    loader = sys.left = make_loader(dataset, plan, epoch=0, settings=settings)
    next(loader)
"""


def test_a_program_ends_that_leaves_its_loader_half_read(prepared, tmp_path):
    # Python ends such workers by SIGTERM, which they leave to their parent, and waits for them.
    script = tmp_path / "leave.py"
    script.write_text(LEFT_HALF_READ)
    program = Fork(run_program, ((script, prepared),), tmp_path / "program")
    assert program.end(60)[0] == 0


@pytest.mark.parametrize("settings", [LoaderSettings(num_ahead=3), PROCESSES])
def test_workers_live_from_epoch_to_epoch(dataset, settings):
    # Two steps an epoch: fewer than are made ahead.
    plan = plan_of(dataset, batch_size=len(dataset) // 2)
    usual = [kept(make_loader(dataset, plan, epoch=epoch)) for epoch in (4, 5, 6)]
    start = SamplePosition(4, plan.batch_size)
    endless = endless_loader(dataset, plan, start, settings=settings)
    wanted = [*usual[0][1:], *usual[1], *usual[2]]
    got = kept(itertools.islice(endless, 3))
    filler = endless.gi_frame.f_locals["filler"]
    got += kept(itertools.islice(endless, len(wanted) - 3))
    assert endless.gi_frame.f_locals["filler"] is filler
    assert equal(got, wanted)
    endless.close()


def test_threads_are_chosen_where_no_lock_is_held(dataset):
    settings, choice = with_workers(LoaderSettings(), dataset)
    assert (settings.workers, choice.speedup) == ("threads", None)
    assert choice.to_line(2) == "samples are read by 2 threads"
    fixed, choice = with_workers(PROCESSES, dataset)
    assert fixed is PROCESSES
    assert choice == WorkerChoice("processes")


@pytest.mark.parametrize(("together_s", "chosen"), [(0.9, "processes"), (0.6, "threads")])
def test_where_a_lock_is_held_a_measurement_decides(dataset, monkeypatch, together_s, chosen):
    # Of 1 s alone: 1.1 or 1.7 times as fast together, where 0.7 x 2 = 1.4 is asked for.
    monkeypatch.setattr(dataset.store, "holds_lock", True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    seconds = iter([5.0, 1.0, together_s])
    monkeypatch.setattr(worker_choice, "_seconds", lambda *_: next(seconds))
    choice = choose_workers(dataset, 4)
    assert choice.workers == chosen
    assert f"read by 4 {chosen}: 4 threads read {1 / together_s:.2g} times" in choice.to_line(4)


def test_processes_must_save_more_than_their_start_takes(dataset, monkeypatch):
    monkeypatch.setattr(dataset.store, "holds_lock", True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    # 4 samples in 4 s by one thread and as long by two: two processes save 0.5 s of each sample.
    monkeypatch.setattr(worker_choice, "_seconds", lambda *_: 4.0)
    choice = choose_workers(dataset, 2)
    assert choice.saved_s == 0.5
    num_enough = round(worker_choice.START_S / 0.5)
    assert choice.over(num_enough) is choice.over(None) is choice
    few = choice.over(num_enough - 1)
    assert few.workers == "threads"
    assert "processes would take longer to start than they save" in few.to_line(2)
    assert with_workers(LoaderSettings(), dataset, num_enough - 1)[0].workers == "threads"
    assert with_workers(LoaderSettings(), dataset)[0].workers == "processes"
    # What is asked for is not judged.
    assert WorkerChoice("processes").over(1).workers == "processes"


def test_the_measurement_reads_samples(dataset, monkeypatch):
    monkeypatch.setattr(dataset.store, "holds_lock", True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    choice = choose_workers(dataset, 2)
    assert choice.speedup is not None
    assert choice.speedup > 0
    assert choose_workers(dataset, 1) == WorkerChoice("threads")


def test_batches_are_copied_ahead_into_two_sets_in_turn(dataset):
    plan = plan_of(dataset, tail="keep", batch_size=5)
    host = kept(make_loader(dataset, plan, epoch=0))
    asked = []

    def batches():
        for number, batch in enumerate(host):
            asked.append(number)
            yield batch

    places = []
    for number, batch in enumerate(copied_ahead(batches(), torch.device("cpu"), 5)):
        assert equal([batch], [host[number]])
        assert batch.field.data_ptr() != host[number].field.data_ptr()
        # The next one is there already.
        assert asked[-1] == min(number + 1, len(host) - 1)
        places.append(batch.field.data_ptr())
    assert len(places) == len(host)
    assert len(set(places)) == 2
    assert places[0] != places[1]


def test_tasks_beyond_a_pipe_wait_their_turn(dataset, monkeypatch):
    monkeypatch.setattr("exastorm.samples.processes.TASKS_IN_PIPE", 2)
    plan = plan_of(dataset, batch_size=13)
    usual = kept(make_loader(dataset, plan, epoch=0))
    assert equal(usual, kept(make_loader(dataset, plan, epoch=0, settings=PROCESSES)))


def test_unknown_workers_are_refused():
    with pytest.raises(
        ValueError, match="workers must be one of auto, threads, processes, got 'x'"
    ):
        LoaderSettings(workers="x")
