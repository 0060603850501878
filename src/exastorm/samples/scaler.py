"""From stored numbers to the field that a network sees, in one go through memory, checked.

Rows are scaled, checked, rolled and mirrored while they are in a core's cache. The check costs one
product per row: the sum of its squares is no number where a value is none, and is too large where a
value lies far outside what the samples held when they were prepared, as after a flip of a bit in an
exponent. Smaller changes are found by the checksums (`SampleStore.verify`) alone.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exastorm.samples.augmentation import Turn, signs_of_mirrored
from exastorm.samples.checking import BadSampleError
from exastorm.samples.index import SampleIndex

VALUES_AT_ONCE = 32_768
"""Values scaled at a time: 128 KB stay in a core's cache, and torch does not split such small work
among threads (at::internal::GRAIN_SIZE)."""

ROUNDING = {"float32": 1e-6, "float16": 2.0**-10}
"""Largest relative error of a stored number and its scaling: a few units in its last place (2^-24
and 2^-11 of the number)."""

Float32Array = NDArray[np.float32]


def _sum_squares(rows: Float32Array, out: Float32Array) -> None:
    """Sum of squares of each row (R, W), into (R,)."""
    # numpy 1 lacks vecdot, which is twice as fast.
    if hasattr(np, "vecdot"):
        np.vecdot(rows, rows, out=out)
    else:
        np.einsum("rw,rw->r", rows, rows, out=out)


def _roll(rows: Float32Array, roll: int, out: Float32Array) -> None:
    """Rows (R, W) turned by some columns, into (R, W)."""
    east = rows.shape[1] - roll
    out[:, roll:], out[:, :roll] = rows[:, :east], rows[:, east:]


class FieldScaler:
    """Scales, checks and turns the fields of some samples; any number of threads may share it."""

    def __init__(self, index: SampleIndex) -> None:
        layout, scaling, whole = index.layout, index.scaling, index.whole_statistics
        center, unit = np.array(layout.center), np.array(layout.unit)
        shift, scale = np.array(scaling.shift), np.array(scaling.scale)
        low, high = np.array(whole.min), np.array(whole.max)
        # Stored numbers straight to scaled ones, sign (x unit + center) being the value that the
        # network sees: (sign (x unit + center) - shift) / scale. Signs are 1, or of a mirror image.
        signs = np.array([np.ones(len(center)), signs_of_mirrored(index.channels)])
        self._shift = ((signs * shift - center) / unit).astype(np.float32)
        self._factor = (signs * unit / scale).astype(np.float32)
        self._channels, self._units = index.channels, index.units
        self._low, self._high = low, high
        stored = np.abs(
            [low - center + 0 * signs, high - center + 0 * signs, signs * shift - center]
        ).max(axis=0)
        largest = np.abs([signs * low - shift, signs * high - shift]).max(axis=0)
        largest = (1.001 * largest + ROUNDING[layout.dtype] * stored) / scale
        # Of a row of values that are all as large as any in the samples.
        self._limit = layout.shape[2] * largest**2

    def fill(self, raw: NDArray[Any], turn: Turn, out: Float32Array) -> None:
        """Scale a field (C, H, W) as stored, turn it, and put it into `out`.

        Raises:
            BadSampleError: For a channel with a value that is no number, or larger than a whole row
                of the largest ones in the samples.
        """
        num_channels, num_lat, num_lon = raw.shape
        shift, factor = self._shift[int(turn.is_mirrored)], self._factor[int(turn.is_mirrored)]
        limit = self._limit[int(turn.is_mirrored)]
        num_rows = max(1, VALUES_AT_ONCE // num_lon)
        scratch = np.empty((num_rows, num_lon), np.float32)
        squares = np.empty(num_lat, np.float32)
        # Values that are no numbers are met below; here they must not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            for c in range(num_channels):
                rows_out = out[c, ::-1] if turn.is_mirrored else out[c]
                for row in range(0, num_lat, num_rows):
                    stored, target = raw[c, row : row + num_rows], rows_out[row : row + num_rows]
                    scaled = scratch[: len(stored)] if any(turn) else target
                    if stored.dtype != np.float32:
                        # Torch widens half precision three times as fast as numpy.
                        torch.from_numpy(scaled).copy_(torch.from_numpy(stored))
                        stored = scaled
                    np.subtract(stored, shift[c], out=scaled)
                    np.multiply(scaled, factor[c], out=scaled)
                    _sum_squares(scaled, squares[row : row + num_rows])
                    if any(turn):
                        _roll(scaled, turn.roll, target)
                # Of something that is no number the comparison fails.
                if not squares.max() <= limit[c]:
                    raise self._bad(c, raw[c])

    def _bad(self, c: int, stored: NDArray[Any]) -> BadSampleError:
        """What is wrong with a channel (H, W)."""
        num_bad = np.count_nonzero(~np.isfinite(stored))
        if num_bad:
            return BadSampleError(
                f"must be finite, got {num_bad} values that are not", self._channels[c]
            )
        return BadSampleError(
            f"must be from {self._low[c]:g} to {self._high[c]:g} {self._units[c]}, as when it was"
            " prepared, got values far outside: the shard has changed",
            self._channels[c],
        )
