"""Training from samples at an address, kept on a local drive once read."""

from dataclasses import replace

import fsspec
import pytest
import torch
from tests.train.conftest import changed, last_weights, same, train_until_killed

from exastorm.cli.main import main
from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.world import World
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.samples.loader import LoaderSettings
from exastorm.train.checkpoint import CheckpointSettings
from exastorm.train.data import TrainingData
from exastorm.train.device import ComputeSettings
from exastorm.train.run import train
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings

ADDRESS = "memory://bucket/samples.zarr"
# The memory of an address is that of this process.
SHORT = TrainSettings(
    num_steps=3,
    batch_size=4,
    schedule=ScheduleSettings(warmup_steps=1),
    checkpoint=CheckpointSettings(interval=1),
    compute=ComputeSettings(device="cpu", num_threads=1),
    loader=LoaderSettings(workers="threads"),
)


@pytest.fixture(scope="module")
def local(samples, tmp_path_factory):
    """Samples as a Zarr store that no test may change."""
    out = tmp_path_factory.mktemp("zarr") / "samples.zarr"
    convert_samples(samples, out, ConvertSettings(to="zarr"))
    return out


@pytest.fixture
def address(local, tmp_path, monkeypatch):
    """Where the same samples are in an object store of this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    memory = fsspec.filesystem("memory")
    memory.put(str(local), "/bucket/samples.zarr", recursive=True)
    yield ADDRESS
    memory.rm("/bucket", recursive=True)


def num_kept(folder):
    return len(list(folder.rglob("*.sample")))


def read_some(samples, settings):
    """Read two batches of different samples."""
    data = TrainingData(samples, settings, World.single(), torch.device("cpu"))
    batches = data.batches(0)
    next(batches), next(batches)
    batches.close()


def test_an_address_trains_and_resumes_as_a_folder_does(samples, address, tmp_path, monkeypatch):
    train(samples, tmp_path / "plain", SHORT, Cluster.alone())
    train_until_killed(monkeypatch, 2, address, tmp_path / "run", SHORT)
    assert (tmp_path / "run" / "samples.txt").read_text() == f"{ADDRESS}\n"
    train(None, tmp_path / "run", None, Cluster.alone(), resume=True)
    assert same(last_weights(tmp_path / "run"), last_weights(tmp_path / "plain"))


def test_the_command_takes_an_address(local, tmp_path, capsys):
    words = ["--train.num-steps", "1", "--train.schedule.warmup-steps", "0"]
    words += ["--train.compute.device", "cpu", "--train.loader.workers", "threads"]
    words += ["--train.loader.cache", str(tmp_path / "cache")]
    out = tmp_path / "run"
    assert main(["train", f"file://{local}", "--out", str(out), *words]) == 0, capsys.readouterr()
    assert (out / "samples.txt").read_text() == f"file://{local}\n"
    assert num_kept(tmp_path / "cache") >= 2


def test_what_is_read_is_kept_where_and_as_much_as_asked_for(address, local, tmp_path):
    read_some(address, SHORT)
    assert num_kept(tmp_path / "user-cache") >= 8
    read_some(address, changed(SHORT, loader__cache=str(tmp_path / "own")))
    assert num_kept(tmp_path / "own") >= 8
    # Room for three samples of 2 x 16 x 24 numbers and 384 classes, 4 bytes of checksum each.
    few = {"loader__cache": str(tmp_path / "few"), "loader__cache_gb": 3.2 * 3460e-9}
    read_some(address, changed(SHORT, **few))
    assert num_kept(tmp_path / "few") == 3
    none = {"loader__cache": str(tmp_path / "none"), "loader__cache_gb": 0.0}
    read_some(address, changed(SHORT, **none))
    assert num_kept(tmp_path / "none") == 0
    with pytest.raises(ValueError, match="cache_gb must not be negative"):
        LoaderSettings(cache_gb=-1.0)


def test_an_address_is_not_staged(tmp_path):
    settings = replace(SHORT, stage=StageSettings(folder=str(tmp_path)))
    with pytest.raises(InputError, match="must be a folder to be staged, got an address"):
        train(ADDRESS, tmp_path / "run", settings, Cluster.alone())
