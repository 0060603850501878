"""Samples in Zarr stores, local and behind addresses, with a cache."""

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from tests.samples.sources import write_shards

from exastorm.errors import InputError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.sample_cache import SampleCache
from exastorm.samples.source import open_samples
from exastorm.samples.zarr_files import write_zarr
from exastorm.samples.zarr_source import ZarrSamples

ADDRESS = "memory://bucket/samples.zarr"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), dtype="float16")


@pytest.fixture(scope="module")
def local(store, tmp_path_factory):
    """A store that no test may change."""
    out = tmp_path_factory.mktemp("zarr") / "samples.zarr"
    write_zarr(store, out)
    return out


@pytest.fixture
def remote(local):
    """The same store in an object store of this process."""
    memory = fsspec.filesystem("memory")
    memory.put(str(local), "/bucket/samples.zarr", recursive=True)
    yield ADDRESS
    memory.rm("/bucket", recursive=True)


def read(source, i):
    return source.read_raw(i, np.empty(source.index.layout.stride, np.uint8))


def files_in(cache):
    return sorted(path for path in cache.rglob("*.sample"))


def test_packed_samples_come_from_an_address_and_then_from_the_cache(remote, store, tmp_path):
    source = ZarrSamples(remote, cache=tmp_path)
    for _ in range(2):
        for i in (0, 7):
            for a, b in zip(read(source, i), read(store, i), strict=True):
                assert np.array_equal(a, b)
        # From the second round on the store is not asked.
        fsspec.filesystem("memory").rm("/bucket/samples.zarr/field", recursive=True)
        fsspec.filesystem("memory").mkdir("/bucket/samples.zarr/field")
    assert len(files_in(tmp_path)) == 2


def test_a_local_store_is_not_kept_twice(local, remote, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ZarrSamples(local).cache is None
    assert ZarrSamples(remote, cache_gb=0).cache is None
    assert open_samples(remote).cache.folder.parent == tmp_path / "exastorm" / "samples"
    assert open_samples(local, cache=tmp_path / "c").cache is not None
    with pytest.raises(ValueError, match="cache_gb must not be negative"):
        ZarrSamples(local, cache_gb=-1)


def test_a_damaged_copy_is_read_from_the_store_again(local, store, tmp_path):
    source = ZarrSamples(local, cache=tmp_path)
    read(source, 3)
    (file,) = files_in(tmp_path)
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert np.array_equal(read(source, 3).field, read(store, 3).field)
    assert files_in(tmp_path)[0].read_bytes() != bytes(content)


def test_a_damaged_copy_that_cannot_be_removed_is_not_used(local, store, tmp_path, monkeypatch):
    source = ZarrSamples(local, cache=tmp_path)
    read(source, 3)
    files_in(tmp_path)[0].write_bytes(b"cut short")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(SampleCache, "put", lambda *_: None)
    assert np.array_equal(read(source, 3).field, read(store, 3).field)


def test_the_cache_stays_within_its_bytes_and_lets_the_oldest_go(tmp_path):
    values = np.arange(1000, dtype=np.uint8)
    cache = SampleCache(tmp_path, 3100)  # three samples of 1004 bytes
    out = np.empty(1000, np.uint8)
    for i in range(3):
        cache.put(i, values)
        os.utime(tmp_path / f"{i}.sample", (100 + i, 100 + i))
    assert cache.get(0, out)  # used just now, so that 1 is the oldest
    assert np.array_equal(out, values)
    (tmp_path / "left-by-a-killed-process.partial").touch()
    cache.put(3, values)
    assert [path.name for path in files_in(tmp_path)] == ["0.sample", "2.sample", "3.sample"]
    assert not list(tmp_path.glob("*.partial"))
    SampleCache(tmp_path, 900).put(4, values)
    assert not (tmp_path / "4.sample").exists()


def test_many_may_use_the_cache_at_once(local, store, tmp_path):
    sources = [ZarrSamples(local, cache=tmp_path, cache_gb=1e-5) for _ in range(4)]
    expected = {i: read(store, i).field.copy() for i in range(8)}

    def work(k):
        return all(np.array_equal(read(sources[k % 4], i).field, expected[i]) for i in range(8))

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(work, range(8)))
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 1e4


def test_a_cache_that_cannot_be_written_is_refused(local, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cache can't be written"):
        ZarrSamples(local, cache=tmp_path / "file")


@pytest.mark.parametrize(("name", "fill"), [("field", "nan"), ("label", "-128")])
def test_a_missing_chunk_is_a_bad_sample(name, fill, local, tmp_path):
    shutil.copytree(local, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / name / "c" / "2")
    source = ZarrSamples(tmp_path / "copy")
    read(source, 1)
    told = f"variable {name}, time .*: holds {fill} everywhere: its chunk is missing"
    with pytest.raises(InputError, match=told):
        read(source, 2)
    dataset = SegmentationDataset(
        source, source.index.splits[2], class_weights=(1.0, 1.0, 1.0), skip_bad=True
    )
    with pytest.warns(RuntimeWarning, match="its chunk is missing"):
        _, label, weight = dataset[list(dataset.samples).index(2)]
    assert (label == -1).all()
    assert not weight.any()


def test_other_fill_values_are_told_from_samples_too(local, tmp_path):
    # Zarr's own fill value is 0: a field of zeros is no sample, background everywhere may be one.
    shutil.copytree(local, tmp_path / "copy")
    for name in ("field", "label"):
        facts = tmp_path / "copy" / name / "zarr.json"
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"fill_value": 0}))
    shutil.rmtree(tmp_path / "copy" / "field" / "c" / "2")
    shutil.rmtree(tmp_path / "copy" / "label" / "c" / "1")
    source = ZarrSamples(tmp_path / "copy")
    assert not read(source, 1).labels.any()
    with pytest.raises(InputError, match=r"holds 0\.0 everywhere"):
        read(source, 2)


def test_what_cannot_be_read_is_told_with_its_time(local, tmp_path):
    shutil.copytree(local, tmp_path / "copy")
    for file in (tmp_path / "copy" / "field" / "c" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(b"no chunk")
    source = ZarrSamples(tmp_path / "copy")
    with pytest.raises(InputError, match=r"variable field, time .*: can't be read"):
        read(source, 4)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda g: g.attrs.update({"format": "other"}), "must be samples, with an attribute"),
        (lambda g: g.attrs.update({"index": {}}), 'must say "format"'),
        (
            lambda g: g.create_array("label", shape=(1,), dtype="int8", overwrite=True),
            "must be int8",
        ),
        (lambda g: g.__delitem__("field"), "is missing"),
    ],
)
def test_a_store_that_holds_something_else_is_refused(local, tmp_path, spoil, problem):
    shutil.copytree(local, tmp_path / "copy")
    spoil(zarr.open_group(str(tmp_path / "copy"), mode="r+"))
    with pytest.raises(InputError, match=problem):
        ZarrSamples(tmp_path / "copy")
