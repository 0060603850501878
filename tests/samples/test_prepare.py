import json

import cftime
import numpy as np
import pytest
import xarray as xr
from tests.samples.conftest import CHANNELS, NUM_TIMES, SETTINGS, random_labels

from exastorm.errors import InputError
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.reading import read_index
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.samples.splits import SPLITS


def settings_with(**changes):
    return PrepareSettings(**{**vars(SETTINGS), **changes})


def stacked(archive, time):
    snapshot = archive.sel(time=time)
    return np.stack([snapshot[c].values for c in CHANNELS])


def test_every_sample_holds_the_fields_and_classes_of_its_time(prepared, archive, labels):
    store = SampleStore(prepared)
    assert len(store) + store.index.num_dropped == NUM_TIMES
    for i in range(len(store)):
        field, label = store.read(i)
        assert np.array_equal(field, stacked(archive, store.time(i)))
        assert np.array_equal(label, labels["class_map"].sel(time=store.time(i)).values)


def test_statistics_are_those_of_training_alone(prepared, archive, labels):
    store = SampleStore(prepared)
    train = [store.time(i) for i in store.indices("train")]
    index = store.index
    for statistics, times in (
        (index.statistics, train),
        (index.whole_statistics, [store.time(i) for i in range(len(store))]),
    ):
        for c, name in enumerate(CHANNELS):
            values = archive[name].sel(time=times).values.astype(np.float64)
            assert statistics.num_values == values.size
            assert statistics.mean[c] == pytest.approx(values.mean(), rel=1e-12)
            assert statistics.std[c] == pytest.approx(values.std(), rel=1e-9)
            assert statistics.min[c] == values.min()
            assert statistics.max[c] == values.max()
    maps = labels["class_map"].sel(time=train).values
    counts = [np.count_nonzero(maps == k) for k in range(3)]
    assert index.class_shares.num_pixels == tuple(counts)
    assert index.class_shares.by_pixel == pytest.approx([n / maps.size for n in counts])
    assert index.class_shares.by_area != pytest.approx(index.class_shares.by_pixel, rel=1e-3)


def test_outliers_outside_training_do_not_leak(archive, labels, prepared, tmp_path):
    store = SampleStore(prepared)
    changed = archive.copy(deep=True)
    for i in store.indices("test"):
        changed["TMQ"].loc[{"time": store.time(i)}] = 119.0
    index = prepare_samples(changed, labels, tmp_path / "out", SETTINGS)
    assert index.statistics == store.index.statistics
    assert index.whole_statistics.max[0] == 119.0


def test_index_tells_all_that_a_reader_needs(prepared, archive):
    index = read_index(prepared)
    assert index.channels == CHANNELS
    assert index.units == ("kg m-2", "Pa", "m s-1")
    assert index.lat == tuple(archive["lat"].values)
    assert index.lon == tuple(archive["lon"].values)
    assert index.calendar == "noleap"
    assert index.provenance["labels.rule_set"] == "made up"
    assert index.provenance["labels.class_map.flag_meanings"].startswith("background")
    assert index.settings["gap_hours"] == 24.0
    content = json.loads((prepared / "index.json").read_text())
    assert content["format"] == "exastorm samples"
    assert set(index.splits) == set(SPLITS)
    assert json.dumps(index.to_dict())
    assert "120 samples" not in index.to_line()
    assert f"{index.num_samples} samples" in index.to_line()


def test_chunks_of_the_archive_change_nothing(archive, labels, prepared, tmp_path):
    prepare_samples(archive, labels, tmp_path / "out", SETTINGS)
    ours, theirs = read_index(tmp_path / "out"), read_index(prepared)
    assert ours == theirs


def test_same_input_gives_the_same_bytes(archive, labels, prepared, tmp_path):
    prepare_samples(archive.chunk({"time": 50}), labels, tmp_path / "out", SETTINGS)
    for file in prepared.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_labels_of_some_of_the_times_make_samples_of_those(archive, tmp_path):
    labels = random_labels(archive.isel(time=slice(10, None, 2)))
    index = prepare_samples(archive, labels, tmp_path / "out", SETTINGS)
    assert index.num_samples + index.num_dropped == 55
    store = SampleStore(tmp_path / "out")
    assert np.array_equal(store.read(0)[0], stacked(archive, archive["time"].values[10]))


def test_snapshots_in_gaps_are_not_even_read(archive, labels, prepared, tmp_path):
    times = {SampleStore(prepared).time(i) for i in range(len(SampleStore(prepared)))}
    spoiled = archive.copy(deep=True)
    for time in archive["time"].values:
        if time not in times:
            spoiled["PSL"].loc[{"time": time}] = np.nan
    index = prepare_samples(spoiled, labels, tmp_path / "out", SETTINGS)
    assert index.left_out == ()


def test_field_without_time_is_the_same_in_every_sample(archive, labels, tmp_path):
    fixed = archive.assign(PHIS=(("lat", "lon"), np.eye(6, 12, dtype=np.float32)))
    fixed["PHIS"].attrs["units"] = "m2 s-2"
    prepare_samples(fixed, labels, tmp_path / "out", settings_with(channels=("TMQ", "PHIS")))
    store = SampleStore(tmp_path / "out")
    assert np.array_equal(store.read(7)[0][1], np.eye(6, 12))
    assert store.index.statistics.std[1] == pytest.approx(np.eye(6, 12).std())


def test_label_option_chooses_the_variable(archive, labels, tmp_path):
    renamed = labels.rename(class_map="truth")
    with pytest.raises(InputError, match="labels must hold class_map, got truth"):
        prepare_samples(archive, renamed, tmp_path / "a", SETTINGS)
    index = prepare_samples(archive, renamed, tmp_path / "b", settings_with(label="truth"))
    assert index.num_samples > 0


def test_time_that_the_archive_lacks_is_named(archive, labels, tmp_path):
    with pytest.raises(InputError, match=r"time 2000-01-04 00:00:00: .*lacks \(20 of 120"):
        prepare_samples(archive.isel(time=np.r_[0:6, 26:120]), labels, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_other_grid_and_other_calendar_are_refused(archive, labels, tmp_path):
    moved = labels.assign_coords(lon=labels["lon"] + 1.0)
    with pytest.raises(InputError, match="variable lon: grid of the labels must be the archive's"):
        prepare_samples(archive, moved, tmp_path, SETTINGS)
    times = xr.date_range("2000-01-01", periods=120, freq="12h", calendar="360_day")
    with pytest.raises(InputError, match=r"must be the archive's \(noleap\), got 360_day"):
        prepare_samples(archive, labels.assign_coords(time=times), tmp_path, SETTINGS)


def test_times_without_a_calendar_are_refused(archive, labels, tmp_path):
    plain = xr.date_range("2000-01-01", periods=120, freq="12h", use_cftime=False)
    with pytest.raises(InputError, match="times must be cftime datetimes"):
        prepare_samples(archive, labels.assign_coords(time=plain), tmp_path, SETTINGS)


def test_labels_without_times_are_refused(archive, labels, tmp_path):
    with pytest.raises(InputError, match="must hold at least one time"):
        prepare_samples(archive, labels.isel(time=slice(0)), tmp_path, SETTINGS)


def test_labels_of_one_snapshot_alone_are_refused(archive, labels, tmp_path):
    with pytest.raises(InputError, match="class_map: must have dimensions"):
        prepare_samples(archive, labels.isel(lat=0), tmp_path, SETTINGS)


def test_missing_channel_is_named(archive, labels, tmp_path):
    with pytest.raises(InputError, match="preparing samples needs PSL"):
        prepare_samples(archive.drop_vars("PSL"), labels, tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.nan, "must be finite, got 1 values that are not"),
        (np.inf, "must be finite, got 1 values that are not"),
        (1e20, "a fill value that is not masked"),
    ],
)
def test_bad_value_is_named_or_left_out(archive, labels, tmp_path, value, problem):
    bad = archive.copy(deep=True)
    bad["PSL"][3, 2, 5] = value
    with pytest.raises(InputError, match=f"variable PSL, time 2000-01-02 12:00:00: .*{problem}"):
        prepare_samples(bad, labels, tmp_path / "out", SETTINGS)
    assert list((tmp_path / "out").iterdir()) == [], "nothing that looks finished is left"
    index = prepare_samples(bad, labels, tmp_path / "out", settings_with(skip_bad=True))
    assert len(index.left_out) == 1
    assert problem in index.left_out[0]
    assert "2000-01-02T12:00:00" not in index.times
    assert index.statistics.max[1] < 2e5


def test_classes_that_do_not_exist_are_refused(archive, labels, tmp_path):
    wrong = labels.copy(deep=True)
    wrong["class_map"][0, 0, 0] = 3
    with pytest.raises(InputError, match=r"variable class_map.*must be 0 to 2, or -1"):
        prepare_samples(archive, wrong, tmp_path, SETTINGS)


def test_unlabeled_pixels_are_kept_apart_and_unlabeled_maps_left_out(archive, labels, tmp_path):
    partly = labels.copy(deep=True)
    partly["class_map"][0, :, :6] = -1
    partly["class_map"][1] = -1
    index = prepare_samples(archive, partly, tmp_path / "out", settings_with(skip_bad=True))
    assert "no pixel is labeled" in index.left_out[0]
    _, label = SampleStore(tmp_path / "out").read(0)
    assert np.all(label[:, :6] == -1)
    # Half of the 72 pixels of one map don't count.
    train = index.num_of_split("train")
    assert sum(index.class_shares.num_pixels) == train * 72 - 36


def test_prepared_folder_is_not_overwritten_unasked(archive, labels, prepared, tmp_path):
    out = tmp_path / "out"
    prepare_samples(archive, labels, out, settings_with(shard_mb=0.02))
    with pytest.raises(InputError, match="already holds samples"):
        prepare_samples(archive, labels, out, SETTINGS)
    assert len(list(out.glob("*.bin"))) > 3
    prepare_samples(archive, labels, out, settings_with(overwrite=True))
    assert sorted(f.name for f in out.iterdir()) == sorted(f.name for f in prepared.iterdir())
    SampleStore(out).verify()


def test_interrupted_run_leaves_no_index_and_the_next_one_clears_up(
    archive, labels, tmp_path, monkeypatch
):
    from exastorm.samples import writing

    real, calls = writing.ShardWriter.append, []

    def stop_at_ten(self, *sample):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        real(self, *sample)

    monkeypatch.setattr(writing.ShardWriter, "append", stop_at_ten)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare_samples(archive, labels, out, SETTINGS)
    monkeypatch.undo()
    assert list(out.iterdir()) == []
    # A run that was killed has no time to clear up.
    (out / "train-00000.bin.partial").write_bytes(b"half")
    (out / "train-00007.bin").write_bytes(b"stale")
    with pytest.raises(InputError, match=r"got none with an index\.json"):
        SampleStore(out)
    prepare_samples(archive, labels, out, SETTINGS)
    assert not list(out.glob("*.partial"))
    assert not (out / "train-00007.bin").exists()


def test_unreadable_archive_is_told_in_one_line(archive, labels, tmp_path):
    def fail(block):
        raise OSError("NetCDF: HDF error")

    broken = archive.chunk({"time": 10})
    broken["TMQ"].data = broken["TMQ"].data.map_blocks(fail, meta=np.empty((0, 0, 0), np.float32))
    with pytest.raises(InputError, match="time 2000-01-01 00:00:00: cannot be read: NetCDF: HDF"):
        prepare_samples(broken, labels, tmp_path, SETTINGS)


def test_out_must_be_a_folder(archive, labels, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must be a folder"):
        prepare_samples(archive, labels, tmp_path / "file", SETTINGS)


def test_nothing_to_train_on_is_said(archive, labels, tmp_path):
    index = prepare_samples(archive, labels, tmp_path / "a", SETTINGS)
    train = [
        cftime.datetime.strptime(t, "%Y-%m-%dT%H:%M:%S", calendar="noleap")
        for t in index.times[: index.num_of_split("train")]
    ]
    spoiled = archive.copy(deep=True)
    spoiled["TMQ"].loc[{"time": train}] = np.nan
    with pytest.raises(InputError, match="no sample is left to train on"):
        prepare_samples(spoiled, labels, tmp_path / "b", settings_with(skip_bad=True))


def test_gap_and_block_and_fractions_change_the_splits(archive, labels, tmp_path):
    base = prepare_samples(archive, labels, tmp_path / "0", SETTINGS)
    for k, changes in enumerate(
        ({"gap_hours": 0.0}, {"block_days": 6.0}, {"split_fractions": (0.5, 0.25, 0.25)})
    ):
        other = prepare_samples(archive, labels, tmp_path / f"{k + 1}", settings_with(**changes))
        assert other.times != base.times or other.splits != base.splits


def test_normalization_is_recorded(archive, labels, tmp_path):
    index = prepare_samples(archive, labels, tmp_path, settings_with(normalization="minmax"))
    assert index.scaling.shift == index.statistics.min


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ()}, "channels must be different fields"),
        ({"channels": ("TMQ", "TMQ")}, "channels must be different fields"),
        ({"channels": ("SST",)}, "channels must be different fields.*SST"),
        ({"split_fractions": (0.8, 0.1, 0.2)}, "split_fractions must be shares that sum to 1"),
        ({"split_fractions": (1.2, -0.1, -0.1)}, "split_fractions must be shares that sum to 1"),
        ({"split_fractions": (0.0, 0.5, 0.5)}, "must leave something to train on"),
        ({"block_days": 0.0}, "block_days must be positive, got 0"),
        ({"gap_hours": 48.0, "block_days": 4.0}, "gap_hours must be from 0 to below half.*got 48"),
        ({"gap_hours": -1.0}, "gap_hours must be from 0"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16, got 'int8'"),
        ({"normalization": "log"}, "normalization must be one of zscore, minmax, got 'log'"),
        ({"shard_mb": 0.0}, "shard_mb must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings_with(**changes)
