"""Samples go through every form and come back bit for bit; half a conversion is none."""

import errno
import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import zarr
from tests.samples.conftest import SETTINGS, random_labels

from exastorm.errors import InputError
from exastorm.readers.schema import mock_dataset
from exastorm.samples import convert
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.shards import SampleStore
from exastorm.samples.source import open_samples
from exastorm.variables import CHANNEL_NAMES, VARIABLES

ORDER = (*CHANNEL_NAMES[8:], *CHANNEL_NAMES[:8])
"""Another order of the channels than DeepCAM's."""


def all_channels(order=CHANNEL_NAMES, num_times=60):
    """An archive of all 16 channels, twice a day, within their plausible ranges."""
    rng = np.random.default_rng(3)
    fields = {}
    for name in order:
        low, high = VARIABLES[name].low, VARIABLES[name].high
        fields[name] = low + (high - low) * rng.random((num_times, 6, 12))
    return mock_dataset(fields, 6, 12, num_times, step_hours=12)


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    """Samples of all 16 channels."""
    out = tmp_path_factory.mktemp("convert") / "sixteen"
    archive = all_channels()
    settings = replace(SETTINGS, channels=CHANNEL_NAMES)
    prepare_samples(archive, random_labels(archive), out, settings)
    return out


def same_index(got, wanted):
    """Whether all that samples are known by is the same, wherever shards were cut."""
    return replace(got, shards=()) == replace(wanted, shards=())


@pytest.mark.parametrize("form", ["shards", "deepcam", "npy", "zarr"])
def test_there_and_back_is_bit_for_bit(form, sixteen, tmp_path):
    index = convert_samples(sixteen, tmp_path / "there", ConvertSettings(to=form))
    wanted = SampleStore(sixteen)
    assert same_index(index, wanted.index)
    convert_samples(tmp_path / "there", tmp_path / "back", ConvertSettings())
    back = SampleStore(tmp_path / "back")
    back.verify()
    assert back.index == wanted.index, "checksums of all shards included"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "there"]


def test_files_are_those_that_deepcam_reads(sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="deepcam"))
    store = SampleStore(sixteen)
    field, label = store.read(0)
    files = sorted((tmp_path / "out" / "train").glob("*.h5"))
    assert len(files) == store.index.num_of_split("train")
    # mock_dataset begins on 1 January 2000 at 00 UTC.
    assert files[0].name == f"data-{store.index.times[0][:10]}-00-1.h5"
    with h5py.File(files[0]) as file:
        data, given = file["climate/data"], file["climate/labels_0"]
        assert data.shape == (6, 12, 16)
        assert data.dtype == "<f4"
        assert given.dtype.itemsize == 4
        assert np.array_equal(np.moveaxis(data[()], 2, 0), field)
        assert np.array_equal(given[()], label)
    with h5py.File(tmp_path / "out" / "stats.h5") as file:
        found = {name: file[f"climate/{name}"][()] for name in file["climate"]}
    assert set(found) == {"count", "mean", "sqmean", "minval", "maxval"}
    statistics = store.index.statistics
    assert np.array_equal(found["minval"], statistics.min)
    assert np.array_equal(found["maxval"], statistics.max)
    # The mean of squares is the variance and the square of the mean.
    assert np.sqrt(found["sqmean"] - found["mean"] ** 2) == pytest.approx(statistics.std, rel=1e-6)


def test_npy_files_are_those_that_mlperf_reads(sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="npy"))
    data = sorted((tmp_path / "out" / "train").glob("data-*.npy"))
    label = sorted((tmp_path / "out" / "train").glob("label-*.npy"))
    assert [p.name[5:] for p in data] == [p.name[6:] for p in label]
    field, classes = SampleStore(sixteen).read(0)
    assert np.array_equal(np.load(data[0]), np.moveaxis(field, 0, 2))
    assert np.load(data[0]).dtype == np.float32
    assert np.array_equal(np.load(label[0]), classes)


@pytest.mark.parametrize("form", ["deepcam", "npy"])
def test_files_that_nothing_is_said_of_are_read_too(form, sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "there", ConvertSettings(to=form))
    (tmp_path / "there" / "samples.json").unlink()
    (tmp_path / "there" / "stats.h5").unlink()
    convert_samples(tmp_path / "there", tmp_path / "back", ConvertSettings())
    back, wanted = SampleStore(tmp_path / "back"), SampleStore(sixteen)
    assert back.index.checksums == wanted.index.checksums
    assert back.index.times == wanted.index.times
    assert back.index.channels == CHANNEL_NAMES
    assert back.index.class_shares.num_pixels == wanted.index.class_shares.num_pixels
    for name in ("mean", "std", "min", "max"):
        got, expected = (getattr(s.index.statistics, name) for s in (back, wanted))
        assert got == pytest.approx(expected, rel=1e-9)


def test_channels_get_the_order_of_deepcam(tmp_path):
    archive = all_channels(ORDER)
    settings = replace(SETTINGS, channels=ORDER)
    prepare_samples(archive, random_labels(archive), tmp_path / "turned", settings)
    convert_samples(tmp_path / "turned", tmp_path / "out", ConvertSettings(to="deepcam"))
    got = open_samples(tmp_path / "out")
    assert got.index.channels == CHANNEL_NAMES
    field, _ = SampleStore(tmp_path / "turned").read(4)
    buffer = np.empty(got.index.layout.stride, np.uint8)
    at = [ORDER.index(name) for name in CHANNEL_NAMES]
    assert np.array_equal(got.read_raw(4, buffer).field, field[at])


@pytest.mark.parametrize("form", ["shards", "zarr"])
@pytest.mark.parametrize("how", [{"dtype": "float16"}, {"channels": ("PSL", "TMQ")}])
def test_numbers_and_channels_as_asked_for(form, how, sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "there", ConvertSettings(to=form, **how))
    convert_samples(tmp_path / "there", tmp_path / "back", ConvertSettings())
    back, wanted = SampleStore(tmp_path / "back"), SampleStore(sixteen)
    assert back.index.layout.dtype == how.get("dtype", "float32")
    channels = how.get("channels", CHANNEL_NAMES)
    assert back.index.channels == channels
    field, label = wanted.read(7)
    field = field[[CHANNEL_NAMES.index(name) for name in channels]]
    span = np.array([VARIABLES[name].high - VARIABLES[name].low for name in channels])
    error = np.abs(back.read(7)[0] - field).max(axis=(1, 2))
    # Half precision has 11 bits: 2^-12 of the largest packed value, 1, which is the whole range.
    assert np.all(error <= (2.0**-12 * span if "dtype" in how else 0.0))
    assert np.array_equal(back.read(7)[1], label)


@pytest.mark.parametrize("form", ["shards", "zarr"])
def test_compressed_forms_hold_the_same(form, sixteen, tmp_path):
    sizes = {}
    for compression in ("none", "lz4", "zstd"):
        out = tmp_path / compression
        settings = ConvertSettings(to=form, compression=compression, dtype="float16")
        convert_samples(sixteen, out, settings)
        sizes[compression] = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        buffer = np.empty(open_samples(out).index.layout.stride, np.uint8)
        raw = open_samples(out).read_raw(9, buffer)
        assert np.array_equal(raw.labels[0], SampleStore(sixteen).read(9)[1])
    assert sizes["none"] != sizes["lz4"] != sizes["zstd"]


def test_small_shards_on_demand(sixteen, tmp_path):
    index = convert_samples(sixteen, tmp_path / "out", ConvertSettings(shard_mb=0.02))
    assert len(index.shards) > len(SampleStore(sixteen).index.shards)


def test_zarr_holds_what_others_need(sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="zarr"))
    group = zarr.open_group(tmp_path / "out", mode="r")
    index = json.loads((sixteen / "index.json").read_text())
    assert group.attrs["format"] == "exastorm samples"
    assert group.attrs["index"] == index
    num_samples = len(index["times"])
    assert group["field"].shape == (num_samples, 16, 6, 12)
    assert group["field"].chunks == (1, 16, 6, 12)
    assert group["label"].shape == (num_samples, 1, 6, 12)
    assert group["label"].dtype == np.int8


def several_sets(archive, out):
    both = random_labels(archive).rename(class_map="ann")
    both["bob"] = random_labels(archive, seed=5)["class_map"]
    settings = replace(SETTINGS, channels=CHANNEL_NAMES, label=("ann", "bob"))
    prepare_samples(archive, both, out, settings)


def test_label_sets_go_where_there_is_a_place_for_them(tmp_path):
    several_sets(all_channels(), tmp_path / "two")
    wanted = SampleStore(tmp_path / "two")
    for form in ("deepcam", "zarr"):
        convert_samples(tmp_path / "two", tmp_path / form, ConvertSettings(to=form))
        convert_samples(tmp_path / form, tmp_path / f"{form}-back", ConvertSettings())
        assert SampleStore(tmp_path / f"{form}-back").index == wanted.index
    with pytest.raises(InputError, match="npy files hold one label set, got 2: ann, bob"):
        convert_samples(tmp_path / "two", tmp_path / "npy", ConvertSettings(to="npy"))
    assert not (tmp_path / "npy").exists()


def test_soft_labels_go_to_zarr_alone(tmp_path):
    archive = all_channels()
    labels = random_labels(archive)
    shares = np.random.default_rng(2).random(labels["class_map"].shape).astype(np.float32)
    labels["cyclone_share"] = (labels["class_map"].dims, shares)
    settings = replace(SETTINGS, channels=CHANNEL_NAMES, soft_labels=True)
    prepare_samples(archive, labels, tmp_path / "soft", settings)
    convert_samples(tmp_path / "soft", tmp_path / "zarr", ConvertSettings(to="zarr"))
    convert_samples(tmp_path / "zarr", tmp_path / "back", ConvertSettings())
    assert SampleStore(tmp_path / "back").index == SampleStore(tmp_path / "soft").index
    with pytest.raises(InputError, match="soft labels would be lost"):
        convert_samples(tmp_path / "soft", tmp_path / "h5", ConvertSettings(to="deepcam"))


def test_a_stop_leaves_nothing_that_looks_whole(sixteen, tmp_path, monkeypatch):
    def stopped(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(convert, "write_npy_files", stopped)
        with pytest.raises(OSError, match="No space left"):
            convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="npy"))
        assert list(tmp_path.iterdir()) == []
        # A killed process can't clear up: what it leaves has another name, and goes next time.
        patched.setattr(convert.shutil, "rmtree", lambda *_, **__: None)
        patched.setattr(convert.Path, "unlink", lambda *_, **__: None)
        with pytest.raises(OSError, match="No space left"):
            convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="npy"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out.partial" / "left").touch()
    convert_samples(sixteen, tmp_path / "out", ConvertSettings(to="npy"))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not (tmp_path / "out" / "left").exists()


def test_nothing_is_overwritten(sixteen, prepared, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        convert_samples(sixteen, prepared, ConvertSettings())
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(InputError, match="is in the way"):
        convert_samples(sixteen, tmp_path / "out", ConvertSettings())


def test_space_is_checked_first(sixteen, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(convert.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"needs up to .* GB, 1e-06 GB are free"):
        convert_samples(sixteen, tmp_path / "out", ConvertSettings())
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_in_one_line(prepared, sixteen, tmp_path):
    with pytest.raises(InputError, match="DeepCAM's files need U850, V850"):
        convert_samples(prepared, tmp_path / "out", ConvertSettings(to="deepcam"))
    with pytest.raises(InputError, match="must be samples: a folder"):
        convert_samples(tmp_path, tmp_path / "out", ConvertSettings())
    index = json.loads((prepared / "index.json").read_text())
    own = tmp_path / "own"
    shutil.copytree(prepared, own)
    for times, message in (
        ([index["times"][1], *index["times"][1:]], "comes twice"),
        (["2000-01-01T01:30:00", *index["times"][1:]], "three-hourly"),
    ):
        (own / "index.json").write_text(json.dumps(index | {"times": times}))
        with pytest.raises(InputError, match=message):
            convert_samples(own, tmp_path / "out", ConvertSettings(to="npy"))


@pytest.mark.parametrize("form", ["deepcam", "npy"])
def test_files_that_changed_are_told(form, sixteen, tmp_path):
    there = tmp_path / "there"
    convert_samples(sixteen, there, ConvertSettings(to=form))
    first = next(p for p in sorted((there / "train").iterdir()) if p.name.startswith("data"))
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{first.name}: can't be read"):
        convert_samples(there, tmp_path / "out", ConvertSettings())
    first.unlink()
    with pytest.raises(InputError, match=r"files must be those of samples\.json"):
        convert_samples(there, tmp_path / "out", ConvertSettings())
    (there / "samples.json").write_text("{")
    with pytest.raises(InputError, match=r"samples\.json: must be JSON"):
        convert_samples(there, tmp_path / "out", ConvertSettings())


def test_values_that_cannot_be_samples_are_told(sixteen, prepared, tmp_path):
    there = tmp_path / "there"
    convert_samples(sixteen, there, ConvertSettings(to="npy"))
    label = min((there / "train").glob("label-*.npy"))
    np.save(label, np.full((6, 12), 7, np.float32))
    with pytest.raises(InputError, match="classes must be 0 to 2, or -1"):
        convert_samples(there, tmp_path / "out", ConvertSettings())
    np.save(label, np.ones((6, 12), np.float32))
    (there / "samples.json").unlink()
    data = min((there / "train").glob("data-*.npy"))
    np.save(data, np.full((6, 12, 16), np.nan, np.float32))
    with pytest.raises(InputError, match="must be finite"):
        convert_samples(there, tmp_path / "out", ConvertSettings())
    np.save(data, np.zeros((6, 12, 3), np.float32))
    with pytest.raises(InputError, match="must have DeepCAM's 16 channels"):
        convert_samples(there, tmp_path / "out", ConvertSettings())
    np.save(data, np.zeros((6, 10, 16), np.float32))
    with pytest.raises(InputError, match=r"must be \(lat, lon, channel\) with a label"):
        convert_samples(there, tmp_path / "out", ConvertSettings())


def test_files_of_both_kinds_are_refused(sixteen, tmp_path):
    convert_samples(sixteen, tmp_path / "there", ConvertSettings(to="npy"))
    (tmp_path / "there" / "test" / "data-2000-01-01-00-1.h5").touch()
    with pytest.raises(InputError, match=r"data-YYYY-MM-DD-TT-R\.h5 or \.npy, got both"):
        open_samples(tmp_path / "there")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "tar"}, "to must be one of shards, deepcam, npy, zarr, got 'tar'"),
        ({"dtype": "bfloat16"}, "dtype must be one of float32, float16, got 'bfloat16'"),
        ({"compression": "gzip"}, "compression must be one of none, lz4, zstd"),
        ({"shard_mb": 0}, "shard_mb must be positive"),
        ({"to": "npy", "dtype": "float16"}, "dtype must be float32 for npy"),
        ({"to": "npy", "compression": "lz4"}, "compression must be none for npy"),
        ({"to": "deepcam", "channels": ("PSL",)}, "channels must not be given for deepcam"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvertSettings(**settings)
