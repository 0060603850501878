import numpy as np
import pytest

import exastorm
from exastorm.errors import InputError
from exastorm.readers.archives import write_archive
from exastorm.readers.schema import field_names, mock_dataset
from exastorm.variables import CHANNELS, VARIABLES

XYT = ("time", "lat", "lon")


def plausible_dataset(num_times=10, **options):
    rng = np.random.default_rng(1)
    shape = (num_times, 5, 8)
    fields = {
        v.name: v.low + (v.high - v.low) * (0.4 + 0.2 * rng.random(shape))
        for v in VARIABLES.values()
        if v.name in {*(c.name for c in CHANNELS), "IVTX", "IVTY", "U10", "V10", "T400", "PHIS"}
    }
    return mock_dataset(fields, 5, 8, num_times, **options)


def test_many_h2_files_are_one_archive_with_the_same_fields(tmp_path):
    dataset = plausible_dataset(num_times=20)
    paths = write_archive(dataset, tmp_path / "run", "cam")
    # 20 three-hourly steps are days of 8, 8 and 4.
    assert [p.name[-19:] for p in paths] == [
        "2000-01-01-00000.nc",
        "2000-01-02-00000.nc",
        "2000-01-03-00000.nc",
    ]
    back = exastorm.open(str(tmp_path / "run" / "*.nc"))
    assert back.attrs["source_format"] == "cam"
    assert list(back["time"].values) == list(dataset["time"].values)
    assert back["time"].values[0].calendar == "noleap"
    for name in field_names(dataset):
        np.testing.assert_array_equal(back[name].values, dataset[name].values, err_msg=name)


def test_one_file_holds_all_steps_where_a_file_is_asked_for(tmp_path):
    dataset = plausible_dataset()
    assert write_archive(dataset, tmp_path / "all.nc", "cam") == [tmp_path / "all.nc"]
    back = exastorm.open(tmp_path / "all.nc")
    np.testing.assert_array_equal(back["PRECT"].values, dataset["PRECT"].values)


def test_transport_has_cams_names(tmp_path, foreign):
    units = {"units": "kg/m/s"}
    dataset = foreign(
        {"TUQ": (XYT, 100.0, units), "TVQ": (XYT, -30.0, units)}, attrs={"source": "CAM"}
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert float(back["IVTX"].mean()) == 100.0
    assert float(back["IVTY"].mean()) == -30.0
    assert back["IVTX"].attrs["source_name"] == "TUQ"


def test_u10_of_cam_is_a_speed_and_no_zonal_wind(tmp_path, foreign):
    dataset = foreign(
        {"U10": (XYT, 6.0, {"units": "m/s"}), "TMQ": (XYT, 20.0, {"units": "kg/m2"})},
        attrs={"source": "CAM"},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert field_names(back) == ["TMQ"]
    assert "U10: is taken only beside V10" in back.attrs["left_out"]


def test_rain_is_the_sum_of_its_parts_where_the_total_is_missing(tmp_path, foreign):
    parts = {
        "PRECC": (XYT, 2e-8, {"units": "m/s"}),
        "PRECL": (XYT, 1e-8, {"units": "m/s", "cell_methods": "time: mean"}),
    }
    foreign(parts, attrs={"source": "CAM"}).to_netcdf(tmp_path / "a.nc")
    rain = exastorm.open(tmp_path / "a.nc")["PRECT"]
    assert float(rain.mean()) == pytest.approx(3e-8, rel=1e-6)
    assert rain.attrs["source_name"] == "PRECC, PRECL"


def test_an_archive_is_read_block_by_block_and_file_by_file(tmp_path, monkeypatch):
    write_archive(plausible_dataset(num_times=16), tmp_path / "run", "cam")
    back = exastorm.open(tmp_path / "run")
    from exastorm.readers.series import Part

    read = []
    plain = Part.read

    def spy(self, steps, name):
        read.append((self.file[-19:], name))
        return plain(self, steps, name)

    monkeypatch.setattr(Part, "read", spy)
    back["TMQ"].isel(time=9).compute()
    assert read == [("2000-01-02-00000.nc", "TMQ")]


def test_a_quarter_degree_step_is_read_alone(tmp_path, foreign):
    # 4 steps of 768 x 1152 stored contiguously: 3.5 MB each, so each is a block.
    lat, lon = np.linspace(-90, 90, 768), np.arange(1152) * 0.3125
    dataset = foreign({"TMQ": (XYT, 20.0, {"units": "kg/m2"})}, lat=lat, lon=lon, num_times=4)
    dataset.to_netcdf(tmp_path / "a.nc", encoding={"TMQ": {"contiguous": True}})
    assert exastorm.open(tmp_path / "a.nc")["TMQ"].chunks[0] == (1, 1, 1, 1)


def test_a_dataset_without_a_field_is_not_written(tmp_path):
    empty = plausible_dataset().drop_vars([*VARIABLES], errors="ignore")
    with pytest.raises(InputError, match="CAM has no name for any field"):
        write_archive(empty, tmp_path / "a", "cam")
