"""Score one set of class maps against another, time by time, in one streaming pass."""

from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.regrid import is_same_grid
from exastorm.storms.census import grid_words
from exastorm.storms.skill import ConfusionMatrix

TIMES_PER_BLOCK = 16
"""Snapshots read at once: 16 maps of 768 x 1152 are 14 MB."""


def compare_class_maps(predicted: xr.Dataset, reference: xr.Dataset) -> dict[str, Any]:
    """Confusion matrix and scores over the times that both have.

    Args:
        predicted: `class_map` (time, lat, lon) to score.
        reference: `class_map` taken as the truth, on the same grid.

    Returns:
        `ConfusionMatrix.summary()` and num_snapshots.

    Raises:
        InputError: If they share no time, or are on different grids.
    """
    ours, theirs = ((data["lat"].values, data["lon"].values) for data in (predicted, reference))
    if not is_same_grid(ours, theirs):
        raise InputError(
            f"two sets of class maps must be on one grid, got {grid_words(*ours)} and "
            f"{grid_words(*theirs)}",
            file=predicted.attrs.get("source"),
        )
    times = np.intersect1d(predicted["time"].values, reference["time"].values)
    if times.size == 0:
        raise InputError(
            "two sets of class maps must share times, got none in common",
            file=predicted.attrs.get("source"),
        )
    confusion = ConfusionMatrix()
    for start in track(range(0, times.size, TIMES_PER_BLOCK), "comparing"):
        block = times[start : start + TIMES_PER_BLOCK]
        confusion.record_batch(
            reference["class_map"].sel(time=block).values,
            predicted["class_map"].sel(time=block).values,
        )
    return {"num_snapshots": int(times.size), **confusion.summary()}
