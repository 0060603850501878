"""Compressed samples hold the same numbers in fewer bytes, and a changed frame is told."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tests.samples.conftest import SETTINGS

from exastorm.errors import InputError
from exastorm.samples import reading
from exastorm.samples.compression import decode, encode
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore


@pytest.fixture(scope="module", params=["lz4", "zstd"])
def packed(request, archive, labels, tmp_path_factory):
    """Compressed samples in several shards."""
    out = tmp_path_factory.mktemp("packed") / request.param
    smooth = archive.map(np.round)  # noise does not shrink; few different numbers do
    prepare_samples(
        smooth, labels, out, replace(SETTINGS, compression=request.param, shard_mb=0.02)
    )
    return out


@pytest.fixture(scope="module")
def plain(archive, labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "plain"
    prepare_samples(archive.map(np.round), labels, out, SETTINGS)
    return out


def test_same_samples_in_fewer_bytes(packed, plain):
    store, wanted = SampleStore(packed), SampleStore(plain)
    store.verify()
    assert store.index.version == 4
    assert len(store.index.shards) > 3
    assert sum(s.num_bytes for s in store.index.shards) < 0.7 * sum(
        s.num_bytes for s in wanted.index.shards
    )
    for i in range(len(wanted)):
        for got, expected in zip(store.read(i), wanted.read(i), strict=True):
            assert np.array_equal(got, expected)


def test_half_precision_and_soft_layouts_shrink_too(archive, labels, tmp_path):
    both = replace(SETTINGS, dtype="float16")
    prepare_samples(archive, labels, tmp_path / "plain", both)
    prepare_samples(archive, labels, tmp_path / "packed", replace(both, compression="lz4"))
    store, wanted = SampleStore(tmp_path / "packed"), SampleStore(tmp_path / "plain")
    assert np.array_equal(store.read(5)[0], wanted.read(5)[0])


def test_threads_and_processes_share_a_store(packed, plain):
    store = pickle.loads(pickle.dumps(SampleStore(packed)))
    wanted = SampleStore(plain)
    with ThreadPoolExecutor(4) as pool:
        fields = list(pool.map(lambda i: store.read(i)[0], range(40)))
    assert all(np.array_equal(f, wanted.read(i)[0]) for i, f in enumerate(fields))


def test_a_changed_frame_is_told_with_its_time(packed, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for path in packed.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    store = SampleStore(own)
    shard = own / store.index.shards[0].name
    content = bytearray(shard.read_bytes())
    content[:16] = bytes(16)
    shard.write_bytes(content)
    time = str(store.time(0))
    with pytest.raises(
        InputError, match=f"{time}: can't be decompressed .*: the shard has changed"
    ):
        store.read(0)
    store.read(1)


@pytest.mark.parametrize("place", [4, 5, 12, 13])
def test_lengths_in_a_header_are_not_believed(place, packed):
    # Lengths of what is held (4 to 7) and of the frame (12 to 15); the library reads beyond it.
    layout = SampleStore(packed).index.layout
    frame = np.frombuffer(encode(np.ones(layout.stride // 4, np.float32), "lz4"), np.uint8).copy()
    out = np.empty(layout.stride, np.uint8)
    decode(frame, out)
    frame[place] ^= 2
    with pytest.raises(InputError, match=r"can't be decompressed .*must be .* bytes in a frame of"):
        decode(frame, out)


def test_older_readers_refuse_in_one_line(packed, monkeypatch):
    monkeypatch.setattr(reading, "VERSIONS", (1, 2, 3))
    with pytest.raises(InputError, match="must be of version 1, 2, 3, got 4"):
        SampleStore(packed)


@pytest.mark.parametrize("spoil", [lambda e: e[:-1], lambda e: [e[0] + 1, *e[:-1]], lambda e: []])
def test_ends_that_are_no_cut_of_the_file_are_refused(spoil, packed, tmp_path):
    index = json.loads((packed / "index.json").read_text())
    index["shards"][0]["ends"] = spoil(index["shards"][0]["ends"])
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"train-00000\.bin must have .* ends of samples"):
        SampleStore(tmp_path)


def test_unknown_compression_is_refused():
    with pytest.raises(ValueError, match="compression must be one of none, lz4, zstd, got 'gzip'"):
        PrepareSettings(compression="gzip")
