import numpy as np
import pytest
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.readers.archives import write_archive
from exastorm.readers.derived import dew_point, specific_humidity, vapor_pressure_pa
from exastorm.readers.schema import field_names, mock_dataset
from exastorm.variables import VARIABLES

XYT = ("time", "latitude", "longitude")
XYZT = ("time", "level", "latitude", "longitude")
NAMES = ("time", "latitude", "longitude")
LAT = (60.0, 0.0, -60.0)
HPA = {"units": "millibars"}


def test_vapor_pressure_is_that_of_the_tables():
    # Saturation over water at 20 C: 2338.8 Pa, at 0 C 611.2 Pa (WMO-No. 8, annex 4.B).
    assert vapor_pressure_pa(293.15) == pytest.approx(2338.8, rel=3e-3)
    assert vapor_pressure_pa(273.15) == pytest.approx(611.2, rel=1e-3)


def test_specific_humidity_worked_by_hand():
    # e(20 C) = 611.2 exp(17.67 x 20 / 263.5) = 611.2 x 3.82380 = 2337.1 Pa;
    # q = 0.622 x 2337.1 / (100000 - 0.378 x 2337.1) = 1453.68 / 99116.6 = 0.014666.
    assert specific_humidity(293.15, 100000.0) == pytest.approx(0.014666, abs=2e-6)


def test_dew_point_is_the_inverse_and_stands_air_without_water():
    assert dew_point(specific_humidity(281.0, 9e4), 9e4) == pytest.approx(281.0, abs=1e-9)
    assert 150.0 < dew_point(0.0, 1e5) < 200.0


@pytest.mark.parametrize("out", ["a.nc", "a.zarr"])
def test_what_is_written_reads_back_to_the_same_fields(tmp_path, out):
    rng = np.random.default_rng(3)
    names = [n for n in VARIABLES if n not in ("UBOT", "VBOT", "ZBOT", "IVT")]
    names = [n for n in names if n not in ("QV850", "TMQV850", "VORT850")]
    fields = {
        n: VARIABLES[n].low
        + (VARIABLES[n].high - VARIABLES[n].low) * (0.4 + 0.2 * rng.random((10, 5, 8)))
        for n in names
    }
    dataset = mock_dataset(fields, 5, 8, 10, calendar="proleptic_gregorian")
    write_archive(dataset, tmp_path / out, "era5")
    back = exastorm.open(tmp_path / out)
    assert back.attrs["source_format"] == "era5"
    assert list(back["time"].values) == list(dataset["time"].values)
    assert set(field_names(back)) == {*names, "UBOT", "VBOT"}
    for name in names:
        # Humidity goes by way of a dew point in single precision, 3e-5 K of 280 K, and vapor
        # pressure grows by 7 % a kelvin: 2e-6.
        np.testing.assert_allclose(back[name].values, dataset[name].values, rtol=3e-6, err_msg=name)


def test_the_file_is_as_era5_has_it(tmp_path):
    dataset = mock_dataset({"PRECT": 1e-6, "Z500": 5500.0, "PSL": [[[1e5], [9e4], [1e5]]]}, 3, 4, 1)
    write_archive(dataset, tmp_path / "a.nc", "era5")
    with xr.open_dataset(tmp_path / "a.nc") as file:
        np.testing.assert_array_equal(file["latitude"].values, [90.0, 0.0, -90.0])
        # 1e-6 m s-1 x 3600 s = 3.6 mm; 5500 m x 9.80665 m s-2 = 53936.6 m2 s-2
        assert float(file["tp"].max()) == pytest.approx(3.6e-3)
        assert float(file["z"].max()) == pytest.approx(53936.6, rel=1e-6)
        assert file["z"].dims == ("time", "level", "latitude", "longitude")


def test_short_names_of_the_climate_data_store(tmp_path, foreign):
    level = {"level": ("level", np.array([200, 500, 850], np.int32), HPA)}
    column = np.array([215.0, 255.0, 285.0])[:, None, None]
    dataset = foreign(
        {
            "tcwv": (XYT, np.array([30.0, 20.0, 10.0])[:, None], {"units": "kg m**-2"}),
            "t": (XYZT, column, {"units": "K"}),
            "z": (XYZT, 5500 * 9.80665, {"units": "m**2 s**-2"}),
            "tp": (XYT, 3.6e-3, {"units": "m"}),
            "d2m": (XYT, 293.15, {"units": "K"}),
            "sp": (XYT, 100000.0, {"units": "Pa"}),
            "p71.162": (XYT, 250.0, {"units": "kg m**-1 s**-1"}),
            "lsm": (XYT, 0.5, {"units": "(0 - 1)"}),
        },
        names=NAMES,
        lat=LAT,
        coords=level,
    )
    dataset = dataset.drop_vars("z")
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    # The file descends from 60 N, the schema ascends.
    np.testing.assert_array_equal(back["TMQ"].values[0, :, 0], [10.0, 20.0, 30.0])
    assert float(back["T500"].mean()) == 255.0
    # 3.6 mm in the past hour, though the times are 6 h apart.
    assert float(back["PRECT"].mean()) == pytest.approx(1e-6, rel=1e-6)
    assert "hour that ends at the time" in back["PRECT"].attrs["note"]
    assert float(back["QREFHT"].mean()) == pytest.approx(0.014666, abs=2e-6)
    assert "Bolton 1980" in back["QREFHT"].attrs["note"]
    assert float(back["IVTX"].mean()) == 250.0
    assert float(back["LANDFRAC"].mean()) == 0.5


def test_geopotential_on_levels_and_at_the_surface_are_told_apart(tmp_path, foreign):
    surface = foreign({"z": (XYT, 981.0, {"units": "m**2 s**-2"})}, names=NAMES, lat=LAT)
    level = {"level": ("level", np.array([500], np.int32), HPA)}
    upper = foreign(
        {"z": (XYZT, 5500 * 9.80665, {"units": "m**2 s**-2"})}, names=NAMES, lat=LAT, coords=level
    )
    surface.to_netcdf(tmp_path / "surface.nc")
    upper.to_netcdf(tmp_path / "levels.nc")
    back = exastorm.open(tmp_path)
    assert float(back["PHIS"].mean()) == pytest.approx(981.0)
    assert float(back["Z500"].mean()) == pytest.approx(5500.0, rel=1e-6)
    assert "9.80665" in back["Z500"].attrs["note"]


def test_the_new_data_store_names_its_times_valid_time(tmp_path, foreign):
    dataset = foreign(
        {"msl": (("valid_time", *XYT[1:]), 101325.0, {"units": "Pa"})},
        names=("valid_time", *XYT[1:]),
        lat=LAT,
    )
    dataset = dataset.assign_coords(number=0, expver=("valid_time", ["0001", "0005"]))
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert back["PSL"].dims == ("time", "lat", "lon")
    assert back.sizes["time"] == 2


def test_final_and_preliminary_streams_become_one(tmp_path, foreign):
    values = np.full((2, 2, 3, 4), np.nan)
    values[0, 0], values[1, 1] = 1.0e5, 1.01e5  # first time final, second preliminary
    dataset = foreign(
        {"msl": (("time", "expver", *XYT[1:]), values, {"units": "Pa"})},
        names=NAMES,
        lat=LAT,
        coords={"expver": ("expver", np.array([1, 5]), {})},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    np.testing.assert_array_equal(back["PSL"].values[:, 0, 0], np.float32([1.0e5, 1.01e5]))


def test_long_names_of_the_cloud_stores_without_level_units(tmp_path, foreign):
    level = {"level": ("level", np.array([500, 850]), {})}
    dataset = foreign(
        {
            "total_column_water_vapour": (XYT, 20.0, {"units": "kg m**-2"}),
            "u_component_of_wind": (XYZT, 5.0, {"units": "m s**-1"}),
            "mean_total_precipitation_rate": (XYT, 1e-4, {"units": "kg m**-2 s**-1"}),
        },
        names=NAMES,
        lat=LAT,
        coords=level,
    )
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=True)
    back = exastorm.open(tmp_path / "a.zarr")
    assert set(field_names(back)) == {"TMQ", "U850", "PRECT"}
    # 1e-4 kg m-2 s-1 / 1000 kg m-3
    assert float(back["PRECT"].mean()) == pytest.approx(1e-7, rel=1e-6)


def test_a_rate_is_preferred_to_an_amount(tmp_path, foreign):
    fields = {"tp": (XYT, 3.6e-3, {"units": "m"}), "mtpr": (XYT, 2e-3, {"units": "kg m**-2 s**-1"})}
    for name, field in fields.items():
        foreign({name: field}, names=NAMES, lat=LAT).to_netcdf(tmp_path / f"{name}.nc")
    assert exastorm.open(tmp_path)["PRECT"].attrs["source_name"] == "mtpr"


def test_members_are_chosen_by_number(tmp_path, foreign):
    values = np.array([1.0e5, 1.01e5])[:, None, None, None]
    dataset = foreign(
        {"msl": (("number", *XYT), values, {"units": "Pa"})},
        names=NAMES,
        lat=LAT,
        coords={"number": ("number", np.array([0, 1]), {})},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    first, second = (exastorm.open(tmp_path / "a.nc", member=m)["PSL"] for m in (None, 1))
    assert float(first.mean()) == 1.0e5
    assert first.attrs["note"] == "member 0 of 2"
    assert float(second.mean()) == pytest.approx(1.01e5)
    with pytest.raises(InputError, match=r"member 7 must be one of 0, 1"):
        exastorm.open(tmp_path / "a.nc", member=7)


@pytest.mark.real_data
def test_a_real_cyclone_is_where_it_was(real_file):
    # 963 hPa at 21 S 114 E, 26 March 2026 19 UTC (README of the data).
    dataset = exastorm.open(real_file("era5/era5_1deg_20260325_sfc.nc"))
    near = dataset["PSL"].sel(lat=slice(-30, -10), lon=slice(100, 125))
    lowest = near.compute().argmin(("time", "lat", "lon"))
    assert float(near.min()) == pytest.approx(96300, abs=100)
    place = near.isel({k: int(v) for k, v in lowest.items()})
    assert (float(place["lat"]), float(place["lon"])) == (-21.0, 114.0)
    assert str(place["time"].values) == "2026-03-26 19:00:00"


@pytest.mark.real_data
def test_packed_values_are_unpacked(real_file):
    dataset = exastorm.open(real_file("ifs/mslp.nc"))
    assert 9.2e4 < float(dataset["PSL"].min()) < float(dataset["PSL"].max()) < 1.06e5
