import cftime
import numpy as np
import pytest
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.readers.archives import write_archive
from exastorm.readers.schema import field_names, mock_dataset
from exastorm.variables import VARIABLES

XYT = ("time", "lat", "lon")
XYZT = ("time", "plev", "lat", "lon")
ERA = {"mip_era": "CMIP6"}
PLEV = {"units": "Pa", "standard_name": "air_pressure", "positive": "down"}
LON = (-180.0, -90.0, 0.0, 90.0)


def plev(*values):
    return {"plev": ("plev", np.array(values, float), PLEV)}


def write(dataset, folder, name):
    folder.mkdir(exist_ok=True)
    dataset.to_netcdf(folder / name)
    return folder


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_a_set_reads_back_to_the_same_fields(tmp_path, calendar):
    rng = np.random.default_rng(2)
    names = [n for n in VARIABLES if n not in ("UBOT", "VBOT", "ZBOT", "IVT")]
    names = [n for n in names if n not in ("QV850", "TMQV850", "VORT850")]
    fields = {
        n: VARIABLES[n].low
        + (VARIABLES[n].high - VARIABLES[n].low) * (0.4 + 0.2 * rng.random((10, 5, 8)))
        for n in names
    }
    # 360_day has a 30 February, where real calendars fail.
    dataset = mock_dataset(fields, 5, 8, 10, calendar=calendar, start="2000-02-28")
    paths = write_archive(dataset, tmp_path / "set", "cmip6")
    assert {p.name.split("_")[0] for p in paths} >= {"prw", "ua", "va", "ta", "zg", "psl", "pr"}
    back = exastorm.open(tmp_path / "set")
    assert back.attrs["source_format"] == "cmip6"
    assert list(back["time"].values) == list(dataset["time"].values)
    assert set(field_names(back)) == {*names, "UBOT", "VBOT"}
    for name in names:
        # 1e-6: pr, sftlf and orog are scaled to their CMIP6 units and back in single precision.
        np.testing.assert_allclose(back[name].values, dataset[name].values, rtol=1e-6)


def test_rain_is_a_flux_in_the_files_and_stamped_at_the_middle_of_its_interval(tmp_path):
    dataset = mock_dataset({"PRECT": 2.5e-8, "TMQ": 20.0}, 3, 4, 2)
    write_archive(dataset, tmp_path, "cmip6")
    (path,) = tmp_path.glob("pr_*.nc")
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    with xr.open_dataset(path, decode_times=coder) as file:
        # 2.5e-8 m s-1 x 1000 kg m-3
        assert float(file["pr"].max()) == pytest.approx(2.5e-5)
        assert file["pr"].attrs["units"] == "kg m-2 s-1"
        # Steps of 3 h from midnight: the first interval is 21 h to 24 h, its middle 22:30.
        assert file["time"].values[0] == cftime.DatetimeNoLeap(1999, 12, 31, 22, 30)


def test_longitudes_from_minus_180_are_rolled_with_their_values(tmp_path, foreign):
    values = np.arange(4.0) + 10  # 10 at 180 W, 11 at 90 W, 12 at 0, 13 at 90 E
    dataset = foreign({"prw": (XYT, values, {"units": "kg m-2"})}, lon=LON, attrs=ERA)
    back = exastorm.open(write(dataset, tmp_path / "a", "prw.nc"))
    np.testing.assert_array_equal(back["lon"].values, [0, 90, 180, 270])
    np.testing.assert_array_equal(back["TMQ"].values[0, 0], [12, 13, 10, 11])


def test_levels_are_taken_from_pascals_in_any_order(tmp_path, foreign):
    column = np.array([201.0, 202.0, 203.0])[:, None, None]
    dataset = foreign(
        {"ta": (XYZT, column, {"units": "K"})}, coords=plev(85000, 50000, 20000), attrs=ERA
    )
    folder = write(dataset, tmp_path / "a", "ta.nc")
    back = exastorm.open(folder)
    assert float(back["T500"].mean()) == 202.0
    assert float(back["T200"].mean()) == 203.0
    assert back["T200"].attrs["source_level_hpa"] == 200.0
    assert "T400" not in back


def test_time_chunks_of_variables_are_joined_in_order(tmp_path, foreign):
    for i, start in enumerate(("2000-01-03", "2000-01-01")):
        for name, value in (("prw", 20.0), ("psl", 1e5)):
            units = {"units": "kg m-2" if name == "prw" else "Pa"}
            dataset = foreign({name: (XYT, value + i, units)}, start=start, attrs=ERA, num_times=3)
            write(dataset, tmp_path / "a", f"{name}_{i}.nc")
    back = exastorm.open(tmp_path / "a")
    np.testing.assert_array_equal(back["TMQ"].values[:, 0, 0], [21, 21, 21, 20, 20, 20])
    assert back["time"].values[0] == cftime.DatetimeNoLeap(2000, 1, 1)


def test_a_stand_in_level_is_taken_only_when_asked_and_said(tmp_path, foreign):
    column = np.array([255.0, 225.0])[:, None, None]
    dataset = foreign({"ta": (XYZT, column, {"units": "K"})}, coords=plev(50000, 25000), attrs=ERA)
    folder = write(dataset, tmp_path / "a", "ta.nc")
    assert "T200" not in exastorm.open(folder)
    field = exastorm.open(folder, stand_ins=["T200=250"])["T200"]
    assert float(field.mean()) == 225.0
    assert "250 hPa stands in for 200 hPa, as asked" in field.attrs["note"]


def test_a_stand_in_that_no_file_has_is_refused(tmp_path, foreign):
    column = np.array([255.0])[:, None, None]
    dataset = foreign({"ta": (XYZT, column, {"units": "K"})}, coords=plev(50000), attrs=ERA)
    folder = write(dataset, tmp_path / "a", "ta.nc")
    with pytest.raises(InputError, match="no file has 250 hPa to stand in for T200"):
        exastorm.open(folder, stand_ins=["T200=250"])


def test_a_stand_in_never_replaces_the_level_itself(tmp_path, foreign):
    column = np.array([215.0, 225.0])[:, None, None]
    dataset = foreign({"ta": (XYZT, column, {"units": "K"})}, coords=plev(20000, 25000), attrs=ERA)
    folder = write(dataset, tmp_path / "a", "ta.nc")
    field = exastorm.open(folder, stand_ins=["T200=250"])["T200"]
    assert float(field.mean()) == 215.0
    assert "note" not in field.attrs


def test_gaps_below_the_ground_are_filled_and_masked(tmp_path, foreign):
    wind = np.full((2, 3, 3, 4), 5.0)
    wind[:, 1], wind[:, 2] = 7.0, 9.0
    wind[1, 0, 2, 1] = np.nan  # below ground at 850 hPa, at the second time only
    wind[0, 0, 1, 1:3] = np.nan
    wind[0, 1, 1, 2] = np.nan  # and one column even at 700 hPa
    dataset = foreign(
        {"ua": (XYZT, wind, {"units": "m s-1"})}, coords=plev(85000, 70000, 50000), attrs=ERA
    )
    back = exastorm.open(write(dataset, tmp_path / "a", "ua.nc"))
    expected = np.full((2, 3, 4), 5.0)
    expected[0, 1, 1], expected[0, 1, 2], expected[1, 2, 1] = 7.0, 9.0, 7.0
    np.testing.assert_array_equal(back["U850"].values, expected)
    np.testing.assert_array_equal(back["below_ground_U850"].values, (expected != 5).astype(int))
    assert "below_ground_U850" in back["U850"].attrs["note"]
    assert "below_ground_U850" in exastorm.open(tmp_path / "a", fields=["U850"])


def test_rain_means_meet_instants_by_the_interval_that_ends_there(tmp_path, foreign):
    water = foreign({"prw": (XYT, 20.0, {"units": "kg m-2"})}, attrs=ERA, num_times=3)
    flux = np.array([1.0, 2.0, 3.0, 4.0])[:, None, None] * 1e-5
    attrs = {"units": "kg m-2 s-1", "cell_methods": "area: time: mean"}
    rain = foreign(
        {"pr": (XYT, flux, attrs)}, attrs=ERA, num_times=4, freq="3h", start="2000-01-01 01:30"
    )
    rain["time"].attrs["bounds"] = "time_bnds"
    rain["time"].encoding["units"] = "hours since 2000-01-01"
    edges = xr.date_range("2000-01-01", periods=5, freq="3h", calendar="noleap", use_cftime=True)
    rain["time_bnds"] = (("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1))
    write(water, tmp_path / "a", "prw.nc")
    back = exastorm.open(write(rain, tmp_path / "a", "pr.nc"))
    # Instants 0, 6, 12 h; intervals 0-3, 3-6, 6-9, 9-12 h: 6 h gets the second, 12 h the fourth.
    assert [t.hour for t in back["time"].values] == [6, 12]
    np.testing.assert_allclose(back["PRECT"].values[:, 0, 0], [2e-8, 4e-8], rtol=1e-6)
    assert "3 h that end at the time" in back["PRECT"].attrs["note"]
    assert "1 of 3 times are left out" in back.attrs["history"]
    # Without rain every instant is kept.
    assert exastorm.open(tmp_path / "a", fields=["TMQ"]).sizes["time"] == 3


def test_wind_at_10_m_stands_in_for_the_lowest_level_with_a_note(tmp_path, foreign):
    dataset = foreign({"uas": (XYT, 6.0, {"units": "m s-1"})}, attrs=ERA)
    back = exastorm.open(write(dataset, tmp_path / "a", "uas.nc"))
    assert float(back["UBOT"].mean()) == 6.0
    assert "10 m stands in for the lowest model level" in back["UBOT"].attrs["note"]
    assert "note" not in back["U10"].attrs


def test_land_share_in_percent_and_orography_in_meters_hold_for_all_times(tmp_path, foreign):
    attrs = {"units": "%", "standard_name": "land_area_fraction"}
    land = foreign({"sftlf": (XYT[1:], 40.0, attrs)}, attrs=ERA, num_times=0)
    height = foreign({"orog": (XYT[1:], 100.0, {"units": "m"})}, attrs=ERA, num_times=0)
    water = foreign({"prw": (XYT, 20.0, {"units": "kg m-2"})}, attrs=ERA)
    for name, dataset in (("sftlf", land), ("orog", height), ("prw", water)):
        write(dataset, tmp_path / "a", f"{name}.nc")
    back = exastorm.open(tmp_path / "a")
    assert float(back["LANDFRAC"].mean()) == pytest.approx(0.4)
    assert back["LANDFRAC"].dims == ("lat", "lon")
    # 100 m x 9.80665 m s-2
    assert float(back["PHIS"].mean()) == pytest.approx(980.665)


def test_calendars_are_not_mixed(tmp_path, foreign):
    for name, calendar in (("prw", "noleap"), ("psl", "360_day")):
        units = {"units": "kg m-2" if name == "prw" else "Pa"}
        dataset = foreign({name: (XYT, 1e5, units)}, calendar=calendar, attrs=ERA)
        write(dataset, tmp_path / "a", f"{name}.nc")
    with pytest.raises(InputError, match=r"psl\.nc.*one calendar.*360_day.*prw\.nc has noleap"):
        exastorm.open(tmp_path / "a")


def test_names_of_one_gregorian_calendar_go_together(tmp_path, foreign):
    for name, calendar in (("prw", "standard"), ("psl", "proleptic_gregorian")):
        units = {"units": "kg m-2" if name == "prw" else "Pa"}
        value = 20.0 if name == "prw" else 1e5
        dataset = foreign({name: (XYT, value, units)}, calendar=calendar, attrs=ERA)
        write(dataset, tmp_path / "a", f"{name}.nc")
    assert field_names(exastorm.open(tmp_path / "a")) == ["TMQ", "PSL"]


def test_one_file_is_no_set(tmp_path):
    with pytest.raises(InputError, match="must be a directory"):
        write_archive(mock_dataset({"TMQ": 20.0}, 3, 4, 1), tmp_path / "a.nc", "cmip6")
