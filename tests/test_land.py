"""Land, coasts and terrain are where they are on Earth."""

import numpy as np
import pytest

from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.land import coast_distance_km, coast_table, land_fraction, terrain_height_m

# name, latitude, longitude, is land
PLACES = [
    ("Paris", 48.9, 2.35, True),
    ("Denver", 39.7, 255.0, True),
    ("Alice Springs", -23.7, 133.9, True),
    ("mid Pacific", 0.0, 200.0, False),
    ("mid Atlantic", 30.0, 320.0, False),
    ("South Pole", -89.5, 0.0, True),
    ("North Pole", 90.0, 0.0, False),
]


@pytest.mark.parametrize(("name", "lat", "lon", "is_land"), PLACES)
def test_places(name, lat, lon, is_land):
    assert (coast_distance_km([lat], [lon])[0, 0] < 0) == is_land


def test_share_of_land():
    # Land is 29.2 % of the Earth's surface (CIA World Factbook: 148.94 of 510.07 million km2).
    lat, lon = regular_grid(96, 144)
    areas = cell_areas_km2(lat, lon)
    assert np.sum(land_fraction(lat, lon) * areas) / areas.sum() == pytest.approx(0.292, abs=0.006)


def test_distances_are_those_of_the_sea():
    # The oceanic pole of inaccessibility, 48.88 S 123.39 W, is 2,688 km from land.
    assert coast_distance_km([-48.88], [236.61])[0, 0] == pytest.approx(2688, rel=0.02)


def test_terrain_where_mountains_are():
    lat, lon = regular_grid(181, 360)
    height = terrain_height_m(lat, lon)
    assert height[90 + 33, 88] > 4500  # Tibet: a plateau of about 5000 m
    assert 2500 < height[90 + 72, 320] < 3300  # Greenland's ice: about 3000 m
    assert height[90, 200] == 0  # the Pacific


def test_coasts_meet_at_the_date_line():
    lat, lon, distance = coast_table()
    assert distance.shape == (lat.size, lon.size) == (1801, 3600)
    # 0.1 degree of longitude is at most 11.1 km: neighbors across the seam differ by no more.
    assert np.max(np.abs(distance[:, 0] - distance[:, -1])) <= 11.4  # stored in steps of 0.2 km
