import fsspec
import numpy as np
import pytest
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.readers.archives import choose_format, expand_paths, read_options, write_archive
from exastorm.readers.formats import FORMATS, load_format
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import field_names, mock_dataset

XYT = ("time", "lat", "lon")


def small(num_times=4, **fields):
    return mock_dataset(fields or {"TMQ": 20.0, "PSL": 101000.0}, 5, 8, num_times)


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/archive", recursive=True)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_verbs(name):
    module = load_format(name)
    assert name == module.NAME
    assert all(callable(getattr(module, verb)) for verb in ("recognize", "read", "write"))


def test_a_path_a_glob_a_list_and_a_directory_are_the_same_archive(tmp_path):
    paths = write_archive(small(16), tmp_path / "run", "cam")
    ways = [
        [str(p) for p in paths],
        str(tmp_path / "run" / "*.nc"),
        tmp_path / "run",
        [paths[1], paths[0]],
    ]
    opened = [exastorm.open(way) for way in ways]
    for dataset in opened:
        assert dataset.sizes["time"] == 16
        np.testing.assert_array_equal(dataset["time"].values, opened[0]["time"].values)


def test_nothing_is_read_but_the_first_step(tmp_path, monkeypatch):
    write_archive(small(16), tmp_path / "run", "cam")
    from exastorm.readers.series import Part

    steps = []
    plain = Part.read
    monkeypatch.setattr(Part, "read", lambda self, s, name: steps.append(s) or plain(self, s, name))
    exastorm.open(tmp_path / "run")
    # One block of a field, for the check at the door: of this small grid 8 steps.
    assert steps == [slice(0, 8)] * 2


def test_what_fsspec_opens_is_read(tmp_path, memory):
    dataset = small(4)
    (path,) = write_archive(dataset, tmp_path / "a.nc", "cf")
    memory.pipe("/archive/a.nc", path.read_bytes())
    for way in ("memory://archive/a.nc", "memory://archive/*.nc", "memory://archive"):
        back = exastorm.open(way)
        np.testing.assert_array_equal(back["TMQ"].values, dataset["TMQ"].values)


def test_a_store_and_a_classic_file_in_memory_are_read(memory):
    dataset = small(4).drop_encoding()
    dataset.to_zarr("memory://archive/a.zarr", zarr_format=3, consolidated=False)
    assert exastorm.open("memory://archive/a.zarr").sizes["time"] == 4
    memory.pipe("/archive/b.nc", dataset.to_netcdf(None, format="NETCDF3_CLASSIC", engine="scipy"))
    back = exastorm.open("memory://archive/b.nc")
    np.testing.assert_array_equal(back["PSL"].values, dataset["PSL"].values)


def test_a_missing_remote_path_is_refused():
    with pytest.raises(InputError, match=r"memory://nowhere/a\.nc: does not exist"):
        exastorm.open("memory://nowhere/a.nc")
    with pytest.raises(InputError, match="can't be opened: Protocol not known: gopher"):
        exastorm.open("gopher://nowhere/a.nc")


def test_fields_keeps_only_those_asked_for(tmp_path):
    write_archive(small(), tmp_path / "a.nc", "cf")
    assert field_names(exastorm.open(tmp_path / "a.nc", fields=["PSL"])) == ["PSL"]
    with pytest.raises(InputError, match="needs U850; got only TMQ, PSL"):
        exastorm.open(tmp_path / "a.nc", fields=["U850"])


def test_a_format_may_be_named(tmp_path):
    write_archive(small(), tmp_path / "a.nc", "cam")
    assert exastorm.open(tmp_path / "a.nc").attrs["source_format"] == "cam"
    assert exastorm.open(tmp_path / "a.nc", format="cf").attrs["source_format"] == "cf"


def test_grid_regrids(tmp_path):
    write_archive(small(), tmp_path / "a.nc", "cf")
    back = exastorm.open(tmp_path / "a.nc", grid=(9, 16))
    assert dict(back.sizes) == {"time": 4, "lat": 9, "lon": 16}
    assert float(back["TMQ"].mean()) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skipbad": True}, "did you mean 'skip_bad'"),
        ({"colour": 1}, "'colour' must be an option.*must be one of format, fields"),
        ({"format": "camm"}, "did you mean 'cam'"),
        ({"fields": ["TMQQ"]}, "fields must be names .* got 'TMQQ'"),
        ({"stand_ins": ["TMQ=250"]}, "stand_ins must look like T200=250"),
        ({"stand_ins": "T200"}, "stand_ins must look like T200=250.* got 'T200'"),
        ({"units": ["tp"]}, "units must look like tp=m, got 'tp'"),
        ({"grid": (1, 8)}, "grid must be at least 2 x 2"),
        ({"grid": 5}, "an option is wrong"),
        ({"member": -1}, "member must be 0 or more"),
    ],
)
def test_wrong_options_are_refused_with_a_hint(options, message):
    with pytest.raises(InputError, match=message):
        read_options(**options)


def test_options_take_lists_and_single_words():
    assert read_options(fields="TMQ") == ReadOptions(fields=("TMQ",))
    assert read_options(fields=["TMQ"], grid=[4, 8]) == ReadOptions(fields=("TMQ",), grid=(4, 8))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.nc", "does not exist"),
        ("nothing*.nc", "matches no file"),
        ("empty", "without data"),
    ],
)
def test_paths_that_name_nothing_are_refused(tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        expand_paths(tmp_path / path)


def test_no_path_at_all_is_refused():
    with pytest.raises(InputError, match="at least one path"):
        exastorm.open([])


def test_formats_are_not_mixed(tmp_path):
    (cam,) = write_archive(small(), tmp_path / "cam.nc", "cam")
    (era5,) = write_archive(small(), tmp_path / "era5.nc", "era5")
    with pytest.raises(InputError, match=r"one format: .*cam\.nc is cam, .*era5\.nc is era5"):
        exastorm.open([cam, era5])


def test_of_a_large_archive_a_sample_is_recognized(tmp_path, monkeypatch):
    from exastorm.readers import archives

    monkeypatch.setattr(archives, "MAX_LOOKS", 3)
    looked = []
    monkeypatch.setattr(archives, "recognize", lambda p: looked.append(p) or "cam")
    paths = [f"{i}.nc" for i in range(100)]
    assert choose_format(paths, ReadOptions()) == ("cam", paths, [])
    assert looked == ["0.nc", "49.nc", "99.nc"]


def test_writing_needs_a_known_format(tmp_path):
    with pytest.raises(InputError, match="did you mean 'era5'"):
        write_archive(small(), tmp_path, "era")


def test_a_store_is_made_in_a_directory_where_the_format_says_so(tmp_path):
    assert write_archive(small(), tmp_path / "a", "era5-zarr") == [tmp_path / "a" / "era5.zarr"]
    assert exastorm.open(tmp_path / "a").attrs["source_format"] == "era5"


def test_writing_computes_shared_work_once(tmp_path):
    import dask.array as da

    calls = []

    def make(block_info=None):
        calls.append(1)
        return np.full((2, 5, 8), 20.0, np.float32)

    shared = da.map_blocks(
        make, chunks=((2, 2), (5,), (8,)), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
    )
    dataset = small()
    dataset["TMQ"] = (XYT, shared, dataset["TMQ"].attrs)
    dataset["TREFHT"] = (XYT, shared + 260, {"units": "K"})
    calls.clear()
    write_archive(dataset, tmp_path / "a", "cmip6")
    # Two blocks of time, three files.
    assert len(calls) == 2


def test_source_says_where_fields_come_from(tmp_path):
    write_archive(small(16), tmp_path / "run", "cam")
    attrs = exastorm.open(tmp_path / "run").attrs
    assert attrs["source"].endswith("2000-01-01-00000.nc and 1 more")
    assert attrs["source_format"] == "cam"


def test_a_dataset_goes_to_another_process_and_back(tmp_path):
    import pickle

    write_archive(small(), tmp_path / "a.nc", "cf")
    back = pickle.loads(pickle.dumps(exastorm.open(tmp_path / "a.nc")))
    assert isinstance(back, xr.Dataset)
    assert float(back["TMQ"].mean()) == 20.0
