"""Profiles on hybrid levels of latitude-longitude files: `lev` in hPa that is no pressure."""

import dask.array as da
import numpy as np
import pytest

import exastorm
from exastorm.errors import InputError
from exastorm.readers.inspect import inspect_archive
from exastorm.readers.schema import field_names

XYT = ("time", "lat", "lon")
TZXY = ("time", "lev", "lat", "lon")

ETA = np.geomspace(0.05, 0.99, 32)
HYBM = np.clip((ETA - 0.2) / 0.8, 0, 1) ** 1.3
HYAM = ETA - HYBM
LEV = 1000 * ETA
for hpa in (200, 500, 850):  # these look like pressure levels and are none
    LEV[np.argmin(np.abs(LEV - hpa))] = hpa

SURFACE_PA = np.array([101325.0, 60000.0, 98000.0])[:, None]
"""Surface pressure at 60 S, the equator and 60 N: a plateau lies on the equator."""

CAM_LEV = {
    "units": "hPa",
    "long_name": "hybrid level at midpoints (1000*(A+B))",
    "positive": "down",
}


@pytest.fixture
def hybrid(foreign):
    """Makes a CAM file with T and U on hybrid levels, both linear in the logarithm of pressure."""

    def make(lev_attrs=CAM_LEV, **changes):
        pressure = HYAM[:, None, None] * 1e5 + HYBM[:, None, None] * SURFACE_PA
        dataset = foreign(
            {
                "T": (TZXY, 300 - 40 * np.log(1e5 / pressure), {"units": "K"}),
                "U": (TZXY, 10 * np.log(1e5 / pressure), {"units": "m/s"}),
                "TMQ": (XYT, 20.0, {"units": "kg/m2"}),
                "PS": (XYT, SURFACE_PA, {"units": "Pa"}),
            },
            coords={"lev": ("lev", LEV, lev_attrs)},
            attrs={"source": "CAM"},
        )
        coefficients = {
            "hyam": ("lev", HYAM),
            "hybm": ("lev", HYBM),
            "P0": ((), 1e5, {"units": "Pa"}),
        }
        return dataset.assign(coefficients | changes)

    return make


@pytest.mark.parametrize("format_name", ["cam", "cf"])
def test_fields_come_at_pressures_whatever_lies_below(tmp_path, hybrid, format_name):
    hybrid().to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc", format=format_name)
    assert isinstance(back["T500"].data, da.Array)
    # 300 - 40 ln(1000/500) = 272.274 and 300 - 40 ln(1000/200) = 235.622, on the plateau too.
    np.testing.assert_allclose(back["T500"], 272.274, rtol=1e-5)
    np.testing.assert_allclose(back["T200"], 235.622, rtol=1e-5)
    # 10 ln(1000/850) = 1.62519 where 850 hPa lies above the ground; on the plateau the lowest
    # wind, at p = A P0 + B PS.
    lowest = 10 * np.log(1e5 / (HYAM[-1] * 1e5 + HYBM[-1] * 6e4))
    np.testing.assert_allclose(back["U850"].values[0, :, 0], [1.62519, lowest, 1.62519], rtol=1e-5)
    np.testing.assert_allclose(back["UBOT"].values[0, 1], lowest, rtol=1e-5)
    assert back["U850"].attrs["note"] == "interpolated in log pressure from 32 levels"
    assert back["UBOT"].attrs["note"] == "lowest level of U"
    np.testing.assert_array_equal(
        back["T500"].isel(time=1, lat=slice(1, 3), lon=[3, 0]).values.shape, (2, 2)
    )


def test_order_of_points_and_levels_in_the_file_does_not_matter(tmp_path, hybrid):
    hybrid().to_netcdf(tmp_path / "a.nc")
    turned = hybrid().isel(lev=slice(None, None, -1), lat=slice(None, None, -1))
    turned.transpose("lon", "lat", "lev", "time").to_netcdf(tmp_path / "b.nc")
    there, back = (exastorm.open(tmp_path / f"{name}.nc") for name in "ab")
    for name in ("T200", "T500", "U850", "UBOT", "PS"):
        np.testing.assert_allclose(back[name], there[name], rtol=1e-6, err_msg=name)


def test_several_files_and_stand_in_levels(tmp_path, hybrid):
    first = hybrid().drop_vars("UBOT", errors="ignore")
    first.isel(time=[0]).to_netcdf(tmp_path / "a.nc")
    first.isel(time=[1]).to_netcdf(tmp_path / "b.nc")
    back = exastorm.open(tmp_path, stand_ins=["T200=250"])
    assert back.sizes["time"] == 2
    # A level that can be had needs no stand-in.
    np.testing.assert_allclose(back["T200"], 235.622, rtol=1e-5)


@pytest.mark.parametrize("lacking", ["PS", "P0", "hyam"])
def test_without_what_makes_pressures_they_are_left_out(tmp_path, hybrid, lacking):
    hybrid().drop_vars(lacking).to_netcdf(tmp_path / "a.nc")
    report = inspect_archive(tmp_path / "a.nc")
    assert not {"T200", "T500", "U850", "UBOT"} & {f.name for f in report.fields}
    line = f"T: lies on hybrid model levels (lev), which are no pressure levels; .* {lacking} too"
    assert any(line.split(";")[0] in told and lacking in told for told in report.left_out)
    assert "T: lies on hybrid model levels" in report.to_text()


@pytest.mark.parametrize(
    "lev_attrs",
    [
        {"units": "level", "standard_name": "atmosphere_hybrid_sigma_pressure_coordinate"},
        {"units": "hPa", "long_name": "hybrid level at layer midpoints"},
        {"units": "hPa", "positive": "down", "formula_terms": "a: hyam b: hybm p0: P0 ps: PS"},
    ],
)
def test_hybrid_levels_are_told_by_attributes(tmp_path, hybrid, lev_attrs):
    hybrid(lev_attrs).drop_vars(["hyam", "hybm", "P0"]).to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert field_names(back) == ["TMQ", "PS"]
    assert "T: lies on hybrid model levels (lev)" in back.attrs["left_out"]


def test_hybrid_levels_are_told_by_their_coefficients(tmp_path, hybrid):
    hybrid({"units": "hPa"}).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_allclose(exastorm.open(tmp_path / "a.nc")["T500"], 272.274, rtol=1e-5)


def test_pressure_levels_in_hpa_are_still_taken(tmp_path, foreign):
    fields = {"T": (TZXY, np.array([220.0, 260.0])[:, None, None], {"units": "K"})}
    lev = ("lev", np.array([200.0, 500.0]), {"units": "hPa", "positive": "down"})
    dataset = foreign(fields, coords={"lev": lev}, attrs={"source": "CAM"})
    dataset.to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert float(back["T200"].mean()) == 220.0
    assert float(back["T500"].mean()) == 260.0


def test_levels_that_reach_no_pressure_wanted_are_left_out(tmp_path, hybrid):
    hybrid().isel(lev=[0, 1]).to_netcdf(tmp_path / "a.nc")
    back = exastorm.open(tmp_path / "a.nc")
    assert "its 2 hybrid levels reach none of the pressures" in back.attrs["left_out"]


def test_surface_pressure_elsewhere_is_said(tmp_path, hybrid):
    surface = ("lat", np.full(3, 1e5), {"units": "Pa"})
    hybrid(PS=surface).to_netcdf(tmp_path / "a.nc")
    assert (
        "PS must lie on ('time', 'lat', 'lon')"
        in exastorm.open(tmp_path / "a.nc").attrs["left_out"]
    )


def test_units_of_pressures_are_checked(tmp_path, hybrid):
    hybrid(P0=((), 1e5, {"units": "K"})).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match=r"a\.nc, variable P0: must be in a unit of pressure"):
        exastorm.open(tmp_path / "a.nc")


def test_a_profile_of_strings_is_refused(tmp_path, hybrid):
    dataset = hybrid()
    dataset["T"] = dataset["T"].astype(str).astype(object)
    dataset.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match="variable T: must hold numbers, got strings"):
        exastorm.open(tmp_path / "a.nc")


def test_a_wind_on_one_hybrid_level_that_is_named_the_lowest_is_taken(tmp_path, foreign):
    wind = {"UBOT": (("time", "hybrid", "lat", "lon"), 5.0, {"units": "m/s"})}
    level = ("hybrid", np.array([1.0]), {"units": "1", "long_name": "hybrid level"})
    foreign(wind, coords={"hybrid": level}).to_netcdf(tmp_path / "a.nc")
    assert float(exastorm.open(tmp_path / "a.nc")["UBOT"].mean()) == 5.0
