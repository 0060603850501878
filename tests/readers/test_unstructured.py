"""Files on columns: CAM-SE and E3SM as made up here, and real ones where they are."""

import os
from pathlib import Path

import cftime
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.formats import unstructured
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import check_dataset

REAL = Path(os.environ.get("EXASTORM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAM = REAL / "cam"

needs_real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not CAM.is_dir(), reason=f"no real fields in {REAL}"),
]

HYAM = np.array([0.01, 0.1, 0.19, 0.2, 0.17, 0.12, 0.08, 0.04, 0.0])
HYBM = np.array([0.0, 0.0, 0.05, 0.15, 0.27, 0.42, 0.58, 0.78, 0.99])


def spiral(num):
    k = np.arange(num) + 0.5
    lat = np.rad2deg(np.arcsin(1 - 2 * k / num))
    return lat, np.mod(k * 360.0 * (np.sqrt(5) - 1) / 2, 360.0)


def e3sm(num_columns=3000, num_times=2, start="0001-01-01 00:00", *, coordinates=True):
    """A history file: TMQ, PRECT, PS, U and Z3 on hybrid levels, time bounds, as E3SM has them."""
    lat, lon = spiral(num_columns)
    time = xr.date_range(start, periods=num_times, freq="3h", calendar="noleap", use_cftime=True)
    steps = np.arange(num_times)[:, None]
    surface = np.broadcast_to(100000 - 200.0 * np.abs(lat), (num_times, num_columns))
    pressure = HYAM[:, None] * 1e5 + HYBM[:, None] * surface[:, None]
    two, three = ("time", "ncol"), ("time", "lev", "ncol")
    dataset = xr.Dataset(
        {
            "TMQ": (two, 30 + 0.2 * lat + steps, {"units": "kg/m2"}),
            "PRECC": (two, np.full((num_times, num_columns), 1e-8), {"units": "m/s"}),
            "PRECL": (two, np.full((num_times, num_columns), 2e-8), {"units": "m/s"}),
            "PS": (two, surface, {"units": "Pa"}),
            # A wind that is linear in log pressure, so that interpolation is exact.
            "U": (three, 10 * np.log(1e5 / pressure), {"units": "m/s"}),
            "U10": (two, np.full((num_times, num_columns), 5.0), {"units": "m/s"}),
            "hyam": ("lev", HYAM),
            "hybm": ("lev", HYBM),
            "P0": ((), 1e5, {"units": "Pa"}),
            "area": ("ncol", np.ones(num_columns)),
        },
        coords={"time": time},
    )
    if coordinates:
        dataset["lat"] = ("ncol", lat, {"units": "degrees_north"})
        dataset["lon"] = ("ncol", lon, {"units": "degrees_east"})
    return dataset


def save(dataset, path):
    dataset.to_netcdf(path)
    return str(path)


def read(paths, **options):
    return unstructured.read([str(p) for p in paths], ReadOptions(**options))


def test_an_e3sm_archive_becomes_a_grid(tmp_path):
    paths = [
        save(e3sm(start="0001-01-01 06:00"), tmp_path / "b.nc"),
        save(e3sm(), tmp_path / "a.nc"),
    ]
    dataset = read(paths)
    check_dataset(dataset)
    assert dataset.sizes["time"] == 4
    # 3000 columns: sqrt(4 pi / 3000) = 3.7 degrees, so 64 x 96 (2.9 x 3.75 degrees).
    assert (dataset.sizes["lat"], dataset.sizes["lon"]) == (64, 96)
    assert dataset["time"].values[0] == cftime.DatetimeNoLeap(1, 1, 1, 0)
    assert isinstance(dataset["TMQ"].data, da.Array)
    expected = 30 + 0.2 * dataset["lat"] + xr.DataArray([0, 1, 0, 1], dims="time")
    # Neighbors differ by up to 3.7 * 0.2 = 0.74.
    assert float(np.abs(dataset["TMQ"] - expected).max()) < 0.5
    np.testing.assert_allclose(dataset["PRECT"], 3e-8, rtol=1e-6)
    assert "U10" not in dataset
    assert dataset["TMQ"].attrs["regridding"].startswith("inverse squared distance of the 4")
    assert "3000 columns to 64 x 96" in dataset.attrs["history"]
    assert dataset["TMQ"].isel(time=1, lat=slice(3, 5)).compute().shape == (2, 96)


def test_winds_come_at_pressures_and_at_the_lowest_level(tmp_path):
    dataset = read([save(e3sm(), tmp_path / "a.nc")])
    # 10 ln(1000/850) = 1.62519 wherever 850 hPa lies above the lowest level (0.99 PS).
    above = np.abs(dataset["lat"]) < 60
    np.testing.assert_allclose(dataset["U850"].where(above, drop=True), 1.62519, rtol=1e-4)
    # Lowest level at 0.99 PS, PS = 1000 hPa at the equator: 10 ln(1/0.99) = 0.1005.
    near_equator = dataset["UBOT"].sel(lat=0, method="nearest")
    np.testing.assert_allclose(
        near_equator, 0.1005 + 10 * np.log(1e5 / (1e5 - 200 * 1.5)), atol=0.06
    )
    assert "lowest level of U" in dataset["UBOT"].attrs["note"]
    assert "interpolated in log pressure from 9 levels" in dataset["U850"].attrs["note"]


def test_the_users_grid_and_fields(tmp_path):
    path = save(e3sm(), tmp_path / "a.nc")
    dataset = read([path], grid=(37, 72), fields=("TMQ",))
    assert dataset["TMQ"].shape == (2, 37, 72)
    assert list(dataset.data_vars) == ["TMQ"]


def test_a_mesh_file_gives_the_coordinates(tmp_path):
    path = save(e3sm(coordinates=False), tmp_path / "a.nc")
    lat, lon = spiral(3000)
    with pytest.raises(InputError, match=r"has no coordinates for its 3000 columns; .* mesh"):
        read([path])
    scrip = xr.Dataset(
        {
            "grid_center_lat": ("grid_size", np.deg2rad(lat), {"units": "radians"}),
            "grid_center_lon": ("grid_size", np.deg2rad(lon), {"units": "radians"}),
        }
    )
    mesh = save(scrip, tmp_path / "mesh.nc")
    assert not unstructured.recognize(mesh)
    own = read([save(e3sm(), tmp_path / "b.nc")])
    np.testing.assert_allclose(read([path], mesh=mesh)["TMQ"], own["TMQ"], rtol=1e-6)
    short = save(scrip.isel(grid_size=slice(100)), tmp_path / "short.nc")
    with pytest.raises(InputError, match="must hold latitudes and longitudes of 3000 columns"):
        read([path], mesh=short)


def test_a_weight_file_gives_grid_and_weights(tmp_path):
    path = save(e3sm(coordinates=False), tmp_path / "a.nc")
    # Each of 2 x 4 cells takes one column.
    chosen = np.array([0, 500, 1000, 1500, 2000, 2500, 2900, 2999])
    weights = xr.Dataset(
        {
            "S": ("n_s", np.ones(8)),
            "row": ("n_s", np.arange(8) + 1),
            "col": ("n_s", chosen + 1),
            "yc_b": ("n_b", np.repeat([-45.0, 45.0], 4)),
            "xc_b": ("n_b", np.tile([45.0, 135, 225, 315], 2)),
            "mask_a": ("n_a", np.ones(3000)),
            "dst_grid_dims": ("rank", [4, 2]),
        }
    )
    file = save(weights, tmp_path / "map.nc")
    dataset = read([path], weights=file)
    expected = (30 + 0.2 * spiral(3000)[0][chosen]).reshape(2, 4)
    np.testing.assert_allclose(dataset["TMQ"].isel(time=0), expected, rtol=1e-6)
    assert dataset["TMQ"].attrs["regridding"] == f"weights of {file}"
    other = save(e3sm(num_columns=2000), tmp_path / "other.nc")
    with pytest.raises(InputError, match=r"must have 3000 columns as .*map\.nc has, got 2000"):
        read([other], weights=file)


def test_a_stand_in_level_is_interpolated_too(tmp_path):
    dataset = e3sm()
    dataset["T"] = dataset["U"].assign_attrs(units="K") + 250
    dataset["T"].attrs["units"] = "K"
    path = save(dataset, tmp_path / "a.nc")
    stood_in = read([path], stand_ins=("T500=600",))
    # The vocabulary's own level is there, so that the stand-in is not needed: 250 + 10 ln 2.
    np.testing.assert_allclose(stood_in["T500"], 256.93, rtol=1e-4)
    sparse = dataset.isel(lev=[0, 1, 2, 3, 4, 6])
    levels = xr.Dataset(
        {
            "T": (("time", "plev", "ncol"), sparse["T"].values[:, :3], {"units": "K"}),
            "lat": dataset["lat"],
            "lon": dataset["lon"],
        },
        coords={"time": dataset["time"], "plev": ("plev", [250, 260, 300], {"units": "hPa"})},
    )
    path = save(levels, tmp_path / "b.nc")
    with pytest.raises(InputError, match="holds no field"):
        read([path], fields=("T200",))
    assert "250 hPa stands in" in read([path], stand_ins=("T200=250",))["T200"].attrs["note"]


def test_a_region_has_values_only_near_its_columns(tmp_path):
    lat, lon = (a.ravel() for a in np.meshgrid(np.arange(10.0, 20.5, 0.5), np.arange(-5, 5.5, 0.5)))
    keep = np.hypot(lat - 15, lon) < 5
    time = xr.date_range("2000-01-01", periods=1, calendar="noleap", use_cftime=True)
    dataset = xr.Dataset(
        {
            "PS": (("time", "ncol"), np.full((1, keep.sum()), 1e5), {"units": "Pa"}),
            "Z500": (("time", "ncol"), np.full((1, keep.sum()), 5800.0), {"units": "m"}),
            "lat": ("ncol", lat[keep], {"units": "degrees_north"}),
            "lon": ("ncol", lon[keep], {"units": "degrees_east"}),
        },
        coords={"time": time},
    )
    path = save(dataset, tmp_path / "a.nc")
    out = read([path]).load()
    check_dataset(out)
    # Nothing is carried into the corners, not even where the rule for ground would.
    for name, value in [("PS", 1e5), ("Z500", 5800)]:
        assert 0.05 < float(out[name].isnull().mean()) < 0.4
        np.testing.assert_allclose(out[name].values[np.isfinite(out[name].values)], value)
    # A grid asked for is whole.
    assert read([path], grid=(181, 360))["PS"].shape == (1, 181, 360)


def test_recognized_by_its_columns(tmp_path):
    assert unstructured.recognize(save(e3sm(), tmp_path / "a.nc"))
    grid = xr.Dataset({"TMQ": (("lat", "lon"), np.zeros((2, 3)), {"units": "kg m-2"})})
    assert not unstructured.recognize(save(grid, tmp_path / "grid.nc"))
    track = xr.Dataset({"wind": ("record", np.zeros(3), {"units": "m s-1"})})
    assert not unstructured.recognize(save(track, tmp_path / "track.nc"))
    assert not unstructured.recognize(str(tmp_path / "absent.nc"))


def test_it_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="can be read, not written"):
        unstructured.write(xr.Dataset(), tmp_path / "out.nc")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.drop_vars(["lat", "lon"]).rename(ncol="other"), "no fields on unstructured"),
        (lambda d: d.isel(ncol=slice(10, None)), "must have 3000 columns as .*, got 2990"),
        (lambda d: d.assign(lat=-d.lat, TMQ=d.TMQ), "lie elsewhere than in"),
        (lambda d: d.drop_vars("P0"), "variable P0: hybrid levels need"),
        (lambda d: d.assign(PS=d.PS.assign_attrs(units="K")), "variable PS: units must convert"),
        (lambda d: d.assign(lat=d.lat.assign_attrs(units="m")), "must be in degrees or radians"),
        (lambda d: d.assign(lat=d.lat * 2), "columns must lie on the globe"),
        (lambda d: d.assign(TMQ=d.TMQ.assign_attrs(units="K")), "units must convert to kg m-2"),
    ],
)
def test_a_bad_file_is_one_line_or_skipped(tmp_path, change, problem):
    good = save(e3sm(), tmp_path / "a.nc")
    with xr.set_options(keep_attrs=True):
        later = change(e3sm(start="0001-01-02"))
    bad = save(later, tmp_path / "b.nc")
    with pytest.raises(InputError, match=problem) as caught:
        read([good, bad])
    assert caught.value.file == bad
    assert "\n" not in str(caught.value)
    dataset = read([good, bad], skip_bad=True)
    assert dataset.sizes["time"] == 2
    assert dataset.attrs["bad_files"].startswith(bad)


def test_columns_must_lie_apart(tmp_path):
    path = save(e3sm(num_columns=1), tmp_path / "a.nc")
    with pytest.raises(InputError, match=r"a.nc: columns must lie apart to be regridded; 1 don't"):
        read([path])
    path = save(
        e3sm().assign(lat=0 * e3sm().lat + e3sm().lat[0]).isel(ncol=[5] * 20), tmp_path / "b.nc"
    )
    with pytest.raises(InputError, match="20 don't"):
        read([path])


def test_a_field_of_strings_is_refused_and_other_text_is_not(tmp_path):
    dataset = e3sm()
    dataset["site"] = dataset["TMQ"].isel(time=0).astype(str)
    assert "TMQ" in read([save(dataset, tmp_path / "a.nc")])
    dataset["TMQ"] = dataset["TMQ"].astype(str)
    with pytest.raises(InputError, match=r"b\.nc, variable TMQ: must hold numbers, got strings"):
        read([save(dataset, tmp_path / "b.nc")])


def test_stated_units_of_surface_pressure_move_the_levels(tmp_path):
    dataset = e3sm()
    dataset["PS"] = (dataset["PS"] / 100).assign_attrs(units="")
    path = save(dataset, tmp_path / "a.nc")
    with pytest.raises(InputError, match="variable PS: units must convert to Pa"):
        read([path])
    stated = read([path], units=("PS=hPa",)).sel(lat=0, method="nearest")
    np.testing.assert_allclose(stated["U850"], 1.62519, rtol=1e-4)
    np.testing.assert_allclose(stated["PS"], 1e5, rtol=0.01)


def test_profiles_without_surface_pressure_are_left_out(tmp_path):
    path = save(e3sm().drop_vars("PS"), tmp_path / "a.nc")
    assert "U850" not in read([path])


class TestRealFields:
    pytestmark = needs_real_data

    def test_the_cyclone_is_where_and_as_deep_as_its_columns_say(self):
        data, mesh = CAM / "ne120_TCsubset.nc", CAM / "ne120_TCsubset.ug"
        dataset = read([data], mesh=str(mesh), grid=(1801, 3600)).isel(time=0)
        region = dataset.sel(lat=slice(-24, -11), lon=slice(108, 121)).load()
        lowest = region["PS"].where(region["PS"] == region["PS"].min(), drop=True)
        # Lowest of the columns: 968.51 hPa at 17.66 S 114.54 E. The nearest point of this grid of
        # 0.1 degrees is 0.06 off, a quarter of the way to the next columns with some 4 hPa more.
        assert float(lowest.values[0, 0]) / 100 == pytest.approx(969.0, abs=0.5)
        assert float(lowest["lat"][0]) == pytest.approx(-17.66, abs=0.11)
        assert float(lowest["lon"][0]) == pytest.approx(114.54, abs=0.11)
        # On the grid of CAM's own spacing its bottom falls between four points.
        coarse = read([data], mesh=str(mesh)).isel(time=0).load()
        assert 968.51 < float(coarse["PS"].min()) / 100 < 971.5
        # The warm core: 8 K at 300 hPa in the file; at 400 hPa, next to it, no less than 5.
        core = region["T400"].sel(lat=-17.7, lon=114.5, method="nearest")
        assert float(core - region["T400"].median()) > 5
        # Hypsometric: 1000 hPa lies below the 969.4 hPa at the surface, by about 8.9 km ln(...).
        assert float(region["Z1000"].min()) == pytest.approx(-8927 * np.log(1000 / 969.4), abs=25)
        assert set(coarse.data_vars) >= {"PS", "T200", "T500", "Z200", "Z500", "Z1000"}

    def test_a_global_file_comes_over_within_its_own_range(self):
        columns = unstructured.Columns(ReadOptions())
        gridded = columns.open(str(CAM / "camse_unstructured_grid.nc"))[0]["T850"]
        assert gridded.shape == (192, 288)
        with xr.open_dataset(CAM / "camse_unstructured_grid.nc") as raw:
            low, high = float(raw["T850"].min()), float(raw["T850"].max())
            assert low - 0.01 <= float(gridded.min()) < low + 1
            assert high - 1 < float(gridded.max()) <= high + 0.06
