import builtins

import numpy as np
import pytest

import exastorm
from exastorm.errors import InputError
from exastorm.readers.formats import grib
from exastorm.readers.formats.grib_messages import GribArray, _gathered_hours
from exastorm.readers.schema import field_names, mock_dataset


class Messages:
    """Stands for cfgrib's array (base time, step, lat, lon)."""

    shape = (2, 3, 2, 2)
    dtype = np.dtype("f4")

    def __getitem__(self, item):
        values = np.arange(24, dtype=np.float32).reshape(self.shape)
        return values[item]


def test_base_times_and_steps_are_flattened_to_valid_times():
    array = GribArray(Messages(), np.array([[0, 2], [1, 0]]), (0, 1))
    assert array.shape == (2, 2, 2)
    values = np.arange(24).reshape(2, 3, 2, 2)
    expected = np.stack([values[0, 2], values[1, 0]])
    np.testing.assert_array_equal(array._read((slice(None), slice(None), slice(None))), expected)
    np.testing.assert_array_equal(array._read((1, slice(None), slice(None))), expected[1])
    assert array._read((slice(0, 0), slice(None), slice(None))).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("attrs", "hours"),
    [
        # ERA5 counts steps from 06 and 18 UTC, and gathers over the past hour all the same.
        ({"GRIB_class": "ea", "GRIB_startStep": 0, "GRIB_endStep": 7}, 1.0),
        ({"GRIB_startStep": 66, "GRIB_endStep": 72}, 6.0),
        ({}, None),
    ],
)
def test_the_time_over_which_rain_was_gathered_is_said_by_the_file(attrs, hours):
    assert _gathered_hours(attrs) == hours


def test_without_cfgrib_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.grib").write_bytes(b"GRIB" + bytes(20))
    plain = builtins.__import__

    def no_cfgrib(name, *args, **kwargs):
        if name.startswith("cfgrib"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cfgrib)
    with pytest.raises(InputError, match=r"a\.grib: reading GRIB needs .*exastorm\[grib\]"):
        exastorm.open(tmp_path / "a.grib")


def test_a_cut_grib_file_is_refused(tmp_path):
    pytest.importorskip("cfgrib")
    (tmp_path / "a.grib").write_bytes(b"GRIB" + bytes(20))
    with pytest.raises(InputError, match=r"a\.grib: "):
        exastorm.open(tmp_path / "a.grib")


def test_grib_is_told_by_its_first_bytes_and_not_written(tmp_path):
    (tmp_path / "a").write_bytes(b"GRIB" + bytes(20))
    assert grib.recognize(str(tmp_path / "a"))
    assert not grib.recognize(str(tmp_path))
    with pytest.raises(InputError, match="GRIB is not written"):
        grib.write(mock_dataset({"TMQ": 20.0}, 2, 2, 1), tmp_path / "b.grib")


@pytest.mark.real_data
def test_a_mixed_file_gives_the_same_fields_as_its_netcdf_extract(real_file):
    pytest.importorskip("cfgrib")
    mixed = exastorm.open(real_file("gfs/gfs.grb"))
    extract = exastorm.open(real_file("gfs/gfs2p5_2011101100_deepcam_channels.nc"))
    shared = [n for n in field_names(extract) if n in mixed]
    assert len(shared) == 17  # all 20 but the three transports
    for name in shared:
        np.testing.assert_allclose(
            mixed[name].values, extract[name].values, rtol=2e-6, atol=1e-12, err_msg=name
        )
    assert list(mixed["time"].values) == list(extract["time"].values)
    assert mixed["TMQ"].attrs["source_name"] == "pwat (atmosphereSingleLayer)"


@pytest.mark.real_data
def test_members_of_a_real_ensemble(real_file):
    pytest.importorskip("cfgrib")
    path = real_file("era5/era5-levels-members.grib")
    first, last = (exastorm.open(path, member=m) for m in (None, 9))
    assert first.sizes == {"time": 4, "lat": 61, "lon": 120}
    assert "member 0 of 10" in first["T500"].attrs["note"]
    difference = float(abs(first["T500"] - last["T500"]).mean())
    assert 0.0 < difference < 1.0


@pytest.mark.real_data
def test_a_gaussian_grid_has_uneven_latitudes(real_file):
    pytest.importorskip("cfgrib")
    dataset = exastorm.open(real_file("other/flxf2006040100.grb"))
    assert dataset.sizes == {"time": 1, "lat": 94, "lon": 192}
    assert float(dataset["lat"][0]) == pytest.approx(-88.542, abs=1e-3)
    assert {"TMQ", "PRECT", "PS", "QREFHT"} <= set(field_names(dataset))
