"""Grids obey the sphere: areas sum to it, distances are those of arcs, longitudes wrap."""

import numpy as np
import pytest

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.errors import InputError
from exastorm.grid import (
    area_weights,
    cell_areas_km2,
    check_grid,
    check_without_gap,
    edges,
    great_circle_km,
    is_global_in_longitude,
    is_symmetric_in_latitude,
    longitude_difference,
    nearest_index,
    regular_grid,
    wrap_longitude,
)


@pytest.mark.parametrize("shape", [(2, 3), (19, 36), (192, 288)])
def test_areas_sum_to_the_sphere(shape):
    # 4 pi R^2 = 5.10066e8 km2 for R = 6371.0088 km.
    assert cell_areas_km2(*regular_grid(*shape)).sum() == pytest.approx(5.10066e8, rel=1e-5)


def test_area_weights_are_cosines_of_mean_one():
    # cos 0, 60, 90 = 1, 0.5, 0; over their mean 0.5. Files of single precision end past the pole.
    weights = area_weights([0.0, 60.0, 90.00001])
    np.testing.assert_allclose(weights, [2.0, 1.0, 0.0], atol=1e-6)
    assert weights.dtype == np.float32
    assert weights.min() == 0
    # Between the poles rows of even spacing relate as the areas of their cells.
    lat, lon = regular_grid(19, 36)
    ratio = cell_areas_km2(lat, lon)[1:-1, 0] / area_weights(lat)[1:-1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert area_weights(lat).mean() == pytest.approx(1.0)


def test_area_of_a_one_degree_cell_at_the_equator():
    # R^2 * dlon * 2 sin(0.5 deg) = 6371.0088^2 * 0.0174533 * 0.0174531 = 12364.2 km2.
    lat, lon = np.arange(-90.0, 91.0), np.arange(360.0)
    assert cell_areas_km2(lat, lon)[90, 0] == pytest.approx(12364.2, rel=1e-4)


def test_areas_of_a_regional_grid_do_not_wrap():
    # 10 to 20 degrees east in one-degree cells: 11 columns of one degree, not 11 of 360 / 11.
    lat, lon = np.arange(-5.0, 6.0), np.arange(10.0, 21.0)
    assert not is_global_in_longitude(lon)
    assert cell_areas_km2(lat, lon)[5, 0] == pytest.approx(12364.2, rel=1e-4)


def test_the_paper_grid():
    # CAM's finite-volume grid: 180 / 767 = 0.23468 and 360 / 1152 = 0.3125 degrees.
    lat, lon = regular_grid(768, 1152)
    assert (lat[0], lat[-1], lon[0], lon[-1]) == (-90.0, 90.0, 0.0, 359.6875)
    assert lat[1] - lat[0] == pytest.approx(0.23468, abs=1e-5)
    assert is_global_in_longitude(lon)


def test_great_circles():
    quarter = np.pi / 2 * EARTH_RADIUS_KM  # 10007.56 km from equator to pole
    assert great_circle_km(0.0, 0.0, 90.0, 123.0) == pytest.approx(quarter)
    assert great_circle_km(0.0, 350.0, 0.0, 80.0) == pytest.approx(quarter)
    # One degree of longitude at 60 degrees is half of one at the equator (cos 60 = 0.5).
    ratio = great_circle_km(60, 0, 60, 1) / great_circle_km(0, 0, 0, 1)
    assert ratio == pytest.approx(0.5, rel=1e-3)


def test_longitudes_wrap():
    assert wrap_longitude([-10.0, 360.0, 725.0]).tolist() == [350.0, 0.0, 5.0]
    assert wrap_longitude(-1e-15) == 0.0  # np.mod alone gives 360.0 here
    assert longitude_difference(350.0, 10.0) == -20.0
    assert longitude_difference(10.0, 350.0) == 20.0


def test_nearest_index_across_the_seam():
    lat, lon = regular_grid(19, 36)
    # 47 N is nearest to 50 N (row 14 of -90, -80, ...); 358 E is nearest to 0 E (column 0).
    assert nearest_index(lat, lon, 47.0, 358.0) == (14, 0)


def test_edges_are_half_way_and_clipped():
    assert edges([-90.0, 0.0, 90.0], -90.0, 90.0).tolist() == [-90.0, -45.0, 45.0, 90.0]


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [
        ([10.0, 0.0], [0.0, 1.0], "must ascend"),
        ([0.0, 0.0], [0.0, 1.0], "must ascend"),
        ([0.0, 91.0], [0.0, 1.0], r"\[-90, 90\]"),
        ([0.0, 1.0], [-10.0, 10.0], r"\[0, 360\]"),
        ([0.0, 1.0], [0.0, 360.0], r"\[0, 360\)"),
        ([0.0], [0.0, 1.0], "at least 2 points"),
        ([[0.0, 1.0]], [0.0, 1.0], "one dimension"),
    ],
)
def test_bad_grids_are_refused(lat, lon, words):
    with pytest.raises(InputError, match=words):
        check_grid(lat, lon, "some.nc")


def test_a_grid_needs_points():
    with pytest.raises(ValueError, match="at least 2 x 1"):
        regular_grid(1, 4)


def test_a_region_across_greenwich_is_refused():
    # Read into [0, 360) its halves lie apart, and 60 E would be the neighbor of 300 E.
    lon = np.concatenate([np.arange(0.0, 61.0, 2.5), np.arange(300.0, 360.0, 2.5)])
    with pytest.raises(InputError, match="must have no gap, got one from 60 to 300 degrees"):
        check_without_gap(lon)
    check_without_gap(np.arange(0.0, 61.0, 2.5))
    # Finer in one part than in another is no hole.
    check_without_gap(np.concatenate([np.arange(0.0, 10.0, 0.5), np.arange(10.0, 20.0)]))


def test_latitudes_that_have_opposites_are_symmetric():
    assert is_symmetric_in_latitude(regular_grid(768, 2)[0])
    # A Gaussian grid in single precision has no equator.
    gauss = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(64)[0]))
    assert is_symmetric_in_latitude(gauss.astype(np.float32))
    assert not is_symmetric_in_latitude(regular_grid(768, 2)[0][1:])
    assert not is_symmetric_in_latitude([-90.0, -44.0, 45.0, 90.0])
