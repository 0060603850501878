"""DeepCAM folders are read as they came."""

import shutil

import h5py
import numpy as np
import pytest
import torch
from tests.samples.sources import NUM_LAT, NUM_LON, write_deepcam, write_shards

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_statistics import RunningStatistics, map_statistics
from exastorm.samples import deepcam_files, deepcam_index
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.deepcam_source import DeepcamSamples
from exastorm.variables import CHANNEL_NAMES

WEIGHTS = (1.0, 37.5, 7.7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), num_sets=2)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    """As published: no index, a stats.h5; no test may change it."""
    out = tmp_path_factory.mktemp("deepcam")
    write_deepcam(store, out, facts=False)
    statistics = RunningStatistics(16)
    for i in store.indices("train"):
        statistics.add(map_statistics(store.read(int(i))[0]))
    statistics.write(out / "stats.h5")
    return out


def read(source, i):
    return source.read_raw(i, np.empty(source.index.layout.stride, np.uint8))


def test_fields_become_0_to_1_by_the_extremes_of_stats_h5(folder):
    source = DeepcamSamples(folder)
    assert source.index.normalization == "minmax"
    dataset = SegmentationDataset(source, "train", class_weights=WEIGHTS)
    fields = torch.stack([dataset[i][0] for i in range(len(dataset))])
    # Of each channel some training value is the smallest and some the largest.
    assert fields.amin(dim=(0, 2, 3)).numpy() == pytest.approx(np.zeros(16), abs=1e-4)
    assert fields.amax(dim=(0, 2, 3)).numpy() == pytest.approx(np.ones(16), abs=1e-4)


def test_without_stats_h5_channels_are_measured(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare" / "stats.h5").unlink()
    ours, theirs = (DeepcamSamples(path).index.statistics for path in (tmp_path / "bare", folder))
    for name in ("mean", "std", "min", "max"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-5)


def test_all_files_are_looked_at_where_that_is_asked_for(folder, store, monkeypatch):
    monkeypatch.setattr(deepcam_index, "NUM_COUNTED", 4)
    some, every = (DeepcamSamples(folder, exact=exact).index for exact in (False, True))
    num_train = store.index.num_of_split("train")
    # Two label sets: each file has twice as many labels as pixels.
    assert sum(some.class_shares.num_pixels) <= 4 * 2 * NUM_LAT * NUM_LON
    assert sum(every.class_shares.num_pixels) == num_train * 2 * NUM_LAT * NUM_LON
    assert sum(every.whole_class_shares.num_pixels) == len(every.times) * 2 * NUM_LAT * NUM_LON
    # What fields are scaled by is that of stats.h5 all the same.
    assert every.statistics == some.statistics == some.whole_statistics
    fields = np.stack([read(store, i).field.copy() for i in range(len(store))])
    assert every.whole_statistics.max == pytest.approx(fields.max(axis=(0, 2, 3)))


@pytest.fixture
def pairs(store, tmp_path):
    """A few snapshots as .npy files, and the first of their data."""
    for i in store.indices("train")[:4]:
        raw, time = read(store, int(i)), store.time(int(i))
        stem = f"{time.strftime('%Y-%m-%d')}-{time.hour // 3:02d}-1.npy"
        (tmp_path / "train").mkdir(exist_ok=True)
        np.save(tmp_path / "train" / f"data-{stem}", np.moveaxis(raw.field, 0, 2).astype("f4"))
        np.save(tmp_path / "train" / f"label-{stem}", raw.labels[0].astype("f4"))
    return tmp_path, min((tmp_path / "train").glob("data-*"))


def test_npy_files_are_read_without_a_lock(pairs, store):
    folder, first = pairs
    # As some write them: in another precision and order of bytes.
    np.save(first, np.load(first).astype(">f8"))
    source = DeepcamSamples(folder)
    assert not source.holds_lock
    for place, i in enumerate(store.indices("train")[:4]):
        ours, theirs = read(source, place), read(store, int(i))
        assert np.array_equal(ours.field, theirs.field)
        assert np.array_equal(ours.labels[0], theirs.labels[0])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda data: np.asfortranarray(data), "must be numbers .* row by row"),
        (lambda data: data[:, :-1].copy(), "must be numbers .* as in the other files"),
        (
            lambda data: np.zeros_like(data, np.float16),
            "must be as in the other files, got float16",
        ),
    ],
)
def test_npy_files_unlike_the_others_are_named(pairs, spoil, problem):
    folder, _ = pairs
    last = max((folder / "train").glob("data-*"))
    source = DeepcamSamples(folder)
    source._places.clear()
    np.save(last, spoil(np.load(last)))
    with pytest.raises(InputError, match=problem) as caught:
        read(source, 3)
    assert str(last) in str(caught.value)


def test_splits_times_grid_and_classes_come_from_the_files(folder, store):
    source = DeepcamSamples(folder)
    index = source.index
    assert index.channels == CHANNEL_NAMES
    assert index.calendar == "noleap"
    assert (index.lat[0], index.lat[-1], index.lon[1]) == (-90.0, 90.0, 360 / NUM_LON)
    for split in ("train", "validation", "test"):
        ours, theirs = source.indices(split), store.indices(split)
        assert len(ours) == len(theirs)
        wanted = [store.time(int(i)) for i in theirs]
        assert [source.time(int(i)).isoformat() for i in ours] == [t.isoformat() for t in wanted]
    labels = np.stack([read(store, int(i)).labels.copy() for i in store.indices("train")])
    for k, shares in enumerate(index.label_set_shares):
        assert shares.num_pixels == tuple(np.bincount(labels[:, k].ravel(), minlength=3))
    assert index.class_shares.num_pixels == tuple(np.bincount(labels.ravel(), minlength=3))


def test_label_sets_can_be_chosen(folder, store):
    one = DeepcamSamples(folder, label_sets=("labels_1",))
    assert one.index.layout.num_label_sets == 1
    assert np.array_equal(read(one, 3).labels[0], read(store, 3).labels[1])
    with pytest.raises(
        InputError, match="label set must be one of labels_0, labels_1, got labels_2"
    ):
        DeepcamSamples(folder, label_sets=("labels_2",))
    assert len(DeepcamSamples(folder).index.label_set_shares) == 2


@pytest.mark.parametrize(
    "form", [{}, {"channels_last": False}, {"chunks": (3, 4, 16)}, {"chunks": (6, 12, 1)}]
)
def test_every_way_to_lie_in_a_file_gives_the_same(store, tmp_path, form, monkeypatch):
    # Bands of one row, so that there are several.
    monkeypatch.setattr(deepcam_files, "BAND_VALUES", 16 * NUM_LON)
    write_deepcam(store, tmp_path, facts=False, **form)
    source = DeepcamSamples(tmp_path)
    assert source.holds_lock == ("chunks" in form)
    for i in (0, 50):
        ours, theirs = read(source, i), read(store, i)
        assert np.array_equal(ours.field, theirs.field)
        assert np.array_equal(ours.labels, theirs.labels)
        assert ours.field.flags.c_contiguous


def test_files_are_read_without_the_library(folder, monkeypatch):
    source = DeepcamSamples(folder)
    expected = read(source, 0).field.copy()

    def refuse(*_):
        raise AssertionError("opened by HDF5")

    monkeypatch.setattr(deepcam_files, "open_hdf5", refuse)
    assert np.array_equal(read(source, 0).field, expected)


@pytest.fixture
def changed(folder, tmp_path):
    """A copy of the folder, and one of its files."""
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy", sorted((tmp_path / "copy" / "train").iterdir())[2]


def test_a_file_that_ends_early_is_named(changed):
    folder, file = changed
    source = DeepcamSamples(folder)
    with file.open("r+b") as opened:
        opened.truncate(3000)
    with pytest.raises(
        InputError, match=r"ends at byte 3000, within its data|can't be read"
    ) as caught:
        read(source, 2)
    assert str(file) in str(caught.value)
    file.unlink()
    with pytest.raises(InputError, match="can't be read"):
        read(source, 2)


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("climate/data", np.zeros((NUM_LAT + 1, NUM_LON, 16), np.float32), "must be numbers"),
        ("climate/data", np.zeros((NUM_LAT, NUM_LON, 16), np.float16), "as in the other files"),
        ("climate/labels_1", np.full((NUM_LAT, NUM_LON), 0.5), "labels must be whole numbers"),
        ("climate/labels_1", np.full((NUM_LAT, NUM_LON), 258), "labels must be whole numbers"),
        ("climate/labels_1", None, "is missing"),
    ],
)
def test_a_file_unlike_the_others_is_named(changed, name, values, problem):
    folder, file = changed
    source = DeepcamSamples(folder)
    source._places.clear()
    with h5py.File(file, "r+") as opened:
        del opened[name]
        if values is not None:
            opened[name] = values
    with pytest.raises(InputError, match=problem) as caught:
        read(source, 2)
    assert str(file) in str(caught.value)


def test_a_label_set_that_labels_nothing_is_refused(changed):
    folder, _ = changed
    for file in folder.glob("*/data-*.h5"):
        with h5py.File(file, "r+") as opened:
            opened["climate/labels_1"][...] = -1.0
    with pytest.raises(InputError, match="each label set must label something"):
        DeepcamSamples(folder)


def test_a_class_that_does_not_exist_is_named(changed):
    folder, file = changed
    with h5py.File(file, "r+") as opened:
        opened["climate/labels_0"][...] = 3.0
    with pytest.raises(InputError, match="classes must be 0 to 2"):
        DeepcamSamples(folder)


def test_a_folder_without_files_or_labels_is_refused(changed, tmp_path):
    with pytest.raises(InputError, match="must hold train, validation, test with files"):
        DeepcamSamples(tmp_path / "nothing")
    folder, _ = changed
    for file in folder.glob("*/data-*.h5"):
        with h5py.File(file, "r+") as opened:
            del opened["climate/labels_0"], opened["climate/labels_1"]
    with pytest.raises(InputError, match="must hold labels to be learned from"):
        DeepcamSamples(folder)


def test_files_must_be_those_of_samples_json(store, tmp_path):
    write_deepcam(store, tmp_path)
    kept = DeepcamSamples(tmp_path, label_sets=("labels_1",)).index
    assert kept.class_shares == store.index.label_set_shares[1]
    next((tmp_path / "test").iterdir()).unlink()
    with pytest.raises(InputError, match=r"files must be those of samples\.json"):
        DeepcamSamples(tmp_path)
