"""Labeling that is killed, shared out over a cluster, or fed with files cut anywhere.

However the work is done, and however often it has to start again, the files are the same.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import dask
import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import LocalCluster
from tests.labels.conftest import add_storm, calm, river

import exastorm
from exastorm.errors import InputError
from exastorm.labels import workers
from exastorm.labels.archive import label_archive
from exastorm.labels.settings import LabelSettings
from exastorm.labels.workers import run_jobs
from exastorm.readers.formats import cam
from exastorm.readers.schema import mock_dataset
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings

SC18_FIELDS = [
    "PSL",
    "U850",
    "V850",
    "UBOT",
    "VBOT",
    "T200",
    "T500",
    "Z1000",
    "Z200",
    "TMQ",
    "PRECT",
]

NUM_LAT, NUM_LON, NUM_TIMES = 91, 180, 24
"""Three-hourly: 69 hours, longer than the 54 hours that a track must last."""


def climate():
    """A cyclone that moves west over 0/360, off Namibia, and a river that comes and goes."""
    lat, lon = np.linspace(-90, 90, NUM_LAT), np.arange(NUM_LON) * 2.0
    snapshots = []
    for step in range(NUM_TIMES):
        place = {"lat": lat, "lon": lon, "peak_deg": 2.0, "wind": 35.0}
        fields = add_storm(calm(lat, lon), -18.0, (6.0 - 0.5 * step) % 360, **place)
        if step % 5 == 2:
            fields["TMQ"][river(42.0, 200.0, 20.0, lat=lat, lon=lon)] = 60.0
        snapshots.append(fields)
    stacked = {name: np.stack([s[name] for s in snapshots]) for name in snapshots[0]}
    return mock_dataset(stacked, NUM_LAT, NUM_LON, NUM_TIMES)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The climate as three CAM files of a day each."""
    folder = tmp_path_factory.mktemp("archive")
    cam.write(climate(), folder)
    return folder


def result(out):
    """All bytes of a file or store, and of its tracks."""
    files = sorted(p for p in out.rglob("*") if p.is_file()) if out.is_dir() else [out]
    tracks = out.with_name(f"{out.stem}.tracks.csv").read_bytes()
    return {str(p.relative_to(out)): p.read_bytes() for p in files}, tracks


def start(archive, out, *options):
    """`exastorm label` in a process group of its own."""
    command = [sys.executable, "-m", "exastorm.cli.main", "label", archive, "--out", out, *options]
    return subprocess.Popen(
        [str(word) for word in command],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finished_blocks(out):
    """Blocks that are there under their own names."""
    return list(out.with_name(out.name + ".part").glob("block_*_????????.npz"))


def kill_at(process, out, num_blocks):
    """Kill the process and its workers, with SIGKILL, when some blocks are there."""
    while len(finished_blocks(out)) < num_blocks:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(("suffix", "num_workers"), [(".nc", 2), (".zarr", 1)])
def test_killed_and_started_again_gives_the_same_bytes(
    archive, tmp_path, monkeypatch, suffix, num_workers
):
    out, whole = tmp_path / f"labels{suffix}", tmp_path / "whole" / f"labels{suffix}"
    whole.parent.mkdir()
    settings = LabelSettings(block_size=1)
    dataset = exastorm.open([str(archive)])
    label_archive(dataset, whole, settings)
    options = ["--label.block-size", "1", "--label.num-workers", str(num_workers)]
    kill_at(start(archive, out, *options), out, 4)
    done = {int(path.stem.split("_")[1]) for path in finished_blocks(out)}
    assert 4 <= len(done) < NUM_TIMES
    assert not out.exists()
    # What a kill in the middle of writing a block leaves is not taken for one.
    torn = next(n for n in range(NUM_TIMES) if n not in done)
    part = out.with_name(out.name + ".part")
    (part / f"block_{torn:08d}_{torn + 1:08d}.0badcafe.writing.npz").write_bytes(b"PK")
    made = []

    def record(function, shared, jobs, **_):
        for job in jobs:
            made.append(job[1].start)
            yield function(*shared, *job)

    monkeypatch.setattr("exastorm.labels.archive.run_jobs", record)
    label_archive(dataset, out, settings)
    assert sorted([*made, *done]) == list(range(NUM_TIMES)), "none is made twice"
    assert result(out) == result(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [out.name, "labels.tracks.csv", "whole"]
    )


@pytest.mark.parametrize("cyclones", ["sc18", "tempest-cam"])
def test_files_cut_at_any_time_step_give_the_same_bytes(tmp_path, cyclones):
    dataset = climate()
    results = []
    for cuts in ([0, 24], [0, 11, 24], [0, 1, 7, 8, 23, 24]):
        folder = tmp_path / f"{len(cuts) - 1}_files"
        for begin, end in itertools.pairwise(cuts):
            cam.write(dataset.isel(time=slice(begin, end)), folder / f"x.cam.h2.{begin:02d}.nc")
        # The paths, which the labels tell of, are all that may differ.
        read = exastorm.open([str(folder)]).assign_attrs(source="the same climate")
        out = tmp_path / f"{len(cuts) - 1}.nc"
        label_archive(read, out, LabelSettings(cyclones=cyclones))
        results.append(result(out))
    assert results[0] == results[1] == results[2]
    tracks = pd.read_csv(tmp_path / "5.tracks.csv")
    assert tracks["track"].nunique() == 1
    assert len(tracks) == NUM_TIMES, "one track through all files"


def test_fields_with_different_chunks_give_the_same_bytes(tmp_path):
    dataset = climate().assign_attrs(source="the same climate")
    mixed = dataset.chunk(time=5).assign(TMQ=dataset["TMQ"].chunk(time=3))
    for name, given in (("even", dataset), ("mixed", mixed)):
        (tmp_path / name).mkdir()
        label_archive(given, tmp_path / name / "labels.nc")
    assert result(tmp_path / "even" / "labels.nc") == result(tmp_path / "mixed" / "labels.nc")


@pytest.fixture(scope="module")
def cluster():
    """Two workers in processes of their own; a worker that dies is replaced."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as made,
    ):
        yield made


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_dask_cluster_gives_the_same_bytes(archive, tmp_path, cluster, in_memory):
    dataset = exastorm.open([str(archive)])
    dataset = dataset.load() if in_memory else dataset
    here, there = tmp_path / "here" / "labels.nc", tmp_path / "there" / "labels.nc"
    for out, scheduler in ((here, None), (there, cluster.scheduler_address)):
        out.parent.mkdir()
        label_archive(dataset, out, LabelSettings(block_size=5, scheduler=scheduler))
    assert result(here) == result(there)


def test_a_worker_that_dies_is_replaced(archive, tmp_path, cluster):
    dataset = exastorm.open([str(archive)])
    out, whole = tmp_path / "labels.nc", tmp_path / "whole" / "labels.nc"
    whole.parent.mkdir()
    label_archive(dataset, whole, LabelSettings(block_size=1))
    pids = [nanny.pid for nanny in cluster.workers.values()]

    def kill():
        while not finished_blocks(out):
            time.sleep(0.002)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    settings = LabelSettings(block_size=1, scheduler=cluster.scheduler_address)
    label_archive(dataset, out, settings)
    killer.join()
    assert result(out) == result(whole)


def test_a_job_that_kills_its_workers_is_told_in_one_line(cluster):
    jobs = [(1,), (1,)]
    with pytest.raises(InputError, match=r"workers of tcp.* died over one job"):
        list(run_jobs(os._exit, (), jobs, scheduler=cluster.scheduler_address))
    with pytest.raises(InputError, match="ended from outside, as when memory runs out"):
        list(run_jobs(os._exit, (), jobs, num_workers=2))


def test_what_a_job_on_the_cluster_raises_is_told(archive, tmp_path, cluster):
    dataset = exastorm.open([str(archive)])
    dataset["TMQ"] = dataset["TMQ"].where(dataset["time"] != dataset["time"][7])
    settings = LabelSettings(block_size=2, scheduler=cluster.scheduler_address)
    with pytest.raises(InputError, match="variable TMQ, time 2000-01-01 21:00:00: has no value"):
        label_archive(dataset, tmp_path / "labels.nc", settings)


def test_no_scheduler_or_one_without_workers_is_told_soon(monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_TIMEOUT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "no such host"):
        with pytest.raises(InputError, match="no Dask scheduler answers at") as caught:
            list(run_jobs(print, (), [("x",)], scheduler=address))
        assert "\n" not in str(caught.value)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as idle,
        pytest.raises(InputError, match="has no workers"),
    ):
        list(run_jobs(print, (), [("x",)], scheduler=idle.scheduler_address))


YEAR = SyntheticSettings(height=181, width=360, num_snapshots=2920, optional_fields=False)
"""A year, three-hourly, at one degree."""

YEAR_OPTIONS = ("--label.num-workers", "2", "--label.block-size", "40")


def write_part(folder, first, last):
    """Some snapshots of the year, in files of a day."""
    cam.write(synthetic_dataset(YEAR)[SC18_FIELDS].isel(time=slice(first, last)), folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_year_in_bounded_memory_killed_half_way(tmp_path):
    folder, whole, out = tmp_path / "archive", tmp_path / "whole.nc", tmp_path / "killed.nc"
    half = YEAR.num_snapshots // 2 // 8 * 8
    try:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            parts = [(0, half), (half, YEAR.num_snapshots)]
            list(pool.map(write_part, [folder] * 2, *zip(*parts, strict=True)))
        peaks = {"whole": run_to_the_end(folder, whole)}
        process = start(folder, out, *YEAR_OPTIONS)
        num_blocks = half // 40
        peaks["killed"] = peak_memory(process, lambda: len(finished_blocks(out)) >= num_blocks)
        kill_at(process, out, num_blocks)
        assert not out.exists()
        peaks["started again"] = run_to_the_end(folder, out)
        assert max(peaks.values()) < 2 * 2**30, peaks
        assert result(whole) == result(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_to_the_end(folder, out):
    """Label the year; the highest memory on the way, bytes."""
    process = start(folder, out, *YEAR_OPTIONS)
    peak = peak_memory(process, lambda: False)
    errors = process.communicate()[1].decode()
    assert process.returncode == 0, errors
    return peak


def peak_memory(process, until):
    """Highest memory of a process and its workers while it runs, bytes; shared pages count once."""
    peak = 0
    while process.poll() is None and not until():
        try:
            first = psutil.Process(process.pid)
            family = [first, *first.children(recursive=True)]
            peak = max(peak, sum(one.memory_full_info().pss for one in family))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.1)
    return peak
