"""Which cells are minima, and which of them merge."""

import numpy as np
import pytest

from exastorm.grid import great_circle_km, regular_grid
from exastorm.labels.cyclones.minima import (
    first_of_equals,
    local_minima,
    lowest_of_box,
    merge_minima,
    nearest_lower_deg,
)
from exastorm.labels.cyclones.tempest_grid import TempestGrid
from exastorm.physics.surroundings import Surroundings

LAT, LON = np.arange(-60.0, 61.0, 1.0), np.arange(0.0, 360.0, 1.0)
GRID = TempestGrid.of(Surroundings.of(LAT, LON))
KM_PER_DEGREE = great_circle_km(0.0, 0.0, 0.0, 1.0)


def field(places):
    """Zero but for some cells (lat, lon): value."""
    values = np.zeros((LAT.size, LON.size), dtype=np.float32)
    for (lat, lon), value in places.items():
        values[round(lat + 60), round(lon)] = value
    return values


def places(minima):
    return [(float(LAT[i]), float(LON[j])) for i, j in minima.T]


def merged(values, wanted, merge_deg=6.0, asked=None):
    """What is left of some minima (lat, lon) after merging."""
    minima = np.array([[round(lat + 60), round(lon)] for lat, lon in wanted]).T
    asked = np.ones(len(wanted), dtype=bool) if asked is None else np.asarray(asked)
    return places(merge_minima(values, GRID, minima, asked, merge_deg))


def test_diagonal_neighbors_do_not_make_a_minimum_less():
    # 2 is next to 3 and 4 over edges, and to 1 over a corner only.
    values = np.array([[4, 3, 6, 5], [6, 2, 4, 7], [8, 4, 1, 6]], dtype=np.float32)
    assert local_minima(values, wraps=True).T.tolist() == [[1, 1], [2, 2]]


def test_minima_over_the_seam_only_where_the_grid_wraps():
    values = np.array([[5, 6, 7, 4], [5, 6, 7, 4]], dtype=np.float32)
    # Round the globe 5 has the lower 4 beside it. A grid that ends there looks north and south
    # only in its first and last column: both are minima.
    assert local_minima(values, wraps=True).T.tolist() == [[0, 3], [1, 3]]
    assert local_minima(values, wraps=False).T.tolist() == [[0, 0], [0, 3], [1, 0], [1, 3]]


def test_plateau_gives_all_its_cells_and_missing_values_none():
    values = np.array([[9, 8, 7, 8], [6, 1, 1, 5], [9, 9, np.nan, 8]], dtype=np.float32)
    assert local_minima(values, wraps=True).T.tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("other", "left"),
    # 6 degrees along a meridian merge, 7 do not; 6 degrees of longitude at 60 N are 3 degrees.
    [((16.0, 5.0), 1), ((17.0, 5.0), 2), ((10.0, 359.0), 1), ((10.0, 358.0), 2)],
)
def test_minima_within_six_degrees_merge_into_the_lower(other, left):
    values = field({(10.0, 5.0): -2.0, other: -1.0})
    found = merged(values, [(10.0, 5.0), other])
    assert found == [(10.0, 5.0), other][:left]


def test_merging_is_by_great_circle():
    values = field({(60.0, 100.0): -2.0, (60.0, 111.0): -1.0})
    assert merged(values, [(60.0, 100.0), (60.0, 111.0)]) == [(60.0, 100.0)]
    # 13 degrees of longitude at 60 N are 6.49 degrees.
    values = field({(60.0, 100.0): -2.0, (60.0, 113.0): -1.0})
    assert len(merged(values, [(60.0, 100.0), (60.0, 113.0)])) == 2


def test_a_minimum_that_merges_away_still_beats_others():
    # In a chain 5 degrees apart only the lowest is left, though the last is 10 degrees from it.
    chain = [(0.0, 50.0), (0.0, 55.0), (0.0, 60.0)]
    values = field(dict(zip(chain, (-3.0, -2.0, -1.0), strict=True)))
    assert merged(values, chain) == [(0.0, 50.0)]


def test_minima_not_asked_about_count_as_lower_ones():
    pair = [(0.0, 50.0), (0.0, 55.0)]
    values = field({pair[0]: -3.0, pair[1]: -2.0})
    assert merged(values, pair, asked=[False, True]) == []
    assert merged(values, pair, asked=[False, True], merge_deg=0.0) == [pair[1]]


def test_equal_minima_stay_unless_only_the_first_is_wanted():
    row = [(0.0, 50.0), (0.0, 54.0), (0.0, 58.0), (0.0, 90.0)]
    values = field(dict.fromkeys(row, -1.0))
    assert merged(values, row) == row
    minima = np.array([[60, 60, 60, 60], [50, 54, 58, 90]])
    # The second goes with the first; the third is 8 degrees from the first and stays.
    assert places(first_of_equals(values, GRID, minima, 6.0)) == [row[0], row[2], row[3]]


def test_quick_looks_never_change_the_result():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(LAT.size, LON.size)).astype(np.float32)
    cells = np.sort(rng.choice(values.size, 1500, replace=False))
    minima = np.stack(np.divmod(cells, LON.size))
    quick = lowest_of_box(values, GRID, minima, 6.05)
    assert 0 < quick.sum() < quick.size
    found = merge_minima(values, GRID, minima, quick, 6.05)
    # The definition, pair by pair; no two cells lie 6.05 degrees apart.
    (rows, columns), depth = minima, values[minima[0], minima[1]]
    expected = []
    for n in range(depth.size):
        away = great_circle_km(LAT[rows[n]], LON[columns[n]], LAT[rows], LON[columns])
        beaten = (away <= 6.05 * KM_PER_DEGREE) & (depth < depth[n])
        expected += [] if beaten.any() else [n]
    assert found.tolist() == minima[:, expected].tolist()


def test_nearest_lower_minimum():
    values = field({(0.0, 50.0): -3.0, (0.0, 53.0): -2.0, (9.0, 53.0): -1.0})
    minima = np.array([[60, 60, 69], [50, 53, 53]])
    distances = nearest_lower_deg(values, GRID, minima, np.arange(3))
    assert distances == pytest.approx([np.inf, 3.0, 9.0])


def test_a_global_grid_with_poles_merges_over_them():
    lat, lon = regular_grid(181, 360)
    grid = TempestGrid.of(Surroundings.of(lat, lon))
    values = np.zeros((181, 360), dtype=np.float32)
    values[178, 10], values[178, 190] = -2.0, -1.0  # 2 degrees from the pole, on both sides of it
    minima = np.array([[178, 178], [10, 190]])
    asked = np.ones(2, dtype=bool)
    assert merge_minima(values, grid, minima, asked, 3.9).shape[1] == 2
    assert merge_minima(values, grid, minima, asked, 4.1).T.tolist() == [[178, 10]]
