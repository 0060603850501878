"""The sieve keeps exactly the points that no point of their box exceeds."""

import numpy as np
import pytest

from exastorm.labels.cyclones import teca_peaks
from exastorm.labels.cyclones.teca_peaks import sieve


def brute(field, looked_at, half_rows, half_columns, wraps):
    """The same by looking at every box as a whole."""
    found = []
    for row, column in np.argwhere(looked_at):
        rows = np.arange(row - half_rows, row + half_rows + 1)
        columns = np.arange(column - half_columns, column + half_columns + 1)
        rows = rows[(rows >= 0) & (rows < field.shape[0])]
        if wraps:
            columns = columns % field.shape[1]
        else:
            columns = columns[(columns >= 0) & (columns < field.shape[1])]
        if not np.any(field[np.ix_(rows, columns)] > field[row, column]):
            found.append((row, column))
    return found


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("half", [(1, 1), (4, 6), (9, 2)])
def test_sieve_is_the_comparison_with_every_point(wraps, half):
    generator = np.random.default_rng(5)
    # Whole numbers, so that there are ties.
    field = generator.integers(0, 60, (40, 50)).astype(np.float32)
    field[generator.random(field.shape) < 0.05] = np.nan
    looked_at = field >= 40
    rows, columns = sieve(field, looked_at, *half, wraps=wraps)
    expected = brute(field, looked_at, *half, wraps)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    assert 0 < len(expected) < np.count_nonzero(looked_at)


def test_peak_at_the_seam_falls_to_its_neighbor_across():
    field = np.zeros((5, 12))
    field[2, 0], field[2, 11] = 1.0, 2.0
    looked_at = field > 0.5
    assert sieve(field, looked_at, 1, 1, wraps=True)[1].tolist() == [11]
    assert sieve(field, looked_at, 1, 1, wraps=False)[1].tolist() == [0, 11]


def test_coarse_sample_changes_nothing(monkeypatch):
    field = np.random.default_rng(6).random((40, 50))
    expected = sieve(field, field > 0.5, 6, 6, wraps=True)
    monkeypatch.setattr(teca_peaks, "SPREAD", 2)
    np.testing.assert_array_equal(sieve(field, field > 0.5, 6, 6, wraps=True), expected)
