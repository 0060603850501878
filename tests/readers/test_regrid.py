"""Regridding keeps what nature keeps: constants, integrals of rain, and the turn of the globe."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.readers.regrid import regrid
from exastorm.readers.schema import DIMS, check_dataset, coordinate_attrs, field_attrs, mock_dataset


def on_grid(lat, lon, **fields):
    """A dataset in the schema with one time on any grid."""
    shape = (1, len(lat), len(lon))
    time = xr.date_range("2000-01-01", periods=1, calendar="noleap", use_cftime=True)
    return xr.Dataset(
        {
            name: (
                DIMS,
                np.broadcast_to(value, shape),
                field_attrs(name) if np.asarray(value).dtype.kind == "f" else {},
            )
            for name, value in fields.items()
        },
        coords={
            "time": time,
            "lat": ("lat", np.asarray(lat, float), coordinate_attrs("lat")),
            "lon": ("lon", np.asarray(lon, float), coordinate_attrs("lon")),
        },
    )


def noise(num_lat, num_lon, seed=0):
    return np.random.default_rng(seed).random((num_lat, num_lon)).astype(np.float32)


GAUSSIAN_LAT = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
CENTERED_LAT = np.arange(-88.0, 89.0, 4.0)


@pytest.mark.parametrize("lat", [regular_grid(37, 72)[0], GAUSSIAN_LAT, CENTERED_LAT])
@pytest.mark.parametrize("size", [(19, 36), (73, 144), (50, 70)])
def test_a_constant_stays_constant_from_pole_to_pole(lat, size):
    lon = np.arange(72) * 5.0
    source = on_grid(
        lat,
        lon,
        PSL=np.float32(1e5),
        U850=np.float32(7),
        PRECT=np.float32(1e-7),
        labels_0=np.int8(1),
    )
    out = regrid(source, *regular_grid(*size))
    check_dataset(out)
    np.testing.assert_allclose(out["PSL"], 1e5, rtol=1e-6)
    np.testing.assert_allclose(out["U850"], 7, rtol=1e-6)
    np.testing.assert_allclose(out["PRECT"], 1e-7, rtol=1e-6)
    assert np.all(out["labels_0"] == 1)


@pytest.mark.parametrize("size", [(19, 36), (73, 144), (41, 55)])
@pytest.mark.parametrize("shift", [0.0, 1.7])
def test_rain_over_the_globe_is_kept(size, shift):
    lat, lon = regular_grid(37, 72)
    lon = lon + shift
    rain = 1e-7 * noise(37, 72)
    target = regular_grid(*size)
    out = regrid(on_grid(lat, lon, PRECT=rain), *target)["PRECT"].values[0]
    before = (rain.astype(float) * cell_areas_km2(lat, lon)).sum()
    after = (out.astype(float) * cell_areas_km2(*target)).sum()
    assert after == pytest.approx(before, rel=1e-6)


def test_coarse_rain_is_the_area_mean_of_the_cells_inside():
    # Target cell at 0, 10 E spans 5..15 E and 5 S..5 N. Source spacing 2.5 x 5 degrees: rows at
    # -5, -2.5, 0, 2.5, 5 (the outer two half inside), columns at 5 (half), 10, 15 (half).
    lat, lon = regular_grid(73, 72)
    rain = np.zeros((73, 72), np.float32)
    rain[36, 2] = 1e-6
    out = regrid(on_grid(lat, lon, PRECT=rain), *regular_grid(19, 36))["PRECT"].values[0]
    half = np.sin(np.deg2rad(1.25)), np.sin(np.deg2rad(5.0))
    assert out[9, 1] == pytest.approx(1e-6 * (half[0] / half[1]) * 0.5, rel=1e-5)
    assert np.count_nonzero(out) == 1


def test_a_field_linear_in_latitude_and_a_wave_are_bilinear():
    lat, lon = regular_grid(37, 72)
    new_lat, new_lon = regular_grid(31, 50)
    out = regrid(on_grid(lat, lon, TS=(250 + lat[:, None]).astype(np.float32)), new_lat, new_lon)
    np.testing.assert_allclose(out["TS"].values[0], 250 + new_lat[:, None] + 0 * new_lon, rtol=2e-6)
    # Half way between 355 E (value 5) and 0 E (value 1): 3, by the seam of the globe.
    seam = np.ones((37, 72), np.float32)
    seam[:, -1] = 5
    crossed = regrid(on_grid(lat, lon, TS=seam), new_lat, np.array([100.0, 357.5]))
    np.testing.assert_allclose(crossed["TS"].values[0, :, 1], 3.0)


@pytest.mark.parametrize("name", ["TS", "U850", "PRECT"])
def test_turning_the_globe_turns_the_output(name):
    lat, lon = regular_grid(25, 72)
    target = regular_grid(19, 24)
    field = noise(25, 72)
    straight = regrid(on_grid(lat, lon, **{name: field}), *target)[name].values
    # Three source columns (15 degrees) are one target column.
    rolled = regrid(on_grid(lat, lon, **{name: np.roll(field, 6, axis=1)}), *target)[name].values
    np.testing.assert_allclose(rolled, np.roll(straight, 2, axis=2), rtol=1e-6)


def test_labels_are_the_nearest_ones_and_keep_their_dtype():
    lat, lon = regular_grid(37, 72)
    labels = (noise(37, 72) * 3).astype(np.int8)
    out = regrid(on_grid(lat, lon, labels_0=labels), *regular_grid(19, 36))["labels_0"]
    assert out.dtype == np.int8
    # Every second row and column is a target point.
    np.testing.assert_array_equal(out.values[0], labels[::2, ::2])
    shifted = regrid(on_grid(lat, lon, labels_0=labels), lat[5:9] + 0.6, lon[:4] + 2.6)["labels_0"]
    np.testing.assert_array_equal(shifted.values[0], labels[5:9, 1:5])


def test_scalars_meet_at_the_pole_and_winds_keep_their_meridian():
    lon = np.arange(72) * 5.0
    wave = np.cos(np.deg2rad(lon)).astype(np.float32)[None, :] * np.ones((45, 1), np.float32)
    out = regrid(on_grid(CENTERED_LAT, lon, TS=wave, U850=wave), *regular_grid(37, 72))
    np.testing.assert_allclose(out["TS"].values[0, -1], 0.0, atol=1e-6)
    np.testing.assert_allclose(out["U850"].values[0, -1], wave[0], atol=1e-6)


def test_outside_a_region_there_is_nothing_and_the_meridian_is_no_border():
    # A region from 40 W to 40 E is stored as 0..40 and 320..355 E.
    lat, lon = np.arange(-30.0, 31, 5), np.r_[np.arange(0.0, 41, 5), np.arange(320.0, 360, 5)]
    source = on_grid(
        lat, lon, TS=np.float32(280), PRECT=np.float32(1e-7), labels_0=np.int8(2), wanted=True
    )
    out = regrid(source, *regular_grid(91, 180)).isel(time=0)
    inside = out.sel(lat=slice(-30, 30)).sel(lon=(out.lon <= 40) | (out.lon >= 320))
    assert np.all(inside["TS"] == 280)
    assert np.all(inside["labels_0"] == 2)
    np.testing.assert_allclose(inside["PRECT"], 1e-7, rtol=1e-6)
    for name, empty in [("TS", np.isnan), ("PRECT", np.isnan)]:
        assert empty(out[name].sel(lat=0, lon=180))
        assert empty(out[name].sel(lat=60, lon=10))
    assert out["labels_0"].sel(lat=0, lon=180) == -1
    assert not out["wanted"].sel(lat=0, lon=180)
    assert out["wanted"].dtype == bool


def test_gaps_do_not_spread():
    lat, lon = regular_grid(37, 72)
    field = np.full((37, 72), 280, np.float32)
    field[10, 10] = np.nan
    out = regrid(on_grid(lat, lon, TS=field), *regular_grid(73, 144))["TS"].values[0]
    # Only the target point on the gap itself has more than half its weight there.
    assert np.argwhere(np.isnan(out)).tolist() == [[20, 20]]
    assert np.nanmax(abs(out - 280)) < 1e-3


def test_lazy_and_told():
    source = mock_dataset({"TS": 280.0, "PRECT": 1e-7}, 37, 72, 3).chunk({"time": 1, "lon": 36})
    out = regrid(source, *regular_grid(19, 36))
    assert isinstance(out["TS"].data, da.Array)
    assert out["TS"].chunks[0] == (1, 1, 1)
    assert out["TS"].attrs["regridding"] == "bilinear"
    assert out["PRECT"].attrs["regridding"] == "first-order conservative"
    assert out.attrs["history"] == "regridded from 37 x 72 to 19 x 36"
    assert out["TS"].dtype == np.float32
    check_dataset(out)
    np.testing.assert_allclose(out["TS"].compute(), 280)


def test_the_same_grid_is_left_alone():
    source = mock_dataset({"TS": 280.0}, 19, 36, 1)
    assert regrid(source, *regular_grid(19, 36)) is source


def test_a_target_that_is_no_grid_is_refused():
    source = mock_dataset({"TS": 280.0}, 19, 36, 1)
    with pytest.raises(InputError, match="ascend"):
        regrid(source, [10.0, 0.0], [0.0, 1.0])
