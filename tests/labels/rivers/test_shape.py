"""Length, width and direction are the object's own, wherever and however it lies."""

import numpy as np
import pytest
from tests.labels.conftest import river

from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.labels.rivers.shape import measure_object
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import label_regions, num_cells, region_boxes

LAT, LON = regular_grid(361, 720)
GRID = Surroundings.of(LAT, LON)
AREAS = cell_areas_km2(LAT, LON)


def measure(mask, grid=GRID, areas=AREAS, weight=None):
    """Measures of the largest object of a mask."""
    labels, num = label_regions(mask, wrap=grid.wraps)
    largest = int(num_cells(labels, num).argmax())
    box = region_boxes(labels, num, wrap=grid.wraps)[largest]
    return measure_object(labels, largest + 1, box, grid, areas, weight)


def band(lat0, lon0, tilt, length_km=3560.0, width_km=490.0):
    return river(lat0, lon0, tilt, lat=LAT, lon=LON, length_km=length_km, width_km=width_km)


def arc(lat0, lon0, radius_km, width_km, first_deg, last_deg):
    """Cells (H, W) of a bent band: part of a ring around a place, by distance and direction."""
    phi, lam = np.deg2rad(LAT)[:, None], np.deg2rad(LON - lon0)[None, :]
    phi0 = np.deg2rad(lat0)
    east = np.cos(phi) * np.sin(lam)
    north = np.sin(phi) * np.cos(phi0) - np.cos(phi) * np.cos(lam) * np.sin(phi0)
    up = np.sin(phi) * np.sin(phi0) + np.cos(phi) * np.cos(lam) * np.cos(phi0)
    distance_km = 6371.0 * np.arccos(np.clip(up, -1, 1))
    direction = np.degrees(np.arctan2(north, east)) % 360
    bent = (direction >= first_deg) & (direction <= last_deg)
    return (np.abs(distance_km - radius_km) <= width_km / 2) & bent


@pytest.mark.parametrize("tilt", [0, 20, 45, 70, 90])
@pytest.mark.parametrize("lat0", [0.0, 45.0, -75.0, 88.0])
def test_a_straight_band_is_as_long_wide_and_tilted_as_it_was_drawn(lat0, tilt):
    shape = measure(band(lat0, 358.0, tilt))
    assert shape.length_km == pytest.approx(3560.0, rel=0.04)
    assert shape.width_km == pytest.approx(490.0, rel=0.06)
    assert shape.area_km2 == pytest.approx(3560.0 * 490.0, rel=0.05)
    assert abs((shape.orientation_deg - tilt + 90) % 180 - 90) < 5


@pytest.mark.parametrize("tilt", [0, 30, 60, 90])
def test_a_broad_band_is_not_measured_from_corner_to_corner(tilt):
    # From corner to corner 2000 x 1000 km are 2236 km, 12 % more.
    assert measure(band(50.0, 0.0, tilt, 2000.0, 1000.0)).length_km == pytest.approx(2000, rel=0.05)


@pytest.mark.parametrize(("radius_km", "width_km", "angle"), [(1500, 400, 180), (1000, 300, 270)])
@pytest.mark.parametrize("lat0", [40.0, -80.0])
def test_a_bent_band_is_as_long_as_its_bend(lat0, radius_km, width_km, angle):
    shape = measure(arc(lat0, 1.0, radius_km, width_km, 45.0, 45.0 + angle))
    # A circle at distance d has radius R sin(d / R).
    want = 6371.0 * np.sin(radius_km / 6371.0) * np.deg2rad(angle)
    assert shape.length_km == pytest.approx(want, rel=0.05)


def test_a_side_branch_adds_area_but_no_length():
    trunk = band(45.0, 180.0, 0.0)
    branch = band(52.0, 180.0, 90.0, 1400.0, 200.0)
    alone, both = measure(trunk), measure(trunk | branch)
    assert both.length_km == pytest.approx(alone.length_km, rel=0.04)
    assert both.area_km2 > alone.area_km2


def test_rolling_the_globe_changes_no_digit():
    mask = band(50.0, 100.0, 30.0) | arc(40.0, 100.0, 1500, 300, 0, 120)
    shape = measure(mask)
    for shift in (1, 333, 500):
        rolled = measure(np.roll(mask, shift, axis=1))
        assert rolled[:4] == shape[:4]
        np.testing.assert_array_equal(rolled.axis_rows, shape.axis_rows)
        np.testing.assert_array_equal(rolled.axis_columns, (shape.axis_columns + shift) % 720)


def test_mirroring_the_hemispheres_mirrors_the_measures():
    mask = band(50.0, 100.0, 30.0)
    shape, mirrored = measure(mask), measure(mask[::-1])
    assert mirrored.length_km == pytest.approx(shape.length_km, rel=1e-12)
    assert mirrored.area_km2 == pytest.approx(shape.area_km2, rel=1e-12)
    assert mirrored.orientation_deg == pytest.approx(-shape.orientation_deg, abs=1e-9)
    np.testing.assert_array_equal(mirrored.axis_rows, 360 - shape.axis_rows)


def test_the_axis_runs_through_the_middle_or_where_the_weight_is():
    mask = band(0.0, 180.0, 0.0, 3560.0, 1000.0)
    middle = measure(mask)
    # 1000 km are 9 degrees, 18 rows, around row 180.
    assert np.abs(middle.axis_rows - 180).max() <= 2
    assert np.all(np.diff(middle.axis_columns) > 0) or np.all(np.diff(middle.axis_columns) < 0)
    # A jet along 3 degrees north, six rows up.
    weight = np.where(np.arange(361)[:, None] == 186, 1000.0, 1.0) * np.ones((1, 720))
    assert np.abs(measure(mask, weight=weight).axis_rows - 186).max() <= 1


def test_missing_weights_draw_nothing():
    mask = band(0.0, 180.0, 0.0)
    weight = np.where(np.arange(361)[:, None] > 181, np.nan, 1.0) * np.ones((1, 720))
    shape = measure(mask, weight=weight)
    assert np.all(shape.axis_rows < 181)
    assert np.isfinite(measure(mask, weight=np.full((361, 720), np.nan)).length_km)


def test_one_cell_is_a_square():
    mask = np.zeros((361, 720), dtype=bool)
    mask[180, 0] = True
    # Half a degree is 55.6 km.
    assert measure(mask).length_km == pytest.approx(55.6, rel=0.01)
    assert measure(mask).width_km == pytest.approx(55.6, rel=0.01)


@pytest.mark.parametrize("num_rows", [4, 6, 8])
def test_a_small_square_whose_ends_overlap_is_measured(num_rows):
    # Within half its slant and half a tile of one end lie tiles that are as near to the other.
    mask = np.zeros((361, 720), dtype=bool)
    mask[180 : 180 + num_rows, 100 : 100 + num_rows] = True
    shape = measure(mask)
    # Half a degree is 55.6 km; a round end is taken for up to 15 % less.
    assert 0.85 < shape.length_km / (55.6 * num_rows) < 1.15
    assert shape.length_km * shape.width_km == pytest.approx((55.6 * num_rows) ** 2, rel=0.01)


def test_a_ring_around_a_pole_and_a_cap_on_it_are_measured():
    ring = np.zeros((361, 720), dtype=bool)
    ring[300:304] = True
    # The ring at 61 degrees is 19500 km around; its two ends are opposite, half of that apart.
    assert measure(ring).length_km == pytest.approx(9750.0, rel=0.1)
    cap = np.zeros((361, 720), dtype=bool)
    cap[340:] = True
    # From 80 degrees over the pole: 20 degrees, 2224 km, less what a round end is taken for.
    assert 0.85 * 2224.0 < measure(cap).length_km < 1.02 * 2224.0


def test_coarse_and_regional_grids():
    lat, lon = regular_grid(73, 144)
    grid = Surroundings.of(lat, lon)
    mask = river(45.0, 0.0, 60.0, lat=lat, lon=lon, length_km=5000.0, width_km=800.0)
    assert measure(mask, grid, cell_areas_km2(lat, lon)).length_km == pytest.approx(
        5000.0, rel=0.08
    )
    lat, lon = 20.0 + np.arange(81) * 0.5, 150.0 + np.arange(161) * 0.5
    grid = Surroundings.of(lat, lon)
    mask = river(40.0, 190.0, 20.0, lat=lat, lon=lon)
    shape = measure(mask, grid, cell_areas_km2(lat, lon))
    assert shape.length_km == pytest.approx(3560.0, rel=0.04)
    assert mask[shape.axis_rows, shape.axis_columns].all()
