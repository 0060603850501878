"""DeepCAM files in all generations: read, written, and refused in one line."""

import pickle

import cftime
import dask
import fsspec
import h5py
import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.formats import deepcam
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import CLASS_ATTRS, DIMS, check_dataset, mock_dataset
from exastorm.variables import CHANNEL_NAMES, CHANNELS

H, W = 24, 36


def made_up(num_times=3, *, num_labels=2, seed=0):
    """A dataset with 16 noisy channels in their plausible ranges, and label sets."""
    rng = np.random.default_rng(seed)
    shape = (num_times, H, W)
    fields = {
        v.name: v.low + (v.high - v.low) * rng.random(shape, dtype=np.float32) for v in CHANNELS
    }
    dataset = mock_dataset(fields, H, W, num_times, start="2001-02-27 18:00")
    for k in range(num_labels):
        labels = rng.integers(0, 3, shape).astype(np.int8)
        dataset[f"labels_{k}"] = (DIMS, labels, CLASS_ATTRS)
    return dataset


def read(paths, **options):
    return deepcam.read([str(p) for p in paths], ReadOptions(**options))


def write_raw(folder, name="data-2001-03-01-02-1.h5", **datasets):
    """A file with these datasets in its group `climate`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with h5py.File(path, "w") as file:
        for key, values in datasets.items():
            file[f"climate/{key}"] = values
    return path


def cube(channels_last=True, seed=0):
    """Plausible fields (H, W, 16) or (16, H, W)."""
    values = np.random.default_rng(seed).random((H, W, 16)).astype(np.float32)
    low, high = (np.array([getattr(v, k) for v in CHANNELS], np.float32) for k in ("low", "high"))
    values = low + (high - low) * values
    return values if channels_last else np.moveaxis(values, 2, 0)


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_write_then_read_gives_the_same(tmp_path, generation):
    before = made_up()
    paths = deepcam.write(before, tmp_path, generation=generation)
    # 27 February 18 UTC is three-hourly index 6; noleap goes on to 1 March 2001 after the 28th.
    assert [p.name for p in paths] == [
        "data-2001-02-27-06-1.h5",
        "data-2001-02-27-07-1.h5",
        "data-2001-02-28-00-1.h5",
        "stats.h5",
    ]
    after = read(paths)
    check_dataset(after)
    assert list(after.data_vars) == [*CHANNEL_NAMES, "labels_0", "labels_1"]
    for name in after.data_vars:
        np.testing.assert_array_equal(after[name], before[name])
        assert after[name].dtype == before[name].dtype
        assert after[name].chunks == ((1, 1, 1), (H,), (W,))
    np.testing.assert_array_equal(after["time"], before["time"])
    np.testing.assert_array_equal(after["lat"], before["lat"])
    np.testing.assert_array_equal(after["lon"], before["lon"])
    assert f"generation {generation}" in after.attrs["history"]
    assert after["TMQ"].attrs["source_units"] == "kg m-2"


def test_the_files_are_laid_out_as_published(tmp_path):
    before = made_up(1)
    first, *_ = deepcam.write(before, tmp_path / "1")
    with h5py.File(first) as file:
        assert file["climate/data"].shape == (H, W, 16)
        assert file["climate/data"].dtype == np.float32
        np.testing.assert_array_equal(file["climate/data"][..., 7], before["PSL"][0])
        field = before["PSL"].values[0].astype(float)
        expected = [field.mean(), field.max(), field.min(), field.std()]
        np.testing.assert_allclose(file["climate/data_stats"][:, 7], expected, rtol=1e-6)
        shares = [(before["labels_1"] == k).mean() for k in range(3)]
        np.testing.assert_allclose(file["climate/labels_1_stats"][4:, 0], shares, rtol=1e-6)
        assert file["climate/labels_0_stats"].shape == (7, 1)
    second, *_ = deepcam.write(before, tmp_path / "2", generation=2)
    with h5py.File(second) as file:
        assert file["climate/data"].shape == (16, H, W)
        assert file["climate/labels"].shape == (2, H, W)
        assert file["climate/stats"].shape == (16, 4)
        counts = [int((before["labels_0"] == k).sum()) for k in range(3)]
        assert file["climate/labels_stats"][0].tolist() == counts


def test_staged_copies_keep_a_list_of_channels(tmp_path):
    before = made_up(2)[["TMQ", "U850", "V850", "PRECT", "labels_0"]]
    paths = deepcam.write(before, tmp_path, generation=3)
    with h5py.File(paths[0]) as file:
        # Numbers of the four channels of the first runs: TMQ, U850, V850, PRECT (paper).
        assert file["climate/channels"][()].tolist() == [0, 1, 2, 10]
        assert file["climate/labels"].dtype == np.int32
    after = read(paths)
    assert list(after.data_vars) == ["TMQ", "U850", "V850", "PRECT", "labels_0"]
    np.testing.assert_array_equal(after["PRECT"], before["PRECT"])


def test_half_precision_keeps_three_digits_and_says_so(tmp_path):
    before = made_up(1)[["TMQ", "T200"]]
    after = read(deepcam.write(before, tmp_path, generation=3, precision="fp16"))
    # Half precision has 11 significant bits: a relative rounding of 2^-11 = 4.9e-4.
    np.testing.assert_allclose(after["T200"], before["T200"], rtol=4.9e-4)
    assert np.any(after["T200"].values != before["T200"].values)
    assert "half precision" in after["T200"].attrs["note"]
    with pytest.raises(InputError, match=r"variable PS, time .*: half precision ends at 65504"):
        deepcam.write(made_up(1), tmp_path / "all", generation=3, precision="fp16")
    assert not list((tmp_path / "all").glob("*.h5"))


def test_fields_that_overflowed_half_precision_are_left_out(tmp_path):
    with np.errstate(over="ignore"):
        values = cube(channels_last=False).astype(np.float16)
    path = write_raw(tmp_path, data=values, labels=np.zeros((H, W), np.int32))
    dataset = read([path])
    # Above 65504 lie the sea-level pressure always and the surface pressure over low ground.
    assert set(CHANNEL_NAMES) - set(dataset.data_vars) == {"PS", "PSL"}
    assert dataset.attrs["left_out"].startswith("PS: overflows the half precision")
    assert np.isfinite(dataset["Z200"]).all()


def test_one_map_or_several_in_climate_labels(tmp_path):
    labels = np.zeros((H, W), np.float32)
    labels[3, 4] = 2
    path = write_raw(tmp_path, data=cube(channels_last=False), labels=labels)
    dataset = read([path])
    assert dataset["labels_0"].values[0, 3, 4] == 2
    assert "labels_1" not in dataset
    assert dataset["labels_0"].dtype == np.int8


def test_a_label_set_that_some_files_lack_is_minus_one_there(tmp_path):
    zeros = np.zeros((H, W), np.float32)
    first = write_raw(tmp_path, data=cube(), labels_0=zeros, labels_1=zeros)
    second = write_raw(tmp_path, "data-2001-03-01-03-1.h5", data=cube(), labels_0=zeros)
    dataset = read([second, first])
    assert np.all(dataset["labels_1"][0] == 0)
    assert np.all(dataset["labels_1"][1] == -1)
    again = read(deepcam.write(dataset, tmp_path / "again"))
    np.testing.assert_array_equal(again["labels_1"], dataset["labels_1"])
    swapped = dataset.rename(labels_0="labels_1", labels_1="labels_0")
    with pytest.raises(InputError, match="without gaps"):
        deepcam.write(swapped, tmp_path / "planes", generation=2)


def test_truth_is_written_where_there_are_no_label_sets(tmp_path):
    dataset = made_up(1, num_labels=0)
    dataset["truth"] = (DIMS, np.full((1, H, W), 2, np.int8), CLASS_ATTRS)
    assert np.all(read(deepcam.write(dataset, tmp_path))["labels_0"] == 2)


def test_names_date_the_files(tmp_path):
    name = "data-2106-12-31-07-3-ANOMALY.h5"
    dataset = read([write_raw(tmp_path, name, data=cube())])
    assert dataset["time"].item() == cftime.DatetimeNoLeap(2106, 12, 31, 21)
    assert dataset.attrs["run"] == "3"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("data-2001-03-01-08-1.h5", "must be 0 to 7"),
        ("data-2004-02-29-00-1.h5", "2004-02-29 is not in the noleap calendar"),
        ("snapshot.h5", "must be data-YYYY-MM-DD-TT-R"),
    ],
)
def test_a_name_that_is_no_date_is_refused(tmp_path, name, problem):
    with pytest.raises(InputError, match=problem):
        read([write_raw(tmp_path, name, data=cube())])


def test_the_known_grid_is_cams_and_others_are_noted(tmp_path):
    path = write_raw(tmp_path, data=np.zeros((768, 1152, 16), np.float32))
    dataset = read([path])
    # CAM's 0.23 x 0.31 degree grid: spacing 180/767 and 360/1152 degrees.
    assert dataset["lat"].values[[0, 1, -1]] == pytest.approx([-90, -90 + 0.2346806, 90])
    assert dataset["lon"].values[[0, 1, -1]] == pytest.approx([0, 0.3125, 359.6875])
    assert "is taken to go" not in dataset.attrs["history"]
    small = read([write_raw(tmp_path / "small", data=cube())])
    assert "24 x 36 is taken to go from pole to pole" in small.attrs["history"]


def test_runs_must_be_chosen(tmp_path):
    paths = [
        write_raw(tmp_path, f"data-2001-03-01-0{k}-{r}.h5", data=cube(seed=r))
        for k in range(2)
        for r in (1, 2)
    ]
    with pytest.raises(InputError, match=r"runs 1, 2, .* option run") as caught:
        read(paths)
    assert caught.value.file == str(paths[0])
    second = read(paths, run="2")
    assert second.sizes["time"] == 2
    np.testing.assert_array_equal(second["TMQ"][0], cube(seed=2)[..., 0])
    with pytest.raises(InputError, match="run must be one of 1, 2, got '7'"):
        read(paths, run="7")


def test_units_are_cams_and_cannot_be_stated(tmp_path):
    with pytest.raises(InputError, match="are in CAM's units by definition"):
        read([write_raw(tmp_path, data=cube())], units=("PSL=hPa",))


def test_only_the_fields_wanted(tmp_path):
    dataset = read([write_raw(tmp_path, data=cube())], fields=("PSL", "TMQ"))
    assert list(dataset.data_vars) == ["TMQ", "PSL"]
    np.testing.assert_array_equal(dataset["PSL"][0], cube()[..., 7])


def test_statistics_beside_the_files_are_passed_over(tmp_path):
    paths = deepcam.write(made_up(2), tmp_path)
    assert deepcam.recognize(str(paths[-1]))
    assert read(paths).sizes["time"] == 2
    with pytest.raises(InputError, match="none of 1 file"):
        read(paths[-1:])


def test_statistics_of_both_kinds(tmp_path):
    dataset = made_up(5)
    *_, path = deepcam.write(dataset, tmp_path)
    statistics = deepcam.read_statistics(path)
    values = dataset["PSL"].values.astype(np.float64)
    got = statistics.sel(channel="PSL")
    assert got["mean"].item() == pytest.approx(values.mean(), rel=1e-12)
    assert got["std"].item() == pytest.approx(values.std(), rel=1e-9)
    assert (got["min"].item(), got["max"].item()) == (values.min(), values.max())
    with h5py.File(path, "a") as file:
        assert file["climate/count"][()] == 5
        del file["climate/minval"]
    # Without it only SC18's table (16, 4) of mean, max, min, std is left, in single precision.
    table = deepcam.read_statistics(path).sel(channel="PSL")
    assert table["std"].item() == pytest.approx(values.std(), rel=1e-6)
    assert table["max"].item() == pytest.approx(values.max(), rel=1e-6)
    with pytest.raises(InputError, match="must hold climate/stats"):
        deepcam.read_statistics(write_raw(tmp_path / "other", data=cube()))
    short = write_raw(tmp_path / "short", "stats.h5", stats=np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"must have shape \(16, 4\), got \(4, 4\)"):
        deepcam.read_statistics(short)


def test_reading_is_lazy_shared_and_picklable(tmp_path, monkeypatch):
    paths = deepcam.write(made_up(3), tmp_path)
    dataset = read(paths)
    calls = []
    original = deepcam.read_channels
    monkeypatch.setattr(deepcam, "read_channels", lambda *a: calls.append(a) or original(*a))
    dask.compute(*(dataset[n].isel(time=slice(1, 3)).data for n in CHANNEL_NAMES))
    # Two files, each read once for all of its 16 interleaved channels.
    assert len(calls) == 2
    copy = pickle.loads(pickle.dumps(dataset))
    xr.testing.assert_equal(copy.load(), dataset.load())


def test_files_that_are_not_local(tmp_path):
    local = write_raw(tmp_path, data=cube())
    address = f"memory://deepcam/{local.name}"
    with fsspec.open(address, "wb") as file:
        file.write(local.read_bytes())
    dataset = read([address])
    np.testing.assert_array_equal(dataset["ZBOT"][0], cube()[..., 15])
    assert dataset.attrs["source"] == address


# Bad files ----------------------------------------------------------------------------------------


BAD_CONTENTS = {
    "no data": lambda data: {"labels_0": data[..., 0]},
    "channels": lambda data: {"data": data[..., :15]},
    "axes swapped": lambda data: {"data": data.transpose(1, 0, 2)},
    "integers": lambda data: {"data": data.astype(np.int64)},
    "label shape": lambda data: {"data": data, "labels_0": np.zeros((H, W + 1))},
    "label axes": lambda data: {"data": np.moveaxis(data, 2, 0), "labels": np.zeros(5)},
    "channel list": lambda data: {"data": np.moveaxis(data, 2, 0)[:2], "channels": [0, 16]},
    "other channels": lambda data: {"data": np.moveaxis(data, 2, 0)[:2], "channels": [0, 1]},
    "grid": lambda data: {"data": data[:12]},
}
BAD_BYTES = {
    "truncated": lambda good: good[:20_000],
    "text": lambda good: b"not a data file\n" * 10,
    "empty": lambda good: b"",
}


def bad_file(kind, folder):
    """One file with the fault `kind`."""
    name = "data-2001-03-01-05-1.h5"
    if kind in BAD_CONTENTS:
        return write_raw(folder, name, **BAD_CONTENTS[kind](cube()))
    if kind in BAD_BYTES:
        path = write_raw(folder, name, data=cube())
        path.write_bytes(BAD_BYTES[kind](path.read_bytes()))
    return folder / name


PROBLEMS = {
    "truncated": "truncated or corrupt",
    "text": "is no data file",
    "empty": "is empty",
    "missing": "does not exist",
    "no data": "variable climate/data: is missing",
    "channels": r"must be \(lat, lon, 16\) or \(16, lat, lon\), got \(24, 36, 15\)",
    "axes swapped": "latitude before longitude, got 36 x 24",
    "integers": "must be floats with three dimensions, got int64",
    "label shape": r"labels_0: must be \(24, 36\) as climate/data is, got \(24, 37\)",
    "label axes": "must be one map or several",
    "channel list": r"must list numbers 0 to 15 once each, got \[0, 16\]",
    "other channels": "all files must have the same channels; PRECT, PS",
    "grid": "all files must have one grid; this one has 12 x 36",
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_bad_file_is_one_line_or_skipped(tmp_path, kind):
    good = write_raw(tmp_path, data=cube(), labels_0=np.zeros((H, W)))
    bad = bad_file(kind, tmp_path)
    with pytest.raises(InputError, match=PROBLEMS[kind]) as caught:
        read([good, bad])
    assert caught.value.file == str(bad)
    assert "\n" not in str(caught.value)
    dataset = read([good, bad], skip_bad=True)
    assert dataset.sizes["time"] == 1
    assert dataset.attrs["bad_files"].startswith(str(bad))
    assert dataset["TMQ"].isnull().sum() == 0


def test_nothing_but_bad_files_is_refused_though_they_are_to_be_skipped(tmp_path):
    with pytest.raises(InputError, match=r"none of 1 file\(s\) can be read; the first: .*empty"):
        read([bad_file("empty", tmp_path)], skip_bad=True)


def test_a_file_given_twice(tmp_path):
    first = write_raw(tmp_path / "train", data=cube())
    second = write_raw(tmp_path / "test", data=cube())
    with pytest.raises(InputError, match=r"time 2001-03-01 06:00:00: is given twice"):
        read([first, second])
    assert read([first, second], skip_bad=True).sizes["time"] == 1


@pytest.mark.parametrize("wrong", [3, -1, 0.5, np.nan, 2**40])
def test_labels_out_of_range(tmp_path, wrong):
    labels = np.zeros((H, W))
    labels[2, 2] = wrong
    path = write_raw(tmp_path, data=cube(), labels_0=labels)
    dataset = read([path])
    with pytest.raises(
        InputError, match=r"climate/labels_0, time .*: labels must be 0, 1, 2, got"
    ) as caught:
        dataset["labels_0"].load()
    assert str(float(wrong)) in str(caught.value)
    good = write_raw(tmp_path, "data-2001-03-02-00-1.h5", data=cube())
    assert read([path, good], skip_bad=True).sizes["time"] == 1


@pytest.mark.parametrize("wrong", [np.nan, 1e9])
def test_values_that_cannot_be(tmp_path, wrong):
    values = cube()
    values[..., 7] = wrong
    good = write_raw(tmp_path, "data-2001-03-02-00-1.h5", data=cube())
    bad = write_raw(tmp_path, "data-2001-03-02-01-1.h5", data=values)
    assert read([good, bad], skip_bad=True).sizes["time"] == 1
    with pytest.raises(InputError, match=r"no file is sound; the first: .*variable PSL, time"):
        read([bad], skip_bad=True)
    if np.isnan(wrong):
        with pytest.raises(InputError, match=r"variable PSL, time .*: holds no number at all"):
            read([good, bad])["PSL"].load()


def test_damage_found_while_reading_is_one_line(tmp_path):
    path = write_raw(tmp_path, data=cube())
    dataset = read([path])
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="truncated or corrupt"):
        dataset["TMQ"].load()


@pytest.mark.parametrize(
    ("change", "options", "problem"),
    [
        (lambda d: d.drop_vars("ZBOT"), {}, "generation 1 needs ZBOT"),
        (lambda d: d.drop_vars("ZBOT"), {"generation": 2}, "generation 2 needs ZBOT"),
        (lambda d: d, {"generation": 4}, "generation must be 1, 2 or 3, got 4"),
        (lambda d: d, {"precision": "fp16"}, "precision must be fp32, or fp16 for generation 3"),
        (lambda d: d, {"precision": "fp8", "generation": 3}, "precision must be fp32"),
        (lambda d: d.isel(lat=slice(1, None)), {}, "pole to pole"),
        (lambda d: d.assign_coords(lon=d.lon + 1), {}, "pole to pole"),
        (lambda d: d.assign(TMQ=d.TMQ.where(d.lat > 0)), {}, "can't hold missing values"),
        (lambda d: d.assign(labels_0=d.labels_0 + 1), {}, "labels must be 0, 1, 2, got 3"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path, change, options, problem):
    with xr.set_options(keep_attrs=True), pytest.raises(InputError, match=problem):
        deepcam.write(change(made_up(1)), tmp_path, **options)


@pytest.mark.parametrize(
    ("start", "step", "calendar", "problem"),
    [
        ("2001-01-01 01:00", 3, "noleap", "only hold three-hourly times"),
        ("2004-02-29", 3, "standard", "only hold noleap dates"),
        ("2001-02-30", 3, "360_day", "only hold noleap dates"),
    ],
)
def test_times_that_names_cannot_hold(tmp_path, start, step, calendar, problem):
    fields = {v.name: v.low for v in CHANNELS}
    dataset = mock_dataset(fields, H, W, 1, start=start, step_hours=step, calendar=calendar)
    with pytest.raises(InputError, match=problem):
        deepcam.write(dataset, tmp_path)


def test_the_run_is_the_archives_or_the_given_one(tmp_path):
    dataset = made_up(1)
    dataset.attrs["run"] = "4"
    assert deepcam.write(dataset, tmp_path)[0].name == "data-2001-02-27-06-4.h5"
    assert deepcam.write(dataset, tmp_path, run="9")[0].name == "data-2001-02-27-06-9.h5"


def test_other_files_are_not_taken_for_deepcam(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data"] = np.zeros(3)
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    assert not deepcam.recognize(str(other))
    assert not deepcam.recognize(str(text))
    assert not deepcam.recognize(str(tmp_path / "absent.nc"))
    assert deepcam.recognize(str(write_raw(tmp_path, data=cube())))
