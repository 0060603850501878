"""Training, validation and test as blocks of time with a gap between them.

Snapshots three hours apart are nearly the same picture, so a split of shuffled snapshots tests on
what it trained on. Here contiguous blocks of days go to one split as a whole, and samples nearer to
another split than a gap are dropped. Blocks are dealt out one by one to the split that is furthest
behind its share: every split then meets every season, the shares hold at any length of archive, and
an archive that grows keeps the splits it had.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order of their fractions."""

DROPPED = -1
"""Split of a sample that lies in a gap."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def hours_since_first(times: Any) -> FloatArray:
    """Hours from the first of some ascending times (datetimes of any calendar), shape (N,)."""
    first = times[0]
    return np.array([(t - first).total_seconds() / 3600.0 for t in times], dtype=np.float64)


def block_splits(hours: FloatArray, block_days: float, fractions: Sequence[float]) -> IntArray:
    """Split of each sample before gaps: each block goes to the split furthest behind its share.

    Args:
        hours: Ascending times (N,), hours since the first.
        block_days: Length of a block, days.
        fractions: Share of each split.

    Returns:
        Index into `SPLITS`, shape (N,).
    """
    blocks = np.floor(hours / (24.0 * block_days)).astype(np.int64)
    _, block_of_sample, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    shares = np.asarray(fractions, dtype=np.float64)
    given = np.zeros(len(shares))
    splits = np.empty(len(sizes), dtype=np.int64)
    for block, size in enumerate(sizes):
        behind = shares * (given.sum() + size) - given
        # Rounding keeps ties ties, so that the first split wins them on every machine.
        behind = np.where(shares > 0, np.round(behind, 6), -np.inf)
        splits[block] = int(np.argmax(behind))
        given[splits[block]] += size
    return splits[block_of_sample]


def nearest_hours(hours: FloatArray, others: FloatArray) -> FloatArray:
    """Time from each of `hours` (N,) to the nearest of the ascending `others` (M,), hours."""
    if others.size == 0:
        return np.full(hours.shape, np.inf)
    after = np.searchsorted(others, hours)
    right = others[np.minimum(after, others.size - 1)]
    left = others[np.maximum(after - 1, 0)]
    return np.minimum(np.abs(hours - left), np.abs(hours - right))


def drop_gaps(hours: FloatArray, splits: IntArray, gap_hours: float) -> IntArray:
    """Drop samples nearer than the gap to another split.

    The split with the most samples gives way, as it can spare them: training before the others.

    Args:
        hours: Ascending times (N,), hours.
        splits: Split of each sample (N,).
        gap_hours: Least time between samples of different splits, hours.

    Returns:
        Splits (N,), with `DROPPED` where a sample gives way.
    """
    out = splits.copy()
    present, sizes = np.unique(splits, return_counts=True)
    order = present[np.argsort(-sizes, kind="stable")]
    for place, split in enumerate(order):
        keepers = hours[np.isin(splits, order[place + 1 :])]
        out[(splits == split) & (nearest_hours(hours, keepers) < gap_hours)] = DROPPED
    return out


def split_times(
    times: Any, fractions: Sequence[float], block_days: float, gap_hours: float
) -> IntArray:
    """Split of each sample by blocks of time with a gap.

    Args:
        times: Ascending datetimes of one calendar, (N,).
        fractions: Shares of training, validation and test.
        block_days: Length of a block, days.
        gap_hours: Least time between samples of different splits, hours.

    Returns:
        Index into `SPLITS`, or `DROPPED`, shape (N,).

    Raises:
        InputError: If the times are too short for every split that has a share.
    """
    hours = hours_since_first(times)
    splits = drop_gaps(hours, block_splits(hours, block_days, fractions), gap_hours)
    for split, fraction in enumerate(fractions):
        if fraction > 0 and not np.any(splits == split):
            raise InputError(
                f"{hours[-1] / 24:.1f} days in blocks of {block_days:g} days leave nothing for the"
                f" {SPLITS[split]} split ({fraction:g}); {_advice(hours, fractions, gap_hours)}"
            )
    return splits


def _advice(hours: FloatArray, fractions: Sequence[float], gap_hours: float) -> str:
    """Longest round block that gives every split something, as the message says it."""
    for num_blocks in range(2, 101):
        block_days = float(f"{(hours[-1] + 1e-6) / 24 / num_blocks:.2g}")
        if block_days <= 0 or 12 * block_days <= gap_hours:
            break
        splits = drop_gaps(hours, block_splits(hours, block_days, fractions), gap_hours)
        if all(f == 0 or np.any(splits == s) for s, f in enumerate(fractions)):
            return f"set block_days to {block_days:g}"
    return "give a longer archive, or shorter blocks and a shorter gap"
