import numpy as np
import pytest

import exastorm
from exastorm.errors import InputError
from exastorm.readers.archives import write_archive
from exastorm.readers.schema import field_names, mock_dataset

XYT = ("time", "lat", "lon")
ZXYT = ("time", "p", "lat", "lon")


def named(standard_name, units):
    return {"standard_name": standard_name, "units": units}


def test_standard_names_and_units_say_what_a_file_holds(tmp_path, foreign):
    levels = {"p": ("p", np.array([850.0, 500.0]), {"units": "hPa"})}
    dataset = foreign(
        {
            "w": (XYT, 25.0, named("atmosphere_mass_content_of_water_vapor", "mm")),
            "a": (ZXYT, np.array([10.0, 20.0])[:, None, None], named("eastward_wind", "knots")),
            "b": (ZXYT, 5500 * 9.80665, named("geopotential", "m2 s-2")),
            "c": (XYT, 1013.25, named("air_pressure_at_sea_level", "hPa")),
            "d": (XYT, 8.64, named("lwe_precipitation_rate", "mm day-1")),
            "e": (XYT, 15.0, named("surface_temperature", "degC")),
        },
        coords=levels,
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert back.attrs["source_format"] == "cf"
    means = {name: float(back[name].mean()) for name in field_names(back)}
    expected = {
        "TMQ": 25.0,
        "U850": 10.0 * 1852 / 3600,
        "PSL": 101325.0,
        "PRECT": 1e-7,  # 8.64 mm a day of 86400 s
        "TS": 288.15,
        "Z500": 5500.0,
    }
    assert means == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("height", "found"), [(2.0, True), (1.5, True), (80.0, False)])
def test_height_tells_air_at_the_surface_from_other_air(tmp_path, foreign, height, found):
    dataset = foreign(
        {
            "x": (XYT, 285.0, named("air_temperature", "K")),
            "y": (XYT, 280.0, named("surface_temperature", "K")),
        }
    )
    dataset["x"].encoding["coordinates"] = "height"
    dataset = dataset.assign_coords(height=((), height, {"units": "m", "standard_name": "height"}))
    dataset.to_netcdf(tmp_path / "a.nc")
    names = field_names(exastorm.open(tmp_path / "a.nc"))
    assert names == (["TS", "TREFHT"] if found else ["TS"])


def test_hybrid_levels_are_no_pressures(tmp_path, foreign):
    attrs = {"units": "hPa", "standard_name": "atmosphere_hybrid_sigma_pressure_coordinate"}
    dataset = foreign(
        {
            "T": (("time", "lev", "lat", "lon"), 260.0, {"units": "K"}),
            "TMQ": (XYT, 25.0, {"units": "kg/m2"}),
        },
        coords={"lev": ("lev", np.array([500.0, 850.0]), attrs)},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    assert field_names(exastorm.open(tmp_path / "a.nc")) == ["TMQ"]


def test_a_variable_without_units_is_left_out_with_the_reason(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 25.0, {"units": "kg m-2"}), "PSL": (XYT, 1e5, {})})
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert field_names(back) == ["TMQ"]
    assert back.attrs["left_out"].startswith("PSL: has no units")


def test_units_that_the_user_states_win(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 25.0, {}), "PSL": (XYT, 1e7, {"units": "Pa"})})
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc", units=["TMQ=mm", "PSL=cPa"])
    assert float(back["TMQ"].mean()) == 25.0
    assert float(back["PSL"].mean()) == pytest.approx(1e5)
    assert back["PSL"].attrs["source_units"] == "cPa"


def test_units_of_a_variable_that_is_not_there_are_refused(tmp_path, foreign):
    foreign({"TMQ": (XYT, 25.0, {"units": "mm"})}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match=r"units are stated of 'tmq', which no file has.* TMQ"):
        exastorm.open(tmp_path / "a.nc", units=["tmq=mm"])


def test_our_10_m_wind_needs_both_components(tmp_path, foreign):
    wind = {"units": "m s-1"}
    dataset = foreign({"U10": (XYT, 3.0, wind), "V10": (XYT, 4.0, wind)})
    dataset.to_netcdf(tmp_path / "a.nc")
    assert field_names(exastorm.open(tmp_path / "a.nc")) == ["UBOT", "VBOT", "U10", "V10"]


def test_a_column_stored_at_0_and_360_counts_once(tmp_path, foreign):
    dataset = foreign(
        {"TMQ": (XYT, np.array([1.0, 2.0, 3.0, 1.0]), {"units": "kg m-2"})},
        lon=(0.0, 120.0, 240.0, 360.0),
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    np.testing.assert_array_equal(back["lon"].values, [0.0, 120.0, 240.0])
    np.testing.assert_array_equal(back["TMQ"].values[0, 0], [1.0, 2.0, 3.0])


def test_dimensions_in_another_order_are_turned(tmp_path, foreign):
    values = np.arange(24.0).reshape(4, 3, 2)
    dataset = foreign({"TMQ": (("lon", "lat", "time"), values, {"units": "kg m-2"})})
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    np.testing.assert_array_equal(back["TMQ"].values, values.transpose(2, 1, 0))


def test_a_single_time_may_be_a_scalar(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 25.0, {"units": "kg m-2"})}, num_times=1)
    dataset.isel(time=0).to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert back["TMQ"].dims == ("time", "lat", "lon")
    assert back.sizes["time"] == 1


@pytest.mark.parametrize("out", ["a.nc", "a.zarr"])
def test_what_is_written_reads_back_alike(tmp_path, out):
    dataset = mock_dataset({"TMQ": 20.0, "U850": 5.0, "PRECT": 3e-8}, 5, 8, 20)
    write_archive(dataset, tmp_path / out, "cf")
    back = exastorm.open(tmp_path / out)
    assert list(back["time"].values) == list(dataset["time"].values)
    for name in field_names(dataset):
        np.testing.assert_array_equal(back[name].values, dataset[name].values)


@pytest.mark.real_data
def test_a_real_forecast_under_cam_names(real_file):
    dataset = exastorm.open(real_file("gfs/gfs2p5_2011101100_deepcam_channels.nc"))
    assert len(field_names(dataset)) == 20
    # Hurricane Jova, 990 hPa at 17.5 N 105 W (README of the data).
    near = dataset["PSL"].sel(lat=slice(10, 25), lon=slice(245, 265)).isel(time=0).compute()
    place = near.isel({k: int(v) for k, v in near.argmin(("lat", "lon")).items()})
    assert (float(place["lat"]), float(place["lon"])) == (17.5, 255.0)
    assert float(place) == pytest.approx(99000, abs=100)
