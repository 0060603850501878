"""Class maps are checked at the door, and their values when they are read."""

import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.archives import write_archive
from exastorm.readers.class_maps import open_class_map, open_label_sets
from exastorm.readers.schema import CLASS_ATTRS, mock_dataset
from exastorm.variables import CHANNELS


def class_maps(num_times=3, seed=0):
    dataset = mock_dataset({}, 5, 8, num_times)
    values = np.random.default_rng(seed).integers(0, 3, size=(num_times, 5, 8)).astype(np.int8)
    return dataset.assign(
        class_map=(("time", "lat", "lon"), values, CLASS_ATTRS),
        probability=(("time", "lat", "lon"), values / np.float32(4)),
    ).assign_attrs(title="a title")


def write(dataset, path):
    if path.suffix == ".zarr":
        dataset.to_zarr(path, consolidated=False)
    else:
        dataset.to_netcdf(path)
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_what_was_written_is_read_lazily(tmp_path, suffix):
    written = class_maps()
    opened = open_class_map(write(written, tmp_path / f"maps{suffix}"))
    assert opened["class_map"].chunks
    assert opened["class_map"].dtype == np.int8
    assert np.array_equal(opened["class_map"].values, written["class_map"].values)
    assert np.array_equal(opened["probability"].values, written["probability"].values)
    assert np.array_equal(opened["time"].values, written["time"].values)
    assert opened.attrs["title"] == "a title"
    assert np.array_equal(opened["class_map"].attrs["flag_values"], [0, 1, 2])


def test_another_variable_can_be_taken(tmp_path):
    path = write(class_maps().rename(class_map="truth"), tmp_path / "maps.nc")
    assert "truth" not in open_class_map(path, variable="truth")
    with pytest.raises(InputError, match=r"has no variable class_map; it has truth, probability"):
        open_class_map(path)


def test_missing_values_are_unknown(tmp_path):
    maps = class_maps()
    values = maps["class_map"].values.astype(np.float32)
    values[1, 2, 3] = np.nan
    maps["class_map"] = (("time", "lat", "lon"), values)
    opened = open_class_map(write(maps, tmp_path / "maps.nc"))
    assert opened["class_map"].values[1, 2, 3] == -1
    assert (opened["class_map"].values >= 0).sum() == values.size - 1


@pytest.mark.parametrize("wrong", [3, -2, 0.5])
def test_a_value_that_is_no_class_is_named_with_its_time(tmp_path, wrong):
    maps = class_maps()
    values = maps["class_map"].values.astype(np.float32)
    values[1, 2, 3] = wrong
    maps["class_map"] = (("time", "lat", "lon"), values)
    opened = open_class_map(write(maps, tmp_path / "maps.nc"))
    assert opened["class_map"][0].shape == (5, 8)
    message = f"class_map, time 2000-01-01 03:00:00: must hold only -1, 0, 1, 2, got {wrong}"
    with pytest.raises(InputError, match=message):
        opened["class_map"].load()


def renamed_flags(maps):
    maps["class_map"].attrs["flag_meanings"] = "background atmospheric_river tropical_cyclone"
    return maps


def without_calendar(maps):
    return maps.assign_coords(time=np.arange(maps.sizes["time"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.isel(time=0), "must have dimensions"),
        (lambda m: m.drop_vars("lat"), "must have a coordinate lat"),
        (lambda m: m.isel(lat=slice(None, None, -1)), "variable lat: must ascend"),
        (lambda m: m.isel(time=[1, 0, 2]), "times must ascend"),
        (lambda m: m.isel(time=slice(0, 0)), "must have at least one time, got none"),
        (without_calendar, "variable time: must have CF units"),
        (renamed_flags, "variable class_map: must have the flags"),
        (
            lambda m: m.assign(class_map=m["class_map"].astype(str)),
            "variable class_map: must hold numbers",
        ),
    ],
)
def test_each_mistake_has_one_line(tmp_path, change, message):
    path = write(change(class_maps()), tmp_path / "maps.nc")
    with pytest.raises(InputError, match=message) as caught:
        open_class_map(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_file_and_no_data(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_class_map(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no data")
    with pytest.raises(InputError, match="is no data file"):
        open_class_map(tmp_path / "text.nc")


def test_a_damaged_block_is_told_in_one_line(tmp_path):
    path = tmp_path / "maps.nc"
    maps = class_maps(40)
    maps.to_netcdf(path, encoding={"class_map": {"zlib": True, "chunksizes": (1, 5, 8)}})
    opened = open_class_map(path)
    data = bytearray(path.read_bytes())
    # Spoil the compressed chunks (each begins with zlib's two bytes) but not the header.
    for start in range(len(data) - 1):
        if data[start : start + 2] == b"\x78\x5e":
            data[start + 2 : start + 8] = b"\xff" * 6
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"variable class_map: can't be read"):
        opened["class_map"].load()


def test_scales_to_more_times_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("exastorm.readers.class_maps.BLOCK_BYTES", 80)
    written = class_maps(7)
    opened = open_class_map(write(written, tmp_path / "maps.nc"))
    assert opened["class_map"].chunks[0] == (2, 2, 2, 1)
    assert np.array_equal(opened["class_map"].values, written["class_map"].values)
    assert isinstance(opened, xr.Dataset)


def test_given_masks_of_an_archive(tmp_path):
    dataset = mock_dataset({v.name: (v.low + v.high) / 2 for v in CHANNELS}, 768, 1152, 1)
    masks = np.zeros((1, 768, 1152), np.int8)
    masks[0, 400:410, 100:120] = 1
    masks[0, 500:510, 300:340] = 2
    dataset["labels_0"] = (("time", "lat", "lon"), masks, CLASS_ATTRS)
    dataset["labels_1"] = (("time", "lat", "lon"), 0 * masks, CLASS_ATTRS)
    (path, *_) = write_archive(dataset, tmp_path / "archive", "deepcam")
    opened = open_class_map(path, variable="labels_0")
    assert np.array_equal(opened["class_map"].values, masks)
    assert not open_class_map(path, variable="labels_1")["class_map"].values.any()
    with pytest.raises(InputError, match="has no variable labels_7"):
        open_class_map(path, variable="labels_7")


def test_coordinates_stay_where_the_class_map_is_alone(tmp_path):
    alone = class_maps().drop_vars("probability")
    opened = open_class_map(write(alone, tmp_path / "maps.nc"))
    assert set(opened.coords) == {"time", "lat", "lon"}
    assert np.array_equal(opened["lon"].values, alone["lon"].values)


def test_files_become_label_sets_named_as_they_are(tmp_path):
    paths = [write(class_maps(seed=n), tmp_path / f"{name}.nc") for n, name in enumerate("ab")]
    together, names = open_label_sets(paths)
    assert names == ("a", "b")
    for path, name in zip(paths, names, strict=True):
        assert np.array_equal(together[name], open_class_map(path)["class_map"])
        assert together[name].dtype == np.int8
        assert together[name].chunks is not None
    assert set(together.coords) == {"time", "lat", "lon"}
    assert together.attrs["source"] == f"{paths[0]}, {paths[1]}"
    (tmp_path / "c").mkdir()
    same = [paths[0], write(class_maps(), tmp_path / "c" / "a.nc")]
    assert open_label_sets(same)[1] == tuple(map(str, same))


def test_variables_become_label_sets(tmp_path):
    maps = class_maps()
    maps["other"] = 2 - maps["class_map"]
    first = write(maps, tmp_path / "a.nc")
    both = ("class_map", "other")
    together, names = open_label_sets([first], both)
    assert names == both
    assert np.array_equal(together["other"], 2 - together["class_map"])
    second = write(maps, tmp_path / "b.nc")
    _, names = open_label_sets([first, second], both)
    assert names == ("a.class_map", "a.other", "b.class_map", "b.other")


def test_one_map_keeps_what_lies_beside_it(tmp_path):
    maps = class_maps().rename(class_map="truth")
    maps["river_share"] = maps["truth"] * 0.5
    opened, names = open_label_sets([write(maps, tmp_path / "a.nc")], ("truth",))
    assert names == ("truth",)
    assert opened["truth"].dtype == np.int8
    assert "river_share" in opened


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.isel(time=slice(1, None)), r"b\.nc, variable time: must be that of .*a\.nc"),
        (lambda m: m.isel(lat=slice(1, None)), r"b\.nc, variable lat: must be that of .*got 4 fr"),
        (lambda m: m.assign_coords(lon=m["lon"] + 1), r"b\.nc, variable lon: must be that of"),
        (lambda m: m.rename(class_map="x"), "has no variable class_map"),
    ],
)
def test_label_sets_are_of_the_same_snapshots(tmp_path, change, message):
    first = write(class_maps(), tmp_path / "a.nc")
    other = write(change(class_maps()), tmp_path / "b.nc")
    with pytest.raises(InputError, match=message) as caught:
        open_label_sets([first, other])
    assert "\n" not in str(caught.value)


def test_a_label_set_is_given_once(tmp_path):
    path = write(class_maps(), tmp_path / "a.nc")
    for given in ([path, path], []):
        with pytest.raises(InputError, match="label sets must be given once each"):
            open_label_sets(given)


def test_label_sets_of_an_annotated_archive(tmp_path):
    dataset = mock_dataset({v.name: (v.low + v.high) / 2 for v in CHANNELS}, 32, 48, 2)
    masks = np.random.default_rng(0).integers(0, 3, size=(2, 32, 48)).astype(np.int8)
    dataset["labels_0"] = (("time", "lat", "lon"), masks, CLASS_ATTRS)
    dataset["labels_1"] = (("time", "lat", "lon"), 2 - masks, CLASS_ATTRS)
    write_archive(dataset, tmp_path / "archive", "deepcam")
    for given in (tmp_path / "archive", tmp_path / "archive" / "*.h5"):
        together, names = open_label_sets([given], ("labels_0", "labels_1"))
        assert names == ("labels_0", "labels_1")
        assert np.array_equal(together["labels_0"], masks)
        assert np.array_equal(together["labels_1"], 2 - masks)
    with pytest.raises(InputError, match="does not exist"):
        open_label_sets([tmp_path / "none"], ("labels_0",))
