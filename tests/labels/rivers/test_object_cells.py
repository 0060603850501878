"""Cells of an object are listed alike wherever it lies; their number bounds its length."""

import numpy as np
import pytest
from tests.labels.conftest import river

from exastorm.grid import cell_areas_km2, great_circle_km, regular_grid
from exastorm.labels.rivers.object_cells import box_of, cells_of, may_reach
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import label_regions, region_boxes

LAT, LON = regular_grid(91, 180)
GRID = Surroundings.of(LAT, LON)


def cells(mask, grid=GRID):
    labels, num = label_regions(mask, wrap=grid.wraps)
    assert num == 1
    (box,) = region_boxes(labels, num, wrap=grid.wraps)
    return cells_of(box_of(labels, 1, box, grid), cell_areas_km2(grid.lat, grid.lon))


def test_a_roll_and_a_mirror_change_no_digit():
    mask = river(50.0, 100.0, 30.0, lat=LAT, lon=LON)
    here = cells(mask)
    assert mask[here.row, here.column].all()
    assert here.row.size == mask.sum()
    # From the side of the pole, and from the first column.
    assert np.all(np.diff(here.lat) <= 0)
    assert here.lon.min() == 0.0
    for shift in (1, 60, 130):
        rolled = cells(np.roll(mask, shift, axis=1))
        np.testing.assert_array_equal(rolled.column, (here.column + shift) % 180)
        for name in ("row", "lat", "lon", "area_km2"):
            np.testing.assert_array_equal(getattr(rolled, name), getattr(here, name))
    mirrored = cells(mask[::-1])
    np.testing.assert_array_equal(mirrored.lat, -here.lat)
    np.testing.assert_array_equal(mirrored.lon, here.lon)


def test_a_region_keeps_its_own_longitudes():
    grid = Surroundings.of(np.array([40.0, 41.0, 42.0]), np.array([10.0, 11.5, 12.0, 14.0]))
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 1:] = True
    assert cells(mask, grid).lon.tolist() == [0.0, 0.5, 2.5]


def test_no_chain_is_longer_than_its_cells_allow():
    # Ten cells from corner to corner across the equator, where cells are largest: the outer
    # centers are nine diagonals apart, 9 x 2 sqrt(2) x 111.195 km = 2830 km, ten are 3145 km.
    mask = np.zeros((91, 180), dtype=bool)
    steps = np.arange(10)
    mask[40 + steps, 50 + steps] = True
    labels, num = label_regions(mask, wrap=True)
    span_km = great_circle_km(LAT[40], LON[50], LAT[49], LON[59])
    assert span_km == pytest.approx(2830.0, rel=0.01)
    assert may_reach(labels, num, GRID, span_km).tolist() == [True]
    assert may_reach(labels, num, GRID, 3144.0).tolist() == [True]
    assert may_reach(labels, num, GRID, 3146.0).tolist() == [False]
    assert may_reach(np.zeros_like(labels), 0, GRID, 1.0).size == 0
