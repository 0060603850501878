"""Shards made smaller on their way give what `prepare` would have given of the same archive."""

import hashlib
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
from tests.samples.conftest import CHANNELS, SETTINGS

from exastorm.errors import InputError
from exastorm.samples.converting import converted_index, make_converter
from exastorm.samples.index import write_index
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.shards import SampleStore


def convert_all(source, out, checksums=True, **how):
    """Convert a folder of samples as staging does, shard by shard."""
    store = SampleStore(source)
    converter = pickle.loads(pickle.dumps(make_converter(store.index, **how)))
    out.mkdir()
    found = []
    for shard in store.index.shards:
        digest = hashlib.sha256()
        with (source / shard.name).open("rb") as file, (out / shard.name).open("wb") as written:
            converter.convert(file, lambda part: (digest.update(part), written.write(part)))  # noqa: B023
        assert (out / shard.name).stat().st_size == converter.num_bytes(shard)
        found.append(digest.hexdigest())
    write_index(converted_index(store.index, converter, found if checksums else None), out)
    return SampleStore(out)


def test_half_precision_is_that_of_prepare(archive, labels, prepared, tmp_path):
    prepare_samples(archive, labels, tmp_path / "half", replace(SETTINGS, dtype="float16"))
    wanted = SampleStore(tmp_path / "half").index
    got = convert_all(prepared, tmp_path / "out", dtype="float16").index
    assert got.checksums == wanted.checksums, "bit for bit"
    assert got.layout == wanted.layout
    assert got.statistics == wanted.statistics, "statistics are those of the numbers before"
    assert got.times == wanted.times


def test_channels_are_kept_in_the_order_asked_for(prepared, tmp_path):
    source = SampleStore(prepared)
    got = convert_all(prepared, tmp_path / "out", channels=("PRECT", "TMQ"))
    got.verify()
    assert got.index.channels == ("PRECT", "TMQ")
    assert got.index.units == ("m s-1", "kg m-2")
    assert got.index.statistics.mean == tuple(source.index.statistics.mean[c] for c in (2, 0))
    for i in (0, 57):
        field, label = source.read(i)
        assert np.array_equal(got.read(i)[0], field[[2, 0]])
        assert np.array_equal(got.read(i)[1], label)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_shards_come_out_plain(compression, archive, labels, prepared, tmp_path):
    packed = tmp_path / "packed"
    prepare_samples(archive, labels, packed, replace(SETTINGS, compression=compression))
    got = convert_all(packed, tmp_path / "out")
    assert got.index.checksums == SampleStore(prepared).index.checksums
    assert got.index.version == 1


def test_conversions_differ_in_form_and_name(prepared, tmp_path):
    index = SampleStore(prepared).index
    half = make_converter(index, dtype="float16")
    assert half.form != make_converter(index).form != make_converter(index, channels=["PSL"]).form
    got = convert_all(prepared, tmp_path / "out", checksums=False, dtype="float16")
    assert set(got.index.checksums).isdisjoint(index.checksums), "they tell samples apart"


def test_a_shard_that_ends_early_is_refused(prepared, archive, labels, tmp_path):
    store = SampleStore(prepared)
    converter = make_converter(store.index, channels=["PSL"])
    whole = (prepared / store.index.shards[0].name).read_bytes()
    with pytest.raises(InputError, match="shard ends within a sample"):
        converter.convert(io.BytesIO(whole[:-1]), lambda _: None)
    packed = tmp_path / "packed"
    prepare_samples(archive, labels, packed, replace(SETTINGS, compression="lz4"))
    index = SampleStore(packed).index
    whole = (packed / index.shards[0].name).read_bytes()
    with pytest.raises(InputError, match="shard ends within a sample"):
        make_converter(index).convert(io.BytesIO(whole[:-1]), lambda _: None)
    with pytest.raises(InputError, match="must be compressed samples, got a frame of 0 bytes"):
        make_converter(index).convert(io.BytesIO(bytes(64)), lambda _: None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"channels": ["PSL", "T500"]}, "channels must be different ones of TMQ, PSL, PRECT, got"),
        ({"channels": ["PSL", "PSL"]}, "channels must be different ones"),
        ({"channels": []}, "channels must be different ones"),
        ({"dtype": "bfloat16"}, "dtype must be float32 or float16, got bfloat16"),
    ],
)
def test_what_cannot_be_converted_is_refused(how, message, prepared):
    with pytest.raises(InputError, match=message):
        make_converter(SampleStore(prepared).index, **how)


def test_half_precision_is_unpacked_as_it_is_read(prepared, tmp_path):
    half = convert_all(prepared, tmp_path / "half", dtype="float16")
    single = convert_all(tmp_path / "half", tmp_path / "single", dtype="float32")
    assert np.array_equal(single.read(3)[0], half.read(3)[0])
    kept = make_converter(half.index, channels=["PSL"])
    assert kept.target.center == (half.index.layout.center[CHANNELS.index("PSL")],)
