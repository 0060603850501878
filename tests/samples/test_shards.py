import json
import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.samples.conftest import CHANNELS, SETTINGS

from exastorm.errors import InputError
from exastorm.samples import shards
from exastorm.samples.index import PAGE_BYTES, SampleLayout, parse_time
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.variables import VARIABLES


@pytest.fixture
def own_copy(archive, labels, tmp_path):
    """Samples in several shards, to spoil."""
    settings = PrepareSettings(**{**vars(SETTINGS), "shard_mb": 0.05})
    prepare_samples(archive, labels, tmp_path / "own", settings)
    return tmp_path / "own"


def test_layout_of_the_paper_is_one_aligned_read():
    # 16 x 768 x 1152 x 4 = 56,623,104 bytes, a class map of 884,736: 57,507,840 = 14,040 pages.
    layout = SampleLayout.of(tuple(VARIABLES)[:16], "float32", (768, 1152))
    assert layout.field_bytes == 56_623_104
    assert layout.stride == 57_507_840 == 14_040 * PAGE_BYTES


def test_bytes_lie_where_the_format_says(prepared):
    store = SampleStore(prepared)
    index = store.index
    raw = (prepared / index.shards[0].name).read_bytes()
    field, label = store.read(2)
    stride = index.layout.stride
    assert stride % PAGE_BYTES == 0
    sample = raw[2 * stride : 3 * stride]
    assert sample[: field.size * 4] == field.astype("<f4").tobytes()
    assert sample[field.size * 4 : field.size * 4 + label.size] == label.tobytes()
    assert not any(sample[field.size * 4 + label.size :])


def test_shard_size_decides_how_many_shards_and_no_shard_mixes_splits(own_copy, prepared):
    few, many = SampleStore(prepared), SampleStore(own_copy)
    assert len(few.index.shards) == 3
    # 0.05 MB hold 12 samples of one page.
    assert max(s.num_samples for s in many.index.shards) == 12
    for i in range(len(few)):
        assert np.array_equal(few.read(i)[0], many.read(i)[0])
    for split in ("train", "validation", "test"):
        times = [many.time(i) for i in many.indices(split)]
        assert times == sorted(times)
        assert {many.index.splits[i] for i in many.indices(split)} == {split}


def test_checksums_hold_and_name_the_shard_with_a_flipped_bit(own_copy):
    SampleStore(own_copy).verify()
    victim = own_copy / "train-00001.bin"
    content = bytearray(victim.read_bytes())
    content[1234] ^= 1
    victim.write_bytes(content)
    with pytest.raises(InputError, match=r"checksum differs from the index: train-00001\.bin$"):
        SampleStore(own_copy).verify()


def test_truncated_and_missing_shards_are_named(own_copy):
    victim = own_copy / "test-00000.bin"
    os.truncate(victim, victim.stat().st_size - 1)
    with pytest.raises(InputError, match=r"test-00000\.bin: shard must have \d+ bytes, got \d+"):
        SampleStore(own_copy)
    victim.unlink()
    with pytest.raises(InputError, match=r"test-00000\.bin: .*no such file"):
        SampleStore(own_copy)


def test_shard_cut_short_while_open_is_named(own_copy):
    store = SampleStore(own_copy)
    os.truncate(own_copy / "train-00000.bin", 100)
    with pytest.raises(
        InputError, match=r"train-00000\.bin, time .*: shard ends at byte 100, within"
    ):
        store.read(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 5}, "must be of version 1, 2, 3, 4, got 5"),
        ({"format": "other"}, "must say"),
        ({"times": []}, r"times must have \d+ entries, got 0"),
        ({"lat": [0.0]}, "lat must have 6 entries, got 1"),
        ({"units": ["m"]}, "units must have 3 entries, got 1"),
        ({"calendar": 5}, "calendar: "),
    ],
)
def test_index_that_contradicts_itself_is_refused(own_copy, change, message):
    path = own_copy / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        SampleStore(own_copy)


def test_index_with_a_shard_of_impossible_size_is_refused(own_copy):
    path = own_copy / "index.json"
    content = json.loads(path.read_text())
    content["shards"][0]["num_bytes"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"train-00000\.bin must be 12 x \d+ bytes"):
        SampleStore(own_copy)


def test_index_that_is_no_json_and_folder_without_index(own_copy, tmp_path):
    (own_copy / "index.json").write_text("{")
    with pytest.raises(InputError, match="must be JSON"):
        SampleStore(own_copy)
    with pytest.raises(InputError, match="exastorm prepare"):
        SampleStore(tmp_path / "nowhere")


def test_half_precision_halves_the_bytes_and_keeps_the_promised_accuracy(
    archive, labels, prepared, tmp_path
):
    settings = PrepareSettings(**{**vars(SETTINGS), "dtype": "float16"})
    prepare_samples(archive, labels, tmp_path, settings)
    half, full = SampleStore(tmp_path), SampleStore(prepared)
    assert half.index.layout.field_bytes == full.index.layout.field_bytes // 2
    for i in range(len(full)):
        ours, theirs = half.read(i), full.read(i)
        assert np.array_equal(ours[1], theirs[1])
        for c, name in enumerate(CHANNELS):
            plausible = VARIABLES[name].high - VARIABLES[name].low
            assert np.abs(ours[0][c] - theirs[0][c]).max() <= 2.5e-4 * plausible
    # Rain is packed from 0, where half precision is densest: light rain keeps three digits.
    rain, exact = half.read(0)[0][2], full.read(0)[0][2]
    some = exact > 1e-8
    assert np.abs(rain[some] / exact[some] - 1).max() < 1e-3


def test_store_travels_to_other_processes(prepared):
    store = SampleStore(prepared)
    store.read(0)
    twin = pickle.loads(pickle.dumps(store))
    assert np.array_equal(twin.read(5)[0], store.read(5)[0])


def test_threads_read_what_one_reader_reads(own_copy, monkeypatch):
    # Two open files for ten shards: files are let go while others read them.
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 2)
    store = SampleStore(own_copy)
    assert len(store.index.shards) > 4
    alone = [store.read(i)[0].sum() for i in range(len(store))]
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(store)), 20))
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda i: store.read(int(i))[0].sum(), order))
    assert sums == [alone[i] for i in order]
    assert len(store._files) == 2


def test_more_shards_than_files_may_be_open(archive, labels, tmp_path):
    settings = PrepareSettings(**{**vars(SETTINGS), "shard_mb": 0.001})  # one sample a shard
    prepare_samples(archive, labels, tmp_path, settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # 70 numbers are left, wherever earlier tests' files hold some.
    used = {int(held.name) for held in Path("/dev/fd").iterdir()}
    free = [number for number in range(soft) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[70], hard))
    try:
        store = SampleStore(tmp_path)
        assert len(store.index.shards) > 80
        for i in range(len(store)):
            store.read(i)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_samples_and_splits_that_do_not_exist(prepared, archive, labels, tmp_path):
    store = SampleStore(prepared)
    assert np.array_equal(store.read(-1)[0], store.read(len(store) - 1)[0])
    with pytest.raises(IndexError, match="sample must be below"):
        store.read(len(store))
    with pytest.raises(InputError, match="split must be one of train, validation, test"):
        store.indices("training")
    settings = PrepareSettings(**{**vars(SETTINGS), "split_fractions": (1.0, 0.0, 0.0)})
    prepare_samples(archive, labels, tmp_path, settings)
    with pytest.raises(InputError, match="the test split has no samples"):
        SampleStore(tmp_path).indices("test")


def test_times_survive_their_spelling():
    # 30 February exists in the 360-day calendar.
    time = parse_time("2000-02-30T03:00:00.250000", "360_day")
    assert (time.month, time.day, time.hour, time.microsecond) == (2, 30, 3, 250000)
    assert parse_time(time.isoformat(), "360_day") == time
