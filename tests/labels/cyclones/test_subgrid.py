"""Minima of known surfaces between grid points."""

import numpy as np
import pytest

from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.subgrid import subgrid_minimum
from exastorm.physics.surroundings import Surroundings

LAT, LON = np.arange(-90.0, 91.0, 1.0), np.arange(0.0, 360.0, 1.0)
GRID = Surroundings.of(LAT, LON)


def low(lat, lon, grid=GRID):
    """Square of the distance, in degrees, to a place: 0 there."""
    away = great_circle_km(lat, lon, grid.lat[:, None], grid.lon[None]) / great_circle_km(
        0, 0, 0, 1
    )
    return away**2 - 500.0


def found(values, grid=GRID):
    row, column = np.unravel_index(int(np.argmin(values)), values.shape)
    return subgrid_minimum(values, grid, int(row), int(column))


@pytest.mark.parametrize(
    ("lat", "lon"), [(10.3, 100.4), (-20.45, 0.2), (35.1, 359.7), (0.0, 180.0), (70.2, 10.3)]
)
def test_center_of_a_round_low(lat, lon):
    center = found(low(lat, lon))
    # A hundredth of the spacing: great circles are straight on the plane, distances nearly true.
    assert great_circle_km(center.lat, center.lon, lat, lon) < 1.2
    assert center.value == pytest.approx(-500.0, abs=0.02)
    assert 0.0 <= center.lon < 360.0


def test_both_hemispheres_alike():
    north, south = found(low(20.3, 50.2)), found(low(-20.3, 50.2))
    assert north.lat == pytest.approx(-south.lat, abs=1e-12)
    assert north.lon == pytest.approx(south.lon, abs=1e-12)


def test_the_point_stays_on_the_pole_and_at_edges():
    pole = found(low(89.8, 30.0))
    assert (pole.lat, pole.value) == (90.0, pytest.approx(-499.96, abs=0.01))
    region = Surroundings.of(np.arange(0.0, 9.0), np.arange(50.0, 59.0))
    assert found(low(4.3, 49.8, region), region).lat == 4.0
    assert found(low(4.3, 51.2, region), region).lat == pytest.approx(4.3, abs=0.01)


@pytest.mark.parametrize("change", [np.nan, -600.0])
def test_the_point_stays_beside_a_missing_or_lower_value(change):
    values = low(10.3, 100.4)
    values[101, 101] = change
    assert subgrid_minimum(values, GRID, 100, 100)[:2] == (10.0, 100.0)


def test_the_point_stays_where_no_surface_has_a_minimum():
    assert subgrid_minimum(np.zeros((181, 360)), GRID, 100, 100)[:2] == (10.0, 100.0)
    # A valley along one diagonal has no single lowest point; nor has one that falls off it.
    i, j = np.meshgrid(np.arange(181) - 100.0, np.arange(360) - 100.0, indexing="ij")
    assert subgrid_minimum((i - j) ** 2, GRID, 100, 100)[:2] == (10.0, 100.0)
    # 0 at the point, 1 at its 4 neighbors, 0.1 at the corners: the surface is a saddle or far off.
    spiky = np.where((abs(i) + abs(j)) % 2 == 1, 1.0, 0.1)
    spiky[100, 100] = 0.0
    spiky[101, 101] = 0.0
    center = subgrid_minimum(spiky, GRID, 100, 100)
    assert abs(center.lat - 10.0) <= 0.5
    assert abs(center.lon - 100.0) <= 0.51
