"""The Laplacian over a ring knows eigenfunctions, poles and ties."""

import math

import numpy as np
import pytest

from exastorm.grid import regular_grid
from exastorm.physics.laplacian import laplacian, reaches_latitude, ring
from exastorm.physics.nearest import GridPoints
from exastorm.physics.surroundings import Surroundings

LAT, LON = regular_grid(181, 360)
GRID = Surroundings.of(LAT, LON)


def unit(lat, lon):
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    return np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])


def test_spherical_harmonics_are_eigenfunctions():
    # The mean of a harmonic of degree l over a ring at distance d is P_l(cos d) times its middle,
    # so the eigenvalue is 4 / d^2 (P_l(cos d) - 1): with d = 10 degrees = 0.17453,
    # 4 / 0.030462 (0.984808 - 1) = -1.9949 for l = 1; P_2 = 0.954769: -5.9393 for l = 2.
    # In the limit of small d these are -2 and -6, the eigenvalues of the Laplacian.
    phi = np.deg2rad(LAT)[:, None]
    lam = np.deg2rad(LON)[None, :]
    for field, eigenvalue in (
        (np.sin(phi) + 0 * lam, -1.9949),
        (np.cos(phi) * np.cos(lam), -1.9949),
        (np.cos(phi) ** 2 * np.cos(2 * lam), -5.9393),
    ):
        got = laplacian(field, GRID)
        # Each point of the ring moves to a grid point, by 0.5 / sqrt(3) = 0.29 degrees or 0.005
        # along a slope of 1 (l = 1) or 2: with eight weights of 16.4, 16.4 sqrt(8) 0.005 = 0.23.
        error = np.abs(got - eigenvalue * field)
        assert np.sqrt(np.mean(error**2)) < 0.23
        assert error.max() < 4 * 0.23
        assert np.abs(error.mean()) < 0.1 * abs(eigenvalue)


def test_nothing_of_a_constant_but_rounding():
    # Weights are 4 / 8 / d^2 = 16.4 each, 131 together; single precision rounds at 6e-8 of 500.
    assert np.abs(laplacian(np.full((181, 360), 500.0), GRID)).max() < 131 * 500 * 1e-6


def test_a_single_cell_weighs_4_over_d_squared():
    # 10 rows are 10 degrees: the rings of points due north and south meet the cell, and that of
    # the cell itself has weight -sum. At latitude 40 d = 0.174533: 0.5 / 0.0304617 = 16.414.
    field = np.zeros((181, 360))
    field[130, 7] = 1.0
    got = laplacian(field, GRID)
    assert got[120, 7] == pytest.approx(16.414, abs=2e-3)
    assert got[140, 7] == pytest.approx(16.414, abs=2e-3)
    assert got[130, 7] == pytest.approx(-8 * 16.414, rel=0.03)


def test_number_and_distance_of_points_change_the_result():
    field = np.zeros((181, 360))
    field[130, 7] = 1.0
    # 4 points at 5 degrees: 1 / 0.0872665^2 = 131.31.
    got = laplacian(field, GRID, num_points=4, distance_deg=5.0)
    assert got[125, 7] == pytest.approx(131.31, abs=2e-2)
    assert np.count_nonzero(got) == 5
    assert np.count_nonzero(laplacian(field, GRID, num_points=8, distance_deg=5.0)) == 9


def test_rows_near_the_equator_are_left_out():
    got = laplacian(np.ones((181, 360)), GRID, min_lat_deg=15.0)
    assert np.isnan(got[76:105]).all()
    assert np.isfinite(got[[75, 105]]).all()
    assert np.isnan(laplacian(np.ones((181, 360)), GRID, min_lat_deg=89.9)[1:-1]).all()
    assert np.isnan(
        laplacian(
            np.ones((11, 20)),
            Surroundings.of(np.arange(11) - 5.0, np.arange(20) * 18.0),
            min_lat_deg=20.0,
        )
    ).all()
    # 15 degrees in radians round differently as 15 pi / 180 and as 15 (pi / 180): row 105 stays.
    assert reaches_latitude(np.array([15.0, -15.0, 14.999]), 15.0).tolist() == [True, True, False]


def test_rolling_the_globe_rolls_the_result():
    field = np.random.default_rng(0).normal(300.0, 100.0, (181, 360)).astype(np.float32)
    field[[0, -1]] = 300.0  # a pole is one place: its points hold one value
    rolled = laplacian(np.roll(field, 77, axis=1), GRID)
    want = np.roll(laplacian(field, GRID), 77, axis=1)
    # Terms are summed in the order of columns, so the last digits may differ: 131 * 300 * 1e-6.
    # The ring of a pole begins at longitude 0, so it meets other points: that row is left out.
    np.testing.assert_allclose(rolled[1:-1], want[1:-1], atol=0.04)


def test_mirroring_the_hemispheres_mirrors_the_result():
    field = np.random.default_rng(1).normal(300.0, 100.0, (181, 360)).astype(np.float32)
    field[[0, -1]] = 300.0
    mirrored = laplacian(field[::-1], GRID)
    np.testing.assert_allclose(mirrored[1:-1], laplacian(field, GRID)[-2:0:-1], atol=0.04)


def test_a_missing_value_is_missed_by_those_that_need_it():
    field = np.full((181, 360), 100.0)
    field[130, 7] = np.nan
    # The cell itself and, but for rounding to grid points, one cell for each point of a ring.
    lost = np.isnan(laplacian(field, GRID))
    assert lost[[120, 130, 140], 7].all()
    assert 5 <= lost.sum() <= 16


def test_a_region_uses_its_nearest_points():
    # On a region smaller than the ring all points fall on its edges: a constant still gives zero.
    grid = Surroundings.of(40.0 + np.arange(9), 100.0 + np.arange(11))
    assert np.abs(laplacian(np.full((9, 11), 7.0), grid)).max() < 1e-2
    east = laplacian(np.arange(11.0) + np.zeros((9, 1)), grid)
    assert east[4, 0] > 0 > east[4, -1]


def test_the_ring_begins_in_the_west_and_goes_clockwise():
    x, y, z = ring(tuple(unit(0.0, 0.0)), 4, 10.0)
    want = unit(np.array([0.0, 10.0, 0.0, -10.0]), np.array([-10.0, 0.0, 10.0, 0.0]))
    np.testing.assert_allclose(np.array([x, y, z]), want, atol=1e-15)
    # At a pole it begins at longitude 0; from above the South Pole clockwise is eastward.
    for pole, east in ((90.0, -90.0), (-90.0, 90.0)):
        x, y, z = ring(tuple(unit(pole, 123.0)), 4, 10.0)
        want = unit(np.full(4, pole - np.sign(pole) * 10.0), east * np.arange(4))
        np.testing.assert_allclose(np.array([x, y, z]), want, atol=1e-15)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (np.linspace(-90, 90, 19), np.arange(18) * 20.0),  # rows on the poles
        (np.linspace(-90, 90, 37), np.arange(24) * 15.0),  # rings end at a pole
        (np.arange(9) * 20.0 - 80.0, np.arange(9) * 40.0),  # half a row away, odd columns
        (np.linspace(-90, 90, 10), np.arange(15) * 24.0),
        (30.0 + np.arange(7) * 10.0, 100.0 + np.arange(9) * 4.0),  # a region up to a pole
        (np.linspace(-80, 80, 9), np.float64(np.float32(np.arange(27) * (360 / 27)))),
    ],
)
def test_nearest_points_are_those_of_the_plain_tree(lat, lon):
    """Every ring point of small grids, by the search of a tree that is really built."""
    points = GridPoints.of(lat, lon)
    rows, columns = np.divmod(np.arange(lat.size * lon.size), lon.size)
    places = np.stack(points.at(rows, columns), axis=1).tolist()
    tree = grow(places)
    for distance_deg in (10.0, 20.0):
        at = ring(points.at(rows, columns), 8, distance_deg)
        got = points.nearest_of_all(at)
        for n, targets in enumerate(np.stack(at, axis=-1).tolist()):
            assert got[n].tolist() == [search(tree, places, target) for target in targets]


def grow(places):
    """A tree of [left, right] of each place, inserted one after the other."""
    tree = [[-1, -1] for _ in places]
    for n in range(1, len(places)):
        node, axis = 0, 0
        while True:
            side = int(places[n][axis] >= places[node][axis])
            if tree[node][side] < 0:
                tree[node][side] = n
                break
            node, axis = tree[node][side], (axis + 1) % 3
    return tree


def search(tree, places, target):
    """The place nearest to a target: nearer side, node, farther side, in that order."""

    def square(n):
        return sum((a - b) * (a - b) for a, b in zip(places[n], target, strict=True))

    best = [square(0), 0]

    def visit(node, axis):
        if node < 0:
            return
        near = int(target[axis] > places[node][axis])
        visit(tree[node][near], (axis + 1) % 3)
        if square(node) < best[0]:
            best[:] = [square(node), node]
        # What lies beyond the node's plane is at least as far as the plane.
        if (target[axis] - places[node][axis]) ** 2 < best[0]:
            visit(tree[node][1 - near], (axis + 1) % 3)

    visit(0, 0)
    return best[1]


def test_a_ring_needs_three_points_within_a_hemisphere():
    field = np.zeros((181, 360))
    with pytest.raises(ValueError, match="num_points must be at least 3, got 2"):
        laplacian(field, GRID, num_points=2)
    with pytest.raises(ValueError, match="distance_deg must be above 0 and below 90, got 90"):
        laplacian(field, GRID, distance_deg=90.0)
    assert math.isfinite(laplacian(field, GRID, distance_deg=80.0)[90, 0])
