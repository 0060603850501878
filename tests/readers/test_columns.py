"""Columns onto a grid: k-d tree and weight files, on fields whose values are known everywhere."""

import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.readers.columns import (
    column_spacing_deg,
    matching_grid,
    nearest_weights,
    weights_from_file,
)


def spiral(num):
    """Columns spread evenly over the sphere (Fibonacci lattice): lat, lon in degrees."""
    k = np.arange(num) + 0.5
    lat = np.rad2deg(np.arcsin(1 - 2 * k / num))
    return lat, np.mod(k * 360.0 * (np.sqrt(5) - 1) / 2, 360.0)


def smooth(lat, lon):
    """A field of planetary waves, between about 250 and 300."""
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    return 275 + 20 * np.cos(phi) ** 2 * np.cos(2 * lam) + 5 * np.sin(phi)


def test_spacing_is_the_side_of_a_square_for_each_column():
    # 4 pi sr shared by 10,000 columns: sqrt(4 pi / 10000) rad = 2.03 degrees.
    assert column_spacing_deg(*spiral(10_000)) == pytest.approx(2.0309, rel=1e-4)
    lat, lon = spiral(10_000)
    region = (np.abs(lat) < 20) & (np.abs(lon - 180) < 20)
    assert column_spacing_deg(lat[region], lon[region]) == pytest.approx(2.03, rel=0.1)


@pytest.mark.parametrize(
    ("num_elements", "grid"),
    # ne30 and ne120 have 6 * ne^2 * 9 + 2 columns; CESM pairs them with these two grids.
    [(30, (192, 288)), (120, (768, 1152))],
)
def test_the_matching_grid_is_the_one_cesm_pairs(num_elements, grid):
    num_columns = 6 * num_elements**2 * 9 + 2
    assert matching_grid(np.rad2deg(np.sqrt(4 * np.pi / num_columns))) == grid


def test_smooth_fields_come_over_everywhere_poles_and_date_line_included():
    lat, lon = spiral(10_000)
    weights = nearest_weights(lat, lon, None)
    assert weights.covered.all()
    assert (weights.lat.size, weights.lon.size) == matching_grid(column_spacing_deg(lat, lon))
    out = weights.apply(smooth(lat, lon))
    truth = smooth(weights.lat[:, None], weights.lon[None, :])
    # Steepest slope 40 per radian; columns are 0.035 rad apart, so neighbors differ by up to 1.4.
    assert np.abs(out - truth).max() < 0.7
    assert np.sqrt(np.mean((out - truth) ** 2)) < 0.15
    # At a pole all longitudes are one point.
    assert np.ptp(out[0]) < 1e-4


def test_weights_are_means_and_a_column_on_a_grid_point_is_its_value():
    lat, lon = spiral(2000)
    grid_lat, grid_lon = regular_grid(46, 72)
    lat[7], lon[7] = grid_lat[20], grid_lon[30]
    weights = nearest_weights(lat, lon, (46, 72))
    np.testing.assert_allclose(weights.matrix.sum(axis=1), 1.0)
    assert weights.matrix.data.min() >= 0
    values = np.arange(2000.0)
    assert weights.apply(values)[20, 30] == pytest.approx(7.0, abs=1e-6)


def test_beyond_two_spacings_of_a_region_nothing_is_covered():
    lat, lon = (a.ravel() for a in np.meshgrid(np.arange(10.0, 20.5, 0.5), np.arange(-5, 5.5, 0.5)))
    whole = nearest_weights(lat, lon, (361, 720))
    assert whole.covered.shape == (361, 720)
    # Spacing 0.5 * sqrt(cos 15) = 0.49 degrees, so half a degree outside 10..20 N, 5 W..5 E is
    # covered and one is not, save in the east and west at 20 N, where it is 0.94 degrees long.
    rows, columns = np.flatnonzero(whole.covered.any(1)), np.flatnonzero(whole.covered.any(0))
    assert (whole.lat[rows[0]], whole.lat[rows[-1]]) == (9.5, 20.5)
    assert sorted(whole.lon[columns]) == [*np.arange(0, 6.5, 0.5), *np.arange(354, 360, 0.5)]
    part = nearest_weights(lat, lon, None)
    assert part.lat[0] > 8.5
    assert part.lat[-1] < 21.5
    assert part.covered.mean() > 0.8
    np.testing.assert_allclose(part.apply(np.full(lat.size, 3.0)), 3.0)


def test_several_times_at_once():
    lat, lon = spiral(500)
    weights = nearest_weights(lat, lon, (19, 36))
    fields = np.random.default_rng(0).random((2, 3, 500))
    out = weights.apply(fields)
    assert out.shape == (2, 3, 19, 36)
    np.testing.assert_array_equal(out[1, 2], weights.apply(fields[1, 2]))


# Weight files -------------------------------------------------------------------------------------


def weight_file(folder, *, radians=False, descending=False, covered=1.0, **changes):
    """Conservative weights that average columns of half a degree into cells of 30 x 45 degrees."""
    num_lat, num_lon = 6, 8
    lat, lon = -75.0 + 30 * np.arange(num_lat), 22.5 + 45 * np.arange(num_lon) - 180
    if descending:
        lat = lat[::-1]
    columns = np.arange(12 * 16)
    column_lat = -82.5 + 15 * (columns // 16)
    column_lon = -180 + 11.25 + 22.5 * (columns % 16)
    area = np.sin(np.deg2rad(column_lat + 7.5)) - np.sin(np.deg2rad(column_lat - 7.5))
    row = np.abs(lat[:, None] - column_lat).argmin(0) * num_lon
    row = row + np.abs(lon[:, None] - column_lon).argmin(0)
    share = area / np.bincount(row, area)[row]
    yc, xc = np.meshgrid(lat, lon, indexing="ij")
    scale, units = (np.pi / 180, "radians") if radians else (1.0, "degrees")
    contents = {
        "S": ("n_s", share * covered),
        "row": ("n_s", (row + 1).astype(np.int32)),
        "col": ("n_s", (columns + 1).astype(np.int32)),
        "yc_b": ("n_b", yc.ravel() * scale, {"units": units}),
        "xc_b": ("n_b", xc.ravel() * scale, {"units": units}),
        "xc_a": ("n_a", column_lon * 1.0),
        "dst_grid_dims": ("dst_grid_rank", np.array([num_lon, num_lat], np.int32)),
        **changes,
    }
    path = folder / "weights.nc"
    xr.Dataset({n: v for n, v in contents.items() if v is not None}).to_netcdf(path)
    return str(path), column_lat, column_lon, area


@pytest.mark.parametrize("options", [{}, {"radians": True}, {"descending": True}])
def test_a_weight_file_conserves_where_its_weights_do(tmp_path, options):
    path, column_lat, column_lon, area = weight_file(tmp_path, **options)
    weights = weights_from_file(path)
    np.testing.assert_allclose(weights.lat, [-75, -45, -15, 15, 45, 75])
    np.testing.assert_allclose(weights.lon, 22.5 + 45 * np.arange(8))
    assert weights.num_columns == 192
    values = smooth(column_lat, column_lon)
    out = weights.apply(values)
    areas = cell_areas_km2(weights.lat, weights.lon)
    mean = (out * areas).sum() / areas.sum()
    assert mean == pytest.approx((values * area).sum() / area.sum(), rel=1e-6)
    # The waves' longitudes are kept: 275 + 20 cos2 cos(2 lon) is highest near 0 and 180.
    assert out[2, 0] > 280 > 270 > out[2, 2]


def test_cells_hardly_covered_have_no_value(tmp_path):
    path, *_ = weight_file(tmp_path, covered=np.where(np.arange(192) < 32, 0.4, 0.6))
    weights = weights_from_file(path)
    # The first 32 columns fill the southernmost of six rows.
    assert weights.covered.all(axis=1).tolist() == [False, True, True, True, True, True]
    np.testing.assert_allclose(weights.apply(np.full(192, 5.0)), 5.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"S": None}, "must hold S, row, .* lacks S"),
        ({"xc_a": None}, "lacks n_a"),
        ({"dst_grid_dims": ("rank", [48])}, r"latitude-longitude grid, got dst_grid_dims \[48\]"),
        ({"dst_grid_dims": ("rank", [8, 5])}, r"got dst_grid_dims \[8, 5\] for 48 cells"),
        ({"yc_b": ("n_b", np.linspace(-80, 80, 48))}, "got a curved one"),
        ({"xc_b": ("n_b", np.linspace(0, 350, 48))}, "got a curved one"),
        ({"row": ("n_s", np.arange(192) + 1)}, "variable row: must lie in 1 to 48"),
        ({"col": ("n_s", np.arange(192))}, "variable col: must lie in 1 to 192"),
        ({"S": ("n_s", np.zeros(192))}, "covers no cell"),
    ],
)
def test_a_weight_file_that_does_not_fit_is_one_line(tmp_path, changes, problem):
    path, *_ = weight_file(tmp_path, **changes)
    with pytest.raises(InputError, match=problem) as caught:
        weights_from_file(path)
    assert caught.value.file == path
