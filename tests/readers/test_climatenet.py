"""ClimateNet files: annotations of one snapshot, read, written, and refused in one line."""

import pickle
from datetime import timedelta

import cftime
import dask
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.formats import climatenet
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import CLASS_ATTRS, DIMS, check_dataset, mock_dataset
from exastorm.variables import CHANNEL_NAMES, CHANNELS

H, W = 24, 36


def made_up(num_times=2, *, num_labels=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num_times, H, W)
    fields = {
        v.name: v.low + (v.high - v.low) * rng.random(shape, dtype=np.float32) for v in CHANNELS
    }
    dataset = mock_dataset(fields, H, W, num_times, start="2008-02-28 21:00")
    for k in range(num_labels):
        labels = rng.integers(0, 3, shape).astype(np.int8)
        dataset[f"labels_{k}"] = (DIMS, labels, CLASS_ATTRS)
    return dataset


def read(paths, **options):
    return climatenet.read([str(p) for p in paths], ReadOptions(**options))


def annotation(folder, name="data-2010-09-04-02-1_0.nc", *, change=None, labels=1, **attrs):
    """A file as published, with TMQ and PSL only; `change` edits the dataset first."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = mock_dataset({"TMQ": 30.0, "PSL": 1e5}, H, W, 1, start="2010-09-04 06:00")
    for field in ("TMQ", "PSL"):
        dataset[field].attrs.update(attrs)
    dataset["LABELS"] = (("lat", "lon"), np.full((H, W), labels))
    if change:
        dataset = change(dataset)
    dataset.to_netcdf(folder / name)
    return folder / name


def test_write_then_read_gives_the_same(tmp_path):
    before = made_up()
    before["labels_1"][1] = -1
    paths = climatenet.write(before, tmp_path)
    assert [p.name for p in paths] == [
        "data-2008-02-28-07-1_0.nc",
        "data-2008-02-28-07-1_1.nc",
        "data-2008-03-01-00-1_0.nc",
    ]
    after = read(reversed(paths))
    check_dataset(after)
    assert list(after.data_vars) == [*CHANNEL_NAMES, "labels_0", "labels_1"]
    for name in after.data_vars:
        np.testing.assert_array_equal(after[name], before[name])
        assert after[name].dtype == before[name].dtype
        assert after[name].chunks == ((1, 1), (H,), (W,))
    for name in ("time", "lat", "lon"):
        np.testing.assert_array_equal(after[name], before[name])


def test_the_files_hold_what_published_ones_do(tmp_path):
    path, *_ = climatenet.write(made_up(1), tmp_path)
    with netCDF4.Dataset(path) as file:
        assert file["TMQ"].dimensions == ("time", "lat", "lon")
        assert file["TMQ"].shape == (1, H, W)
        assert file["LABELS"].dimensions == ("lat", "lon")
        assert file["LABELS"].flag_meanings.split()[2] == "atmospheric_river"
        assert file["time"].calendar == "noleap"
    assert climatenet.recognize(str(path))


def test_annotations_of_a_snapshot_share_its_fields(tmp_path):
    paths = [annotation(tmp_path, f"data-2010-09-04-02-1_{n}.nc", labels=n) for n in (2, 0, 1)]
    dataset = read(paths)
    assert dataset.sizes["time"] == 1
    assert [int(dataset[f"labels_{n}"].max()) for n in range(3)] == [0, 1, 2]
    assert dataset["TMQ"].shape == (1, H, W)


@pytest.mark.parametrize("labels_dims", [("lat", "lon"), ("time", "lat", "lon"), ("lon", "lat")])
def test_labels_in_any_order_of_dimensions(tmp_path, labels_dims):
    def change(dataset):
        labels = dataset["LABELS"].copy()
        labels[3, 5] = 2
        if "time" in labels_dims:
            labels = labels.expand_dims(time=dataset["time"])
        return dataset.assign(LABELS=labels.transpose(*labels_dims))

    dataset = read([annotation(tmp_path, change=change)])
    assert dataset["labels_0"].values[0, 3, 5] == 2
    assert (dataset["labels_0"].values == 2).sum() == 1


def test_the_time_is_the_files_own_or_else_the_names(tmp_path):
    own = read([annotation(tmp_path / "1", "data-2010-09-04-05-1_0.nc")])
    assert own["time"].item() == cftime.DatetimeNoLeap(2010, 9, 4, 6)

    def without(dataset):
        return dataset.assign_coords(time=[0])

    named = read([annotation(tmp_path / "2", "data-2010-09-04-05-1_0.nc", change=without)])
    assert named["time"].item() == cftime.DatetimeNoLeap(2010, 9, 4, 15)
    other = read([annotation(tmp_path / "3", "storm.nc")])
    assert other["time"].item() == cftime.DatetimeNoLeap(2010, 9, 4, 6)
    with pytest.raises(InputError, match="must be data-YYYY-MM-DD-TT-R"):
        read([annotation(tmp_path / "4", "storm.nc", change=without)])


def test_units_are_converted_or_cams(tmp_path):
    def in_hpa(dataset):
        dataset["PSL"] = (dataset["PSL"] / 100).assign_attrs(units="hPa")
        del dataset["TMQ"].attrs["units"]
        return dataset

    dataset = read([annotation(tmp_path, change=in_hpa)])
    np.testing.assert_allclose(dataset["PSL"], 1e5)
    assert dataset["PSL"].attrs["source_units"] == "hPa"
    assert "gives no units" in dataset["TMQ"].attrs["note"]
    assert "note" not in dataset["PSL"].attrs
    stated = read([annotation(tmp_path / "2", change=in_hpa)], units=("TMQ=g m-2",))
    np.testing.assert_allclose(stated["TMQ"], 0.03)
    assert stated["TMQ"].attrs["source_units"] == "g m-2"


def test_descending_latitudes_and_western_longitudes_are_turned(tmp_path):
    def turned(dataset):
        dataset["TMQ"].values[0, 0, 0] = 7
        dataset["LABELS"].values[0, 0] = 2
        west = dataset.assign_coords(lon=(dataset.lon + 180) % 360 - 180).sortby("lon")
        return west.isel(lat=slice(None, None, -1))

    dataset = read([annotation(tmp_path, change=turned)])
    check_dataset(dataset)
    assert dataset["TMQ"].values[0, 0, 0] == 7
    assert dataset["labels_0"].values[0, 0, 0] == 2


def test_only_the_fields_wanted_and_the_run_wanted(tmp_path):
    paths = [annotation(tmp_path, f"data-2010-09-04-02-{r}_0.nc") for r in (1, 2)]
    with pytest.raises(InputError, match="runs 1, 2"):
        read(paths)
    dataset = read(paths, run="2", fields=("PSL",))
    assert list(dataset.data_vars) == ["PSL", "labels_0"]
    assert dataset.attrs["run"] == "2"


def test_files_without_labels_and_with_truth(tmp_path):
    dataset = made_up(1, num_labels=0)
    paths = climatenet.write(dataset, tmp_path / "1")
    assert [p.name for p in paths] == ["data-2008-02-28-07-1_0.nc"]
    assert "labels_0" not in read(paths)
    assert climatenet.recognize(str(paths[0]))
    dataset["truth"] = (DIMS, np.full((1, H, W), 1, np.int8), CLASS_ATTRS)
    dataset.attrs["run"] = "3"
    paths = climatenet.write(dataset, tmp_path / "2")
    assert paths[0].name == "data-2008-02-28-07-3_0.nc"
    assert np.all(read(paths)["labels_0"] == 1)
    assert climatenet.write(dataset, tmp_path / "2", run="8")[0].name.endswith("-8_0.nc")


def test_cams_own_u10_is_a_speed_and_not_taken(tmp_path):
    def with_speed(dataset):
        return dataset.assign(U10=dataset["TMQ"].assign_attrs(units="m/s", standard_name=""))

    assert "U10" not in read([annotation(tmp_path, change=with_speed)])


BAD = {
    "truncated or corrupt": lambda p: p.write_bytes(p.read_bytes()[:5000]),
    "is no data file": lambda p: p.write_text("not a data file"),
    "is empty": lambda p: p.write_bytes(b""),
    "does not exist": lambda p: p.unlink(),
    "units must convert to kg m-2 .*, got 'K'": lambda p: edit(p, units="K"),
    "all files must have one grid": lambda p: edit(p, change=lambda d: d.isel(lat=slice(2, None))),
    "PSL: must hold numbers, got": lambda p: edit(
        p, change=lambda d: d.assign(PSL=d.PSL.astype(str).assign_attrs(units="Pa"))
    ),
    "lacks PSL, which": lambda p: edit(p, change=lambda d: d.drop_vars("PSL")),
    "must be one map": lambda p: edit(p, change=several_times),
    "must have a coordinate for lat": lambda p: edit(p, change=lambda d: d.drop_vars("lat")),
    "must have one calendar": lambda p: edit(
        p, change=lambda d: d.convert_calendar("standard", use_cftime=True)
    ),
}


def edit(path, **options):
    annotation(path.parent, path.name, **options)


def several_times(dataset):
    later = dataset.assign_coords(time=dataset["time"].values + timedelta(hours=3))
    return xr.concat([dataset, later], "time", data_vars="minimal")


@pytest.mark.parametrize("problem", BAD)
def test_a_bad_file_is_one_line_or_skipped(tmp_path, problem):
    good = annotation(tmp_path, "data-2010-09-04-02-1_0.nc")
    bad = annotation(tmp_path, "data-2010-09-04-02-1_1.nc")
    BAD[problem](bad)
    with pytest.raises(InputError, match=problem) as caught:
        read([good, bad])
    assert caught.value.file == str(bad)
    assert "\n" not in str(caught.value)
    dataset = read([good, bad], skip_bad=True)
    assert "labels_1" not in dataset
    assert dataset.attrs["bad_files"].startswith(str(bad))


def test_an_annotation_given_twice(tmp_path):
    paths = [annotation(tmp_path / part) for part in ("train", "test")]
    with pytest.raises(InputError, match="annotation 0 is given twice"):
        read(paths)
    assert "labels_1" not in read(paths, skip_bad=True)


@pytest.mark.parametrize("wrong", [np.nan, 1e9])
def test_values_that_cannot_be(tmp_path, wrong):
    good = annotation(tmp_path)
    bad = annotation(
        tmp_path, "data-2010-09-04-03-1_0.nc", change=lambda d: d.assign(PSL=d.PSL * 0 + wrong)
    )
    later = annotation(tmp_path, "data-2010-09-04-04-1_0.nc", labels=7)
    dataset = read([good, bad, later], skip_bad=True)
    assert dataset.sizes["time"] == 1
    assert [line.split(",")[0] for line in dataset.attrs["bad_files"].split("\n")] == [
        str(bad),
        str(later),
    ]


def test_labels_out_of_range_name_file_and_time(tmp_path):
    dataset = read([annotation(tmp_path, labels=5)])
    with pytest.raises(
        InputError, match=r"LABELS, time 2010-09-04 06:00:00: labels must be 0, 1, 2"
    ):
        dataset["labels_0"].load()


def test_damage_found_while_reading_is_one_line(tmp_path):
    path = annotation(tmp_path)
    with xr.open_dataset(path, decode_times=False) as raw:
        raw.to_netcdf(tmp_path / "packed.nc", encoding={"TMQ": {"zlib": True, "complevel": 4}})
    packed = bytearray((tmp_path / "packed.nc").read_bytes())
    with h5py.File(tmp_path / "packed.nc") as file:
        chunk = file["TMQ"].id.get_chunk_info(0)
    packed[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(bytes(packed))
    dataset = read([path])
    with pytest.raises(InputError, match=r"variable TMQ, time .*: can't be read"):
        dataset["TMQ"].load()


def test_many_threads_read_many_files(tmp_path):
    paths = climatenet.write(made_up(6), tmp_path)
    dataset = read(paths)
    with dask.config.set(scheduler="threads", num_workers=8):
        first, second = dataset.compute(), dataset.compute()
    xr.testing.assert_identical(first, second)
    copy = pickle.loads(pickle.dumps(dataset))
    xr.testing.assert_identical(copy.compute(), first)


def test_what_a_file_cannot_hold_is_not_written(tmp_path):
    dataset = made_up(1)
    dataset["labels_0"][0, 0, 0] = 4
    with pytest.raises(InputError, match="labels must be 0, 1, 2, got 4"):
        climatenet.write(dataset, tmp_path)
    late = mock_dataset({"TMQ": 1.0}, H, W, 1, start="2001-01-01 02:00")
    with pytest.raises(InputError, match="three-hourly"):
        climatenet.write(late, tmp_path)


def test_other_files_are_not_taken_for_climatenet(tmp_path):
    dataset = mock_dataset({"TMQ": 30.0}, H, W, 1)
    dataset.to_netcdf(tmp_path / "other.nc")
    (tmp_path / "notes.nc").write_text("notes")
    assert not climatenet.recognize(str(tmp_path / "other.nc"))
    assert not climatenet.recognize(str(tmp_path / "notes.nc"))
    assert not climatenet.recognize(str(tmp_path / "absent.nc"))
