"""What is near a place, by distance on the sphere."""

import numpy as np

from exastorm.labels.rivers.nearby import highest_near, objects_near
from exastorm.physics.surroundings import Surroundings

GRID = Surroundings.of(np.arange(-90.0, 91.0, 2.0), np.arange(0.0, 360.0, 2.0))
# Row 45 lies on the equator.


def test_objects_are_told_by_their_nearest_cell_the_nearest_first():
    labels = np.zeros((91, 180), dtype=np.int32)
    labels[45, [178, 177]] = 2
    labels[45, [3, 4]] = 1
    labels[60, 0] = 3
    # At 359 E: 3 degrees to 356, 7 to 6 E; 30 N is too far.
    assert objects_near(labels, GRID, 0.0, 359.0, 8.0) == {2: (45, 178), 1: (45, 3)}
    assert objects_near(labels, GRID, 0.0, 359.0, 2.9) == {}


def test_the_highest_value_lies_within_the_distance_across_the_seam():
    values = np.zeros((91, 180))
    values[45, 178], values[45, 4], values[45, 20] = 1.0, 2.0, 3.0
    assert highest_near(values, GRID, 0.0, 359.0, 8.0) == [(45, 178)]
    assert highest_near(values, GRID, 0.0, 359.0, 9.1) == [(45, 4)]


def test_of_equal_values_the_nearest_counts_and_missing_ones_never():
    values = np.ones((91, 180))
    assert highest_near(values, GRID, 10.9, 20.9, 5.0) == [(50, 10)]
    values[50, 10] = np.nan
    assert highest_near(values, GRID, 10.9, 20.9, 5.0) == [(50, 11)]
    assert highest_near(np.full((91, 180), np.nan), GRID, 10.9, 20.9, 5.0) == [(50, 10)]


def test_no_cell_may_be_near():
    assert highest_near(np.ones((91, 180)), GRID, 11.0, 21.0, 0.5) == []
