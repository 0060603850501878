"""The share of the time that a training waits for data."""

import pytest
import torch

from exastorm.parallel.world import World
from exastorm.samples import worker_choice
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.train import data, waiting
from exastorm.train.data import TrainingData
from exastorm.train.settings import TrainSettings
from exastorm.train.waiting import DataWait


def test_waits_and_work_are_told_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(waiting.time, "perf_counter", lambda: now[0])

    def batches():
        for seconds in (3.0, 1.0):
            now[0] += seconds
            yield seconds

    wait = DataWait()
    assert wait.share == 0.0
    given = []
    for batch in wait.timed(batches()):
        given.append(batch)
        now[0] += 6.0
    assert given == [3.0, 1.0]
    # 3 + 1 s of waiting, 6 + 6 s of work: a quarter of all was waited.
    assert (wait.waited_s, wait.worked_s) == (4.0, 12.0)
    assert wait.share == pytest.approx(0.25)


@pytest.mark.parametrize(("num_steps", "wanted"), [(100, "threads"), (1000, "processes")])
def test_processes_read_only_what_pays_for_their_start(
    num_steps, wanted, samples, tmp_path, monkeypatch
):
    convert_samples(samples, tmp_path / "zarr", ConvertSettings(to="zarr"))
    monkeypatch.setattr(worker_choice.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    # One thread takes 40 ms for 4 samples, as long as two: processes save 5 ms with each sample,
    # and in 1000 samples what their start takes.
    monkeypatch.setattr(worker_choice, "_seconds", lambda *_: 0.04)
    asked = []
    for name in ("endless_loader", "make_loader"):
        monkeypatch.setattr(data, name, lambda *_, settings, **__: asked.append(settings) or [])
    settings = TrainSettings(num_steps=num_steps, batch_size=2)
    seen = TrainingData(tmp_path / "zarr", settings, World.single(), torch.device("cpu"))
    list(seen.batches(0))
    # Workers of training live as long as it does, those of a validation of a few samples do not.
    list(seen.validation_batches())
    assert [each.workers for each in asked] == [wanted, "threads"]
