"""Input rates of all sides over the same samples, at a tiny size; the peer is a stand-in."""

import itertools
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.parallel.made_forks import Fork, run_program

from exastorm.errors import InputError
from exastorm.performance import input as bench
from exastorm.performance import input_data, peer_input
from exastorm.performance.input import InputBenchSettings, bench_input, feed
from exastorm.performance.input_data import FORMS, make_input_data
from exastorm.samples.batch import Batch
from exastorm.samples.source import open_samples

SMALL = {"num_samples": 5, "height": 6, "width": 12, "num_rounds": 2, "num_threads": 1}


def test_all_forms_hold_the_same_samples(tmp_path):
    paths = make_input_data(tmp_path, 4, (6, 12))
    sources = {name: open_samples(path) for name, path in paths.items()}
    assert set(sources) == set(FORMS)
    single, half, files = sources.values()
    single.verify()
    fields = []
    for i in range(4):
        raws = [s.read_raw(i, np.empty(s.index.layout.stride, np.uint8)) for s in sources.values()]
        assert np.array_equal(raws[0].field, raws[2].field)
        for raw in raws:
            assert np.array_equal(raw.labels, raws[0].labels)
        center, unit = (
            np.array(v)[:, None, None] for v in (half.index.layout.center, half.index.layout.unit)
        )
        # Half precision: 2^-11 of values up to 1, in units of half the plausible range.
        assert np.all(np.abs(raws[1].field * unit + center - raws[0].field) <= 2.0**-11 * unit)
        fields.append(raws[0].field.copy())
    assert not np.array_equal(fields[0], fields[1])
    # What is said of all samples is that of the samples.
    assert single.index.statistics.mean == pytest.approx(np.mean(fields, axis=(0, 2, 3)), rel=1e-5)
    assert files.index.times == single.index.times


def test_figures_of_each_side(tmp_path):
    figures = bench_input(tmp_path, InputBenchSettings(**SMALL))
    assert set(figures["sides"]) == {"dd", *FORMS}
    for side in figures["sides"].values():
        assert side["best_samples_per_s"] >= side["samples_per_s"] > 0
        assert side["cpu_s_per_sample"] > 0
    assert figures["sides"]["dd"]["share_of_dd"] == 1
    assert figures["device"] == {}
    # 16 x 6 x 12 floats and 72 class bytes are 4680: two pages.
    assert figures["sample_mb"] == pytest.approx(0.008192)
    assert list(tmp_path.iterdir()) == [], "what was written is removed"


def test_the_device_is_fed_by_each_number_of_threads(tmp_path):
    figures = bench_input(tmp_path, InputBenchSettings(**SMALL, device_rate=500.0))
    assert set(figures["device"]) == {
        "shards float32, 1 thread",
        "shards float32, 2 threads",
        "shards float16, 1 thread",
        "shards float16, 2 threads",
    }
    for fed in figures["device"].values():
        assert 0 <= fed["share_waited"] < 1
        # A sleep is never shorter than asked for.
        assert 0 < fed["samples_per_s"] <= 500


class Clock:
    """A clock that goes on by sleep alone."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("delay_s", "waited"),
    [
        (0.0, 0.0),
        # Two samples at 100/s are 20 ms of work; each batch comes 20 ms after it is asked for. From
        # the first on, five are worked on and four waited for.
        (0.02, 4 / 9),
    ],
)
def test_waiting_is_what_data_come_late(delay_s, waited, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)

    def batches():
        for _ in range(5):
            clock.sleep(delay_s)
            yield Batch(torch.zeros(1), torch.zeros(2, 1), torch.zeros(1))

    fed = feed(batches(), 100.0)
    assert fed["share_waited"] == pytest.approx(waited)
    # Ten samples in 100 ms of work and 80 ms of waiting, or none.
    assert fed["samples_per_s"] == pytest.approx(10 / (0.1 + 4 * delay_s))


def test_the_reference_stands_beside_ours(tmp_path, monkeypatch):
    folder = tmp_path / "deepCam"
    (folder / "data").mkdir(parents=True)
    # The same interface as the reference's data set, with none of its work.
    (folder / "data" / "cam_hdf5_dataset.py").write_text(
        "import h5py, os\n"
        "class CamDataset:\n"
        "    def __init__(self, source, statsfile, channels, shuffle, preprocess):\n"
        "        assert os.path.isfile(statsfile) and channels == list(range(16))\n"
        "        self.files = [os.path.join(source, name) for name in os.listdir(source)]\n"
        "    def __len__(self):\n"
        "        return len(self.files)\n"
        "    def __getitem__(self, i):\n"
        "        with h5py.File(self.files[i]) as file:\n"
        "            field = file['climate/data'][...].transpose(2, 0, 1).copy()\n"
        "            return field, file['climate/labels_0'][...], self.files[i]\n"
    )
    monkeypatch.setattr(bench, "REFERENCE_WORK", {"reference, as shipped": (1, 1)})
    runs = itertools.count()

    def run(command, **_):
        # As it is, in a process that has imported torch already.
        fork = Fork(run_program, (command[1:],), tmp_path / f"peer-{next(runs)}")
        return subprocess.CompletedProcess(command, *fork.end(60))

    monkeypatch.setattr(peer_input, "subprocess", SimpleNamespace(run=run))
    values = SMALL | {"num_samples": 16, "num_rounds": 1}
    settings = InputBenchSettings(**values, deepcam=str(folder))
    sides = bench_input(tmp_path / "own", settings)["sides"]
    peer = sides["reference, as shipped"]
    assert peer["samples_per_s"] > 0
    best = max(peer["samples_per_s"], peer["steady_samples_per_s"])
    ours = sides["shards float32"]
    assert ours["over_reference"] == pytest.approx(ours["samples_per_s"] / best)
    assert "over_reference" not in peer
    (folder / "data" / "cam_hdf5_dataset.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(InputError, match="DeepCAM's loader must run, got RuntimeError: broken"):
        bench_input(tmp_path / "own", settings)


def test_what_is_missing_is_told_first(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"must be a folder with data/cam_hdf5_dataset\.py"):
        peer_input.check_reference(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cam_hdf5_dataset.py").touch()
    monkeypatch.setattr(peer_input, "SCRIPT", tmp_path / "none.py")
    with pytest.raises(InputError, match="from a checkout of exastorm"):
        peer_input.check_reference(tmp_path)
    usage = input_data.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(input_data.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(InputError, match="for 4 samples, 1e-08 GB are free"):
        make_input_data(tmp_path, 4, (6, 12))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="dd must run, got"):
        bench._read_raw([tmp_path / "data" / "cam_hdf5_dataset.py"], 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_rounds": 0}, "num_rounds must be at least 1, got 0"),
        ({"device_rate": -1.0}, "device_rate must not be negative"),
        ({"deepcam": "x", "num_samples": 8}, "num_samples must be at least 16"),
        ({"device": "gpu"}, "device must be cpu or cuda, got 'gpu'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        InputBenchSettings(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told_first(tmp_path):
    with pytest.raises(InputError, match="device must be cpu or auto, got cuda"):
        bench_input(tmp_path, InputBenchSettings(device="cuda"))
    assert not any(tmp_path.iterdir())
