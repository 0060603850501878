"""Bowls with rims of known height, and random fields against a plain flood fill."""

from collections import deque

import numpy as np
import pytest

from exastorm.grid import great_circle_km, regular_grid
from exastorm.labels.cyclones.closed_contours import (
    Climb,
    has_easy_way_out,
    highest_value,
    in_single,
    lowest_near,
    one_of_a_pole,
)
from exastorm.labels.cyclones.tempest_grid import TempestGrid, least_cosine
from exastorm.linking.pointers import angle_deg
from exastorm.physics.surroundings import Surroundings

LAT, LON = regular_grid(181, 360)
GRID = TempestGrid.of(Surroundings.of(LAT, LON))
KM_PER_DEGREE = great_circle_km(0.0, 0.0, 0.0, 1.0)


def distance(lat, lon, at=(LAT, LON)):
    return great_circle_km(lat, lon, at[0][:, None], at[1][None]) / KM_PER_DEGREE


def bowl(lat, lon, *, rim=5.0, at=(LAT, LON)):
    """0 at a point, a rim 2 to 3 degrees away, 1 elsewhere."""
    away = distance(lat, lon, at)
    values = np.where((away >= 2.0) & (away < 3.2), rim, 1.0)
    values[away < 0.1] = 0.0
    return values.astype(np.float32)


def strength(values, place, radius_deg=4.5, search_deg=0.0, grid=GRID):
    return Climb(values, grid, lowest_near(values, grid, place, search_deg), radius_deg).strength()


@pytest.mark.parametrize(("lat", "lon"), [(10.0, 100.0), (-30.0, 0.0), (0.0, 359.0), (70.0, 1.0)])
def test_strength_is_the_height_of_the_rim(lat, lon):
    place = round(lat + 90), round(lon)
    assert strength(bowl(lat, lon), place) == 5.0


@pytest.mark.parametrize(("lat", "lon"), [(89.0, 40.0), (90.0, 0.0), (-88.0, 200.0)])
def test_over_the_pole_too(lat, lon):
    assert strength(bowl(lat, lon), (round(lat + 90), round(lon))) == 5.0


def test_strength_is_the_height_of_the_lowest_pass():
    values = bowl(10.0, 100.0)
    values[100, 102:104] = 3.0  # a pass to the east
    assert strength(values, (100, 100)) == 3.0
    values[100, 102:104] = np.nan  # a gap without values stops no walk, 1 inside the rim does
    assert strength(values, (100, 100)) == 1.0


def test_a_rim_beyond_the_radius_does_not_count():
    # The walk fails as soon as it meets a cell that is far: a rim cell beyond the radius, too.
    assert strength(bowl(10.0, 100.0), (100, 100), radius_deg=1.5) == 1.0


def test_corners_do_not_let_through():
    # A staircase of rim cells that touch over corners only.
    values = np.ones((181, 360), dtype=np.float32)
    values[100, 100] = 0.0
    for step in range(4):
        for row, column in (
            (step, 3 - step),
            (-step, 3 - step),
            (step, step - 3),
            (-step, step - 3),
        ):
            values[100 + row, 100 + column] = 7.0
    assert strength(values, (100, 100)) == 7.0


def test_the_walk_begins_at_the_lowest_value_near_the_point():
    values = bowl(10.0, 100.0)
    assert strength(values, (100, 101), search_deg=0.0) == 4.0  # from 1 over a rim of 5
    assert strength(values, (100, 101), search_deg=1.0) == 5.0
    assert lowest_near(values, GRID, (100, 101), 1.0) == (100, 100)
    assert lowest_near(values, GRID, (100, 101), 0.5) == (100, 101)


def test_of_equally_low_cells_the_first_met():
    # South, north, east, west, in this order, where the point itself is higher.
    values = np.ones((181, 360), dtype=np.float32)
    ring = [(99, 0), (101, 0), (100, 1), (100, 359)]
    for n, place in enumerate(ring):
        for other in ring[n:]:
            values[other] = 0.0
        assert lowest_near(values, GRID, (100, 0), 1.2) == place
        values[place] = 1.0
    assert lowest_near(values, GRID, (100, 0), 1.2) == (100, 0)


def test_missing_values_hold_nothing():
    values = bowl(10.0, 100.0)
    values[100, 100] = np.nan
    assert np.isnan(strength(values, (100, 100)))
    values[:] = np.nan
    assert np.isnan(strength(values, (100, 100), search_deg=1.0))
    assert lowest_near(values, GRID, (100, 100), 1.0) == (100, 100)


def test_points_on_a_pole_are_one_where_they_are_alike():
    values = bowl(90.0, 0.0)
    assert one_of_a_pole(values, GRID, (180, 77)) == (180, 0)
    assert strength(values, (180, 77)) == strength(values, (180, 0)) == 5.0
    assert one_of_a_pole(values, GRID, (179, 77)) == (179, 77)
    values[180, 5] = 1.0
    assert one_of_a_pole(values, GRID, (180, 77)) == (180, 77)


def test_no_way_out_at_all():
    # The corner of a grid that ends there, with every cell within the radius.
    lat, lon = np.arange(0.0, 3.0), np.arange(0.0, 3.0)
    grid = TempestGrid.of(Surroundings.of(lat, lon))
    values = np.ones((3, 3), dtype=np.float32)
    values[1, 1] = 0.0
    assert strength(values, (1, 1), radius_deg=9.0, grid=grid) == np.inf


def test_edge_columns_of_a_grid_that_ends_can_be_entered_but_not_left():
    # Two rows apart the middle column is walled; the way round leads through the first column,
    # which a walk can enter but leave only at its ends, which lie far.
    lat, lon = np.arange(0.0, 9.0), np.arange(50.0, 59.0)
    grid = TempestGrid.of(Surroundings.of(lat, lon))
    values = np.full((9, 9), 5.0, dtype=np.float32)
    values[4, :5] = 1.0  # from the center west to the edge
    values[4, 4] = 0.0
    assert strength(values, (4, 4), radius_deg=4.2, grid=grid) == 5.0
    values[:, 0] = 1.0  # along the edge north and south: beyond the radius
    assert strength(values, (4, 4), radius_deg=4.2, grid=grid) == 1.0
    # From the edge column itself there is no way but along it.
    values[:] = 1.0
    values[4, 0] = 0.0
    values[2, 0] = values[6, 0] = 8.0
    assert strength(values, (4, 0), radius_deg=3.5, grid=grid) == 8.0


def test_thresholds_are_compared_in_double_precision():
    # 0.7 in single precision is 0.699999988: less than the 0.7 asked for.
    values = np.where(distance(10.0, 100.0) < 0.1, 0.0, np.float32(0.7)).astype(np.float32)
    climb = Climb(values, GRID, (100, 100), 4.0)
    assert climb.strength() == float(np.float32(0.7)) < 0.7
    assert not climb.is_closed(0.7)
    assert climb.is_closed(float(np.float32(0.7)))
    assert float(in_single(0.7)) > 0.7 > float(np.float32(0.7))
    assert in_single(0.5) == 0.5


def plain_verdict(values, place, radius_deg, threshold):
    """Closed or not, by a flood fill cell by cell, over the seam, never over a pole."""
    away = distance(LAT[place[0]], LON[place[1]])
    seen, queue = {place}, deque([place])
    while queue:
        row, column = queue.popleft()
        if away[row, column] > radius_deg:
            return False
        if float(values[row, column] - values[place]) >= threshold:
            continue
        for i, j in ((row - 1, column), (row + 1, column), (row, column + 1), (row, column - 1)):
            j %= 360
            if 0 <= i < 181 and (i, j) not in seen:
                seen.add((i, j))
                queue.append((i, j))
    return True


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_strength_is_where_the_verdict_of_a_flood_fill_changes(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(181, 360)).astype(np.float32)
    values += (0.2 * distance(*rng.uniform(-60, 60, 2))).astype(np.float32)
    for _ in range(8):
        place = int(rng.integers(0, 181)), int(rng.integers(0, 360))
        values[place] = -3.0
        # Not a whole number of cells: which cells are far is beyond doubt.
        climb = Climb(values, GRID, place, 3.6)
        found = climb.strength()
        assert 0 < found < np.inf
        assert climb.is_closed(found)
        assert plain_verdict(values, place, 3.6, found)
        more = float(np.nextafter(np.float32(found), np.float32(np.inf)))
        assert not climb.is_closed(more)
        assert not plain_verdict(values, place, 3.6, more)
        assert climb.strength(at_least=found) == found


def test_the_quick_look_is_never_wrong():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(181, 360)).astype(np.float32)
    rows, columns = rng.integers(0, 181, 300), rng.integers(0, 360, 300)
    values[rows, columns] = -2.0
    places = np.stack([rows, columns])
    easy = has_easy_way_out(values, GRID, places, 3.6, 2.5)
    closed = [Climb(values, GRID, (int(i), int(j)), 3.6).is_closed(2.5) for i, j in places.T]
    assert easy.any()
    assert np.any(closed)
    assert not np.any(easy & closed)


def test_discs_hold_the_cells_within_a_radius():
    disc = GRID.disc((100, 0), 2.01, angle_deg)
    away = disc.window(distance(10.0, 0.0))
    # The point, 8 around it, and 2 degrees away one in each direction: 13.
    assert disc.near.sum() == 13
    assert np.array_equal(disc.near, away <= 2.01)
    values = np.where(distance(10.0, 0.0) <= 2.01, distance(10.0, 0.0), 99.0)
    assert highest_value(disc.window(values), disc) == pytest.approx(2.0)
    values[:] = np.nan
    assert np.isnan(highest_value(disc.window(values), disc))


def test_a_radius_is_met_to_the_last_digit():
    for radius in (1.0, 4.0, 5.5, 6.5, 90.0):
        least = least_cosine(radius, angle_deg)
        assert angle_deg(least) <= radius
        assert angle_deg(np.nextafter(least, -1.0)) > radius
    assert least_cosine(180.0, angle_deg) == -1.0


def test_uneven_longitudes_are_measured_one_by_one():
    # Rounded to single precision the spacing varies; the disc still is the same as measured.
    lon = np.arange(0.0, 360.0, 0.7).astype(np.float32).astype(np.float64)[:514]
    lat = np.arange(-20.0, 20.0, 0.7)
    lon = lon * (360.0 / (lon[-1] + 0.7))
    grid = TempestGrid.of(Surroundings.of(lat, lon))
    assert grid.wraps
    assert grid.unevenness > 0
    for column in (0, 100, 513):
        disc = grid.disc((20, column), 4.3)
        away = disc.window(distance(lat[20], lon[column], (lat, lon)))
        assert np.array_equal(disc.near, away <= 4.3)
