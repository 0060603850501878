"""Shared cells and their pooled score, worked by hand."""

import numpy as np
import pytest

from exastorm.labels.cyclones.extent import Extent, Sc18MaskRules
from exastorm.performance.label_overlap import Overlap, cyclone_overlap, pooled_iou, river_overlap


def cells(*numbers):
    return np.array(numbers, dtype=np.int32)


def test_rivers_under_true_cyclones_count_for_nothing():
    truth = np.array([[0, 1, 2, 2]], dtype=np.int8)
    mask = np.array([[True, True, True, False]])
    # True: 2 cells; found: the first and third (the second is a cyclone's); both: the third.
    assert river_overlap(mask, truth) == Overlap(2, 2, 1)


def overlap(extents, true_cells, form="corrected", chosen=None):
    chosen = np.ones(len(extents), dtype=bool) if chosen is None else np.array(chosen)
    return cyclone_overlap(extents, chosen, true_cells, Sc18MaskRules(form=form), (2, 6))


def test_cyclones_that_overlap_count_their_cells_once():
    extents = [Extent((0, 0, 0, 0), (cells(3, 4, 5),)), Extent((0, 0, 0, 0), (cells(5, 6),))]
    assert overlap(extents, cells(4, 5, 9)) == Overlap(3, 4, 2)
    assert overlap([], cells(4)) == Overlap(1, 0, 0)
    assert overlap(extents, cells(), chosen=[False, True]) == Overlap(0, 2, 0)


def test_the_exact_form_composes_the_mask_as_the_script_does():
    # Every storm but the last keeps its first group (TMQ), here cell 0, alone; the last has the
    # union of all in its box, columns 2 to 5: cells 8 and 9 of the second row.
    first = Extent((0, 2, 0, 2), (cells(0), cells(1), cells(), cells()))
    last = Extent((0, 2, 2, 6), (cells(8), cells(9), cells(), cells()))
    assert overlap([first, last], cells(0, 1, 8, 9), "exact") == Overlap(4, 3, 3)
    assert overlap([first, last], cells(0, 1, 8, 9), "exact", [False, True]) == Overlap(4, 2, 2)


def test_snapshots_are_pooled_before_the_score_is_made():
    # 1 / 1 and 0 / 3: pooled 1 / 4, not 1 / 2.
    result = pooled_iou([Overlap(1, 1, 1), Overlap(3, 0, 0)], 6.0)
    assert result["iou"]["value"] == 0.25
    assert (result["num_true_cells"], result["num_found_cells"]) == (4, 1)
    # Both are in one block of ten days, which is all that can be drawn.
    assert result["iou"]["low"] == result["iou"]["high"] == 0.25


def test_the_interval_spans_blocks_of_ten_days():
    # Two blocks, IoU 1 and 0, of equal weight: a quarter of draws has 0 alone, a quarter 1 alone.
    halves = [Overlap(10, 10, 10)] * 40 + [Overlap(10, 0, 0)] * 40
    assert pooled_iou(halves, 6.0)["iou"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    # With steps of 12 hours a block is 20 snapshots: four blocks, and two of each are likelier.
    assert pooled_iou(halves[20:60], 12.0)["iou"]["value"] == 0.5


def test_nothing_to_share():
    result = pooled_iou([Overlap(0, 0, 0)], 6.0)
    assert result["iou"] == {"value": None, "low": None, "high": None}


def test_many_alike_blocks_narrow_the_interval():
    rng = np.random.default_rng(1)
    both = rng.integers(0, 100, size=4000)
    overlaps = [Overlap(100, 100, int(n)) for n in both]
    few, many = (pooled_iou(o, 6.0)["iou"] for o in (overlaps[:160], overlaps))
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])
    assert many["low"] < many["value"] < many["high"]
    assert many["value"] == pytest.approx(both.sum() / (200 * 4000 - both.sum()))
