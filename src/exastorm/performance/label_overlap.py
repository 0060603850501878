"""How far labeled cells are the true ones: counts of each snapshot, pooled to one score.

The score is the intersection over union of the cells of all snapshots. Snapshots are not
independent of each other; so its interval comes from drawing whole blocks of time again, each
longer than any low lives.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.composition import cyclone_cells
from exastorm.labels.cyclones.extent import Extent, Sc18MaskRules
from exastorm.variables import ATMOSPHERIC_RIVER, TROPICAL_CYCLONE

BLOCK_HOURS = 240.0
"""Length of the blocks of time, h: no low of the made-up climate lives longer than 8 days
(`exastorm.readers.synthetic.low_lives`)."""

NUM_DRAWS = 1000
"""Number of times that blocks are drawn: enough for the 2.5th and 97.5th percentile (Efron and
Tibshirani 1993, An Introduction to the Bootstrap, section 13)."""


class Overlap(NamedTuple):
    """Cells of one class in one snapshot.

    Attributes:
        num_true: Cells of the truth.
        num_found: Cells that a rule set flags.
        num_both: Cells of both.
    """

    num_true: int
    num_found: int
    num_both: int


def river_overlap(mask: NDArray[np.bool_], truth: NDArray[np.int8]) -> Overlap:
    """Rivers against true ones, but where the truth has a cyclone: there it hides any river.

    Args:
        mask: Rivers (H, W).
        truth: True class of each cell (H, W).
    """
    true = truth == ATMOSPHERIC_RIVER
    found = mask & (truth != TROPICAL_CYCLONE)
    return Overlap(
        int(np.count_nonzero(true)),
        int(np.count_nonzero(found)),
        int(np.count_nonzero(true & found)),
    )


def cyclone_overlap(
    extents: list[Extent],
    chosen: NDArray[np.bool_],
    true_cells: NDArray[np.int32],
    masks: Sc18MaskRules,
    shape: tuple[int, int],
) -> Overlap:
    """Cyclones against true ones.

    Args:
        extents: The cells of each candidate of one snapshot.
        chosen: Which candidates count, (N,).
        true_cells: Flat numbers of the cells of true cyclones.
        masks: How the extents were made and become one mask.
        shape: Of the grid, (H, W).
    """
    found = cyclone_cells(extents, chosen, masks, shape).ravel()
    both = np.count_nonzero(found[true_cells])
    return Overlap(int(true_cells.size), int(np.count_nonzero(found)), int(both))


def pooled_iou(overlaps: list[Overlap], step_hours: float) -> dict[str, Any]:
    """Intersection over union of all snapshots together.

    Args:
        overlaps: One for each snapshot, in the order of time.
        step_hours: Time between them.

    Returns:
        iou: value, low and high (95 %), None where neither has a cell; num_true_cells,
        num_found_cells, num_both_cells.
    """
    counts = np.asarray(overlaps, dtype=np.int64).reshape(-1, 3)
    per_block = max(1, round(BLOCK_HOURS / step_hours))
    sums = np.add.reduceat(counts, np.arange(0, len(counts), per_block), axis=0)
    true, found, both = (int(n) for n in sums.sum(axis=0))
    value = both / (true + found - both) if true + found else None
    low = high = None
    if value is not None:
        drawn = np.random.default_rng(0).integers(len(sums), size=(NUM_DRAWS, len(sums)))
        totals = sums[drawn].sum(axis=1)
        union = totals[:, 0] + totals[:, 1] - totals[:, 2]
        # A draw of blocks without any storm says nothing.
        low, high = np.percentile(totals[union > 0, 2] / union[union > 0], [2.5, 97.5]).tolist()
    return {
        "iou": {"value": value, "low": low, "high": high},
        "num_true_cells": true,
        "num_found_cells": found,
        "num_both_cells": both,
    }
