"""Each kind of bad input gives one clear line with file, variable and time; skip_bad goes on."""

import h5py
import numpy as np
import pytest
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.readers.inspect import inspect_archive
from exastorm.readers.sources import bad_line

XYT = ("time", "lat", "lon")
KG = {"units": "kg m-2"}


def save(dataset, path, **options):
    dataset.to_netcdf(path, **options)
    return path


@pytest.fixture
def good(tmp_path, foreign):
    return save(foreign({"TMQ": (XYT, 20.0, KG)}), tmp_path / "a.nc")


@pytest.fixture
def later(foreign):
    """Makes a file of the day after the good one's."""

    def make(path, **changes):
        fields = changes.pop("fields", {"TMQ": (XYT, 25.0, KG)})
        return save(foreign(fields, **{"start": "2000-01-02", **changes}), path)

    return make


def check_refused(paths, *words, opener=exastorm.open, **options):
    with pytest.raises(InputError) as raised:
        opener(paths, **options)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return raised.value


def check_skipped(good, bad):
    """With skip_bad the good file is read and the bad one listed."""
    dataset = exastorm.open([good, bad], skip_bad=True)
    assert dataset.sizes["time"] == 2
    assert float(dataset["TMQ"].mean()) == 20.0
    (line,) = dataset.attrs["bad_files"].split("\n")
    assert str(bad) in line
    return line


def test_a_path_that_does_not_exist(tmp_path):
    error = check_refused(tmp_path / "x.nc", "x.nc: does not exist")
    assert error.file == str(tmp_path / "x.nc")


def test_a_unit_of_another_quantity(good, later, tmp_path):
    bad = later(tmp_path / "b.nc", fields={"TMQ": (XYT, 25.0, {"units": "K"})})
    check_refused([good, bad], "b.nc", "variable TMQ", "must convert to kg m-2", "'K'")
    assert "must convert to kg m-2" in check_skipped(good, bad)


def test_a_unit_that_the_values_belie(later, tmp_path, good, foreign):
    # Hectopascals that say they are pascals.
    bad = later(tmp_path / "b.nc", fields={"PSL": (XYT, 1013.0, {"units": "Pa"})})
    error = check_refused(bad, "b.nc", "variable PSL", "2000-01-02", "'Pa' can't be right", "1013")
    assert str(error.time) == "2000-01-02 00:00:00"
    assert "option units (PSL=...)" in str(error)
    assert "can't be right" in check_skipped(good, bad)


def test_one_extreme_value_is_no_wrong_unit(tmp_path, foreign):
    lat, lon = np.linspace(-80, 80, 20), np.arange(36) * 10.0
    values = np.full((2, 20, 36), 20.0)
    values[0, 10, 10] = 500.0  # one of 720
    path = save(foreign({"TMQ": (XYT, values, KG)}, lat=lat, lon=lon), tmp_path / "a.nc")
    assert float(exastorm.open(path)["TMQ"].max()) == 500.0
    (report,) = inspect_archive(path).fields
    assert report.outside_share == pytest.approx(1 / 1440)


def test_a_wholly_blank_field(good, later, tmp_path):
    bad = later(tmp_path / "b.nc", fields={"TMQ": (XYT, np.nan, KG)})
    check_refused(bad, "b.nc", "variable TMQ", "time 2000-01-02 00:00:00", "no number at all")
    assert "no number at all" in check_skipped(good, bad)


def test_a_later_blank_step_is_found_by_inspecting(good, later, tmp_path):
    values = np.array([20.0, np.nan])[:, None, None]
    bad = later(tmp_path / "b.nc", fields={"TMQ": (XYT, values, KG)})
    words = ("b.nc", "variable TMQ", "time 2000-01-02 06:00:00", "no number at all")
    check_refused([good, bad], *words, opener=inspect_archive)


def test_a_truncated_file(good, later, tmp_path):
    bad = later(tmp_path / "b.nc")
    bad.write_bytes(bad.read_bytes()[:-2000])
    check_refused([good, bad], "b.nc", "can't be read (truncated or corrupt?)")
    assert "truncated" in check_skipped(good, bad)


def test_a_truncated_classic_file_whose_library_would_give_zeros(good, foreign, tmp_path):
    dataset = foreign({"TMQ": (XYT, 25.0, KG)}, start="2000-01-02", num_times=100)
    bad = save(dataset, tmp_path / "b.nc", format="NETCDF3_64BIT")
    assert exastorm.open(bad).sizes["time"] == 100
    bad.write_bytes(bad.read_bytes()[:-1000])
    check_refused(bad, "b.nc: is truncated: has")
    assert "truncated" in check_skipped(good, bad)


def test_a_corrupt_block_is_named_when_it_is_read(good, foreign, tmp_path):
    rng = np.random.default_rng(0)
    lat, lon = np.linspace(-80, 80, 40), np.arange(72) * 5.0
    values = 20 + rng.random((20, 40, 72))
    dataset = foreign({"TMQ": (XYT, values, KG)}, lat=lat, lon=lon, num_times=20)
    how = {"zlib": True, "chunksizes": (1, 40, 72)}
    path = save(dataset, tmp_path / "b.nc", encoding={"TMQ": how})
    with h5py.File(path) as file:
        block = file["TMQ"].id.get_chunk_info(13)
    content = bytearray(path.read_bytes())
    content[block.byte_offset + 20 : block.byte_offset + 60] = bytes(40)
    path.write_bytes(content)
    opened = exastorm.open(path)  # the first block of 8 steps is sound
    words = ("b.nc", "variable TMQ", "time 2000-01-04 06:00:00", "can't be read")
    check_refused(opened, *words, opener=lambda d: d["TMQ"].values)
    check_refused(path, *words, opener=inspect_archive)


def test_a_file_that_is_no_data(good, tmp_path):
    bad = tmp_path / "b.nc"
    bad.write_text("time,lat,lon,TMQ\n")
    check_refused([good, bad], "b.nc", "is no data file")
    assert "is no data file" in check_skipped(good, bad)


def test_an_empty_file(good, tmp_path):
    bad = tmp_path / "b.nc"
    bad.touch()
    check_refused(bad, "b.nc: is empty")
    assert "is empty" in check_skipped(good, bad)


def test_a_directory_that_is_no_store(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    check_refused(tmp_path / "a.zarr", "is a directory without data files")


def test_two_grids(good, later, tmp_path):
    bad = later(tmp_path / "b.nc", lat=(-45.0, 45.0))
    check_refused([good, bad], "b.nc", "one grid", "2 x 4", "a.nc has 3 x 4")
    assert "one grid" in check_skipped(good, bad)


def test_unsorted_times_in_a_file(good, foreign, tmp_path):
    dataset = foreign({"TMQ": (XYT, 25.0, KG)}, start="2000-01-02").isel(time=[1, 0])
    bad = save(dataset, tmp_path / "b.nc")
    check_refused(bad, "b.nc", "variable time", "time 2000-01-02 00:00:00", "ascend")
    assert "ascend" in check_skipped(good, bad)


def test_repeated_times_in_a_file(good, foreign, tmp_path):
    dataset = foreign({"TMQ": (XYT, 25.0, KG)}, start="2000-01-02").isel(time=[0, 0])
    bad = save(dataset, tmp_path / "b.nc")
    check_refused(bad, "b.nc", "variable time", "is repeated")
    assert "is repeated" in check_skipped(good, bad)


def test_times_that_two_files_hold(good, later, tmp_path):
    bad = later(tmp_path / "b.nc", start="2000-01-01 06:00")
    check_refused([good, bad], "b.nc", "time 2000-01-01 06:00:00", "again", "a.nc holds")
    assert "again" in check_skipped(good, bad)


def test_times_that_two_files_of_different_content_hold(good, later, tmp_path):
    fields = {"TMQ": (XYT, 25.0, KG), "PSL": (XYT, 1e5, {"units": "Pa"})}
    bad = later(tmp_path / "b.nc", start="2000-01-01 06:00", fields=fields)
    check_refused([good, bad], "b.nc", "variable TMQ", "2000-01-01 06:00:00", "again")


def test_times_that_are_bare_numbers(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 25.0, KG)}).assign_coords(time=[0.0, 6.0])
    path = save(dataset, tmp_path / "a.nc")
    check_refused(path, "a.nc", "variable time", "must have CF units such as")


def test_times_that_no_calendar_has(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 25.0, KG)}).assign_coords(time=[0.0, 6.0])
    dataset["time"].attrs["units"] = "fortnights since yesterday"
    path = save(dataset, tmp_path / "a.nc")
    words = ("a.nc", "variable time: must have CF units", "got units 'fortnights since yesterday'")
    error = check_refused(path, *words)
    assert "open" not in error.problem
    assert "calendar 'standard'" in error.problem


def test_a_file_without_times(tmp_path, foreign):
    path = save(foreign({"TMQ": (XYT[1:], 25.0, KG)}, num_times=0), tmp_path / "a.nc")
    check_refused(path, "a.nc", "no field with a time")


def test_a_file_with_no_step(tmp_path, foreign):
    path = save(foreign({"TMQ": (XYT, 25.0, KG)}).isel(time=slice(0, 0)), tmp_path / "a.nc")
    check_refused(path, "a.nc", "variable time", "holds no time")


def test_a_grid_that_is_not_of_latitudes_and_longitudes(tmp_path):
    coords = {
        n: (("y", "x"), np.zeros((3, 4)), {"units": u})
        for n, u in (("lat", "degrees_north"), ("lon", "degrees_east"))
    }
    dataset = xr.Dataset({"TMQ": (("y", "x"), np.ones((3, 4)), KG)}, coords)
    path = save(dataset, tmp_path / "a.nc")
    check_refused(path, "a.nc", "no latitude-longitude grid is found")
    check_refused(path, "runs along itself", format="cf")


def test_fields_without_time_are_said_to_have_none(tmp_path, foreign):
    path = save(foreign({"TMQ": (XYT[1:], 25.0, KG)}, num_times=0), tmp_path / "a.nc")
    check_refused(path, "TMQ has no time")


@pytest.mark.parametrize("format_name", ["cf", "cam", "cmip6", "era5"])
@pytest.mark.parametrize(("kind", "got"), [("strings", "strings"), ("bool", "true and false")])
def test_a_field_that_is_no_number(good, tmp_path, foreign, format_name, kind, got):
    name = {"cmip6": "prw", "era5": "tcwv"}.get(format_name, "TMQ")
    dataset = foreign({name: (XYT, 1.0, KG)}, start="2000-01-02")
    values = dataset[name].values
    data = values > 0 if kind == "bool" else np.full(values.shape, "20.5", dtype=object)
    dataset[name] = (XYT, data, KG)
    bad = save(dataset, tmp_path / "b.nc")
    check_refused(bad, "b.nc", f"variable {name}: must hold numbers, got {got}", format=format_name)
    if name == "TMQ":
        # Another file: the netCDF library may fail to open one with strings a second time.
        again = save(dataset, tmp_path / "c.nc")
        assert "must hold numbers" in check_skipped(good, again)


@pytest.mark.parametrize(("zarr_format", "marker"), [(2, ".zarray"), (3, "zarr.json")])
@pytest.mark.parametrize("lost", ["TMQ", "lat"])
def test_a_store_that_lost_the_metadata_of_an_array(tmp_path, foreign, zarr_format, marker, lost):
    dataset = foreign({"TMQ": (XYT, 25.0, KG), "PSL": (XYT, 1e5, {"units": "Pa"})})
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=False)
    (tmp_path / "a.zarr" / "plots").mkdir()  # what is no array does no harm
    (tmp_path / "a.zarr" / "plots" / "tmq.png").touch()
    assert exastorm.open(tmp_path / "a.zarr").sizes["time"] == 2
    (tmp_path / "a.zarr" / lost / marker).unlink()
    # Warnings are errors here, so that this one line is all there is.
    check_refused(tmp_path / "a.zarr", f"a.zarr, variable {lost}: must have metadata")


def test_a_line_on_a_bad_file_keeps_to_the_essential(tmp_path, foreign):
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    good = save(foreign({"PSL": (XYT, 1e5, {"units": "Pa"})}), folder / "a.nc")
    wrong = foreign({"PSL": (XYT, 1013.0, {"units": "Pa"})}, start="2000-01-02")
    bad = save(wrong, folder / "b.nc")
    other = foreign({"PSL": (XYT, 1e5, {"units": "Pa"})}, lat=(-45.0, 45.0), start="2000-01-03")
    moved = save(other, folder / "c.nc")
    lines = exastorm.open([good, bad, moved], skip_bad=True).attrs["bad_files"].split("\n")
    unit = next(line for line in lines if "b.nc" in line)
    assert f"{bad}, variable PSL, time 2000-01-02 00:00:00: units 'Pa' can't be right" in unit
    assert "1013 to 1013 must lie within 84000 to 112000, 100% don't" in unit
    assert "option" not in unit
    (grid,) = (line for line in lines if "c.nc" in line)
    assert "this one has 2 x 4 points" in grid
    assert all(len(line) <= max(300, len(str(bad)) + 150) for line in lines)


def test_however_long_the_cause_is_a_line_has_an_end():
    line = bad_line(InputError("word " * 200, file="/data/x.nc", variable="TMQ", time="2000-01-01"))
    assert len(line) <= 300
    assert line.startswith("/data/x.nc, variable TMQ, time 2000-01-01: word word")
    assert line.endswith(" ...")


def test_nothing_known_lists_what_is_there(tmp_path, foreign):
    path = save(foreign({"CLDTOT": (XYT, 0.5, {"units": "1"})}), tmp_path / "a.nc")
    check_refused(path, "a.nc", "holds no field", "it has CLDTOT")


def test_an_archive_of_bad_files_only(tmp_path):
    bad = tmp_path / "b.nc"
    bad.touch()
    check_refused(bad, "no file can be read", "is empty", skip_bad=True)


def test_a_dimension_too_many_is_left_out_with_the_reason(tmp_path, foreign):
    bins = {"bin": ("bin", np.arange(3.0), {"units": "1"})}
    fields = {"TMQ": (XYT, 20.0, KG), "PSL": (("time", "bin", "lat", "lon"), 1e5, {"units": "Pa"})}
    path = save(foreign(fields, coords=bins), tmp_path / "a.nc")
    attrs = exastorm.open(path).attrs
    assert attrs["left_out"] == "PSL: has a dimension bin of 3 beside time, lat, lon"
