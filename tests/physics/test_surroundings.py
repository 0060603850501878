"""What lies around a point, measured along great circles."""

import numpy as np
import pytest

from exastorm.grid import great_circle_km, regular_grid
from exastorm.physics.surroundings import Surroundings

KM_PER_DEGREE = 111.195
GRID = Surroundings.of(*regular_grid(181, 360))


def distance_from(grid, row, column):
    """Great-circle distance of every grid point, degrees, by another function."""
    lat, lon = np.meshgrid(grid.lat, grid.lon, indexing="ij")
    return great_circle_km(grid.lat[row], grid.lon[column], lat, lon) / KM_PER_DEGREE


@pytest.mark.parametrize("place", [(90, 0), (150, 359), (20, 180), (178, 10)])
def test_disc_holds_every_cell_within_the_radius(place):
    cells = GRID.disc(*place, 5.0)
    inside = np.zeros((181, 360), bool)
    inside[cells.rows, cells.columns] = cells.within(5.0)
    assert np.array_equal(inside, distance_from(GRID, *place) <= 5.0 + 1e-5)


def test_box_is_as_wide_in_kilometers_as_high():
    # At 60 N a degree of longitude is half as long: 8 degrees north and south, 16 east and west.
    cells = GRID.box(150, 0, 8.0)
    assert cells.rows.size == 17
    assert cells.columns.size == 33
    assert cells.columns[0, 0] == 344


def test_rings_keep_their_distance():
    distances = np.array([1.0, 5.0, 12.0])
    points = GRID.rings(140, 3, distances, 16)
    lat, lon = np.meshgrid(GRID.lat, GRID.lon, indexing="ij")
    # Latitude is linear between rows, so its bilinear value is exact.
    at_lat = points.values(lat)
    # Longitude counted from 180 degrees west of the center has no jump near it.
    at_lon = points.values((lon + 180 - 3) % 360) - 180 + 3
    reached = great_circle_km(GRID.lat[140], 3.0, at_lat, at_lon) / KM_PER_DEGREE
    np.testing.assert_allclose(reached, np.broadcast_to(distances[:, None], (3, 16)), rtol=1e-5)
    # Bearing 0 is north, bearing 90 east.
    assert at_lat[1, 0] == pytest.approx(GRID.lat[140] + 5.0)
    assert at_lon[1, 4] > 3.0


def test_rise_is_that_of_the_weakest_direction():
    # A cone that rises by 100 Pa a degree, cut off at 300 Pa on its western side.
    distance = distance_from(GRID, 100, 0)
    west = (np.arange(360)[None, :] > 180) & (distance > 0)
    field = np.where(west, np.minimum(100 * distance, 300), 100 * distance)
    assert GRID.weakest_rise(field, 100, 0, 5.0) == pytest.approx(300, abs=1)
    assert GRID.weakest_rise(field, 100, 0, 2.0) == pytest.approx(200, abs=1)


def test_lowest_within_takes_the_nearest_of_equals_and_skips_missing_values():
    field = np.full((181, 360), 5.0)
    field[100, 2] = field[100, 359] = 1.0
    field[101, 0] = np.nan
    assert GRID.lowest_within(field, 100, 0, 3.0) == (100, 359)
    assert GRID.lowest_within(field, 100, 0, 0.5) == (100, 0)
    assert GRID.lowest_within(np.full((181, 360), np.nan), 100, 0, 3.0) == (100, 0)


def test_highest_value_stays_within_the_radius():
    field = distance_from(GRID, 100, 0)
    assert GRID.highest_value(field, 100, 0, 4.0) == pytest.approx(4.0, abs=1e-4)


def test_azimuthal_mean_of_a_cone_is_its_radius():
    field = distance_from(GRID, 110, 350)
    radii, means = GRID.azimuthal_mean(field, 110, 350, 6.0, 12)
    assert radii[0] == 0.25
    # A cone bends most at its tip; between its points, a degree apart, bilinear values lie above
    # it by up to an eighth of the second derivative, 1 / distance.
    np.testing.assert_allclose(means[2:], radii[2:], atol=1 / 8)
    assert np.all(means[2:] >= radii[2:])


def test_rolled_field_gives_the_same_numbers_exactly():
    field = np.random.default_rng(0).normal(size=(181, 360))
    rolled = np.roll(field, 123, axis=1)
    column = (350 + 123) % 360
    assert GRID.weakest_rise(field, 60, 350, 5.0) == GRID.weakest_rise(rolled, 60, column, 5.0)
    for a, b in zip(
        GRID.azimuthal_mean(field, 60, 350, 6.0, 32),
        GRID.azimuthal_mean(rolled, 60, column, 6.0, 32),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_part_of_the_globe_ends_at_its_edges():
    grid = Surroundings.of(np.arange(0.0, 31.0), np.arange(100.0, 141.0))
    assert not grid.wraps
    cells = grid.disc(15, 0, 3.0)
    assert cells.columns.min() == 0
    assert cells.columns.max() == 3
    field = np.broadcast_to(np.arange(41.0), (31, 41))
    # West of the edge the edge itself counts: no rise there.
    assert grid.weakest_rise(field, 15, 0, 3.0) == 0.0
    rows, columns = grid.touching(0, 0)
    assert set(rows) == {0, 1}
    assert set(columns) == {0, 1}


def test_spacing():
    assert GRID.spacing_deg == pytest.approx(1.0)
