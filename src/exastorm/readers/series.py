"""Joins one variable across the files of an archive and reads it step by step.

One array-like object stands for a variable of a thousand files, so that opening an archive costs
one small object a file instead of a graph of joins. Every read goes through here, which is why
a failure to read, whenever it happens, names file, variable and time in one line.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.opening import READ_ERRORS

BLOCK_BYTES = 4 * 2**20
"""Aim for a block of a field stored contiguously: a 0.25-degree step, or a few coarse ones."""

MAX_BLOCK_BYTES = 256 * 2**20
"""Largest block for the sake of reading a stored chunk only once."""

MAX_STEPS = 8
"""Most time steps in a block of a contiguous field: one CAM h2 file."""


class FileSeries:
    """One variable along time through several files; an array as dask sees it.

    Attributes:
        name: The variable's name in the files.
        shape: (time, ...) over all files.
        dtype: Widest type of the files.
        ndim: Number of dimensions.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[str],
        parts: Sequence[Any],
        times: Sequence[NDArray[Any]],
    ) -> None:
        """Join parts that have time as their first dimension and else one shape.

        Args:
            name: Name for messages.
            files: Path of each part.
            parts: Lazily indexed `xr.Variable`, or another array, per file.
            times: Times of each part.
        """
        self.name = name
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        self.ndim = len(self.shape)
        self._files, self._parts, self._times = list(files), list(parts), list(times)
        self._ends = list(accumulate(part.shape[0] for part in parts))

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        steps, rest = key[0], key[1:]
        if isinstance(steps, int | np.integer):
            return self._read(int(steps), int(steps) + 1, rest)[0]
        start, stop, stride = steps.indices(self.shape[0])
        block = self._read(start, max(stop, start), rest) if stride > 0 else None
        if block is None:
            return self._read(stop + 1, start + 1, rest)[:: stride or 1]
        return block[::stride]

    def _read(self, start: int, stop: int, rest: tuple[Any, ...]) -> NDArray[Any]:
        """Steps start to stop, joined over the files that hold them."""
        blocks = []
        begin = 0
        for index, end in enumerate(self._ends):
            low, high = max(start, begin) - begin, min(stop, end) - begin
            if low < high or (start == stop and begin <= start <= end and not blocks):
                blocks.append(self._read_part(index, slice(low, high), rest))
            begin = end
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return block.astype(self.dtype, copy=False)

    def _read_part(self, index: int, steps: slice, rest: tuple[Any, ...]) -> NDArray[Any]:
        """Steps of one file; the one place where fields are read."""
        try:
            block = np.asarray(self._parts[index][(steps, *rest)])
        except READ_ERRORS as error:
            times = self._times[index][steps]
            raise InputError(
                f"can't be read (truncated or corrupt?): {' '.join(str(error).split())[:160]}",
                file=self._files[index],
                variable=self.name,
                time=times[0] if len(times) else None,
            ) from error
        return block


def steps_per_block(variable: Any) -> int:
    """Time steps that are read at once: the stored chunk, else up to 8 steps of about 4 MB."""
    num_steps = int(variable.shape[0])
    step_bytes = max(1, int(np.prod(variable.shape[1:])) * variable.dtype.itemsize)
    encoding = getattr(variable, "encoding", {})
    stored = (encoding.get("preferred_chunks") or {}).get(getattr(variable, "dims", (None,))[0])
    if stored and stored * step_bytes <= MAX_BLOCK_BYTES:
        return max(1, min(int(stored), num_steps))
    return int(np.clip(BLOCK_BYTES // step_bytes, 1, min(MAX_STEPS, max(num_steps, 1))))


def join_variable(
    name: str, files: Sequence[str], parts: Sequence[Any], times: Sequence[NDArray[Any]]
) -> da.Array:
    """A dask array over one variable of several files, in blocks that never cross a file."""
    series = FileSeries(name, files, parts, times)
    steps: list[int] = []
    for part in parts:
        size, block = int(part.shape[0]), steps_per_block(part)
        steps += [min(block, size - first) for first in range(0, size, block)]
    # Levels are read one by one: few of those in a file are wanted.
    middle = [(1,) * n for n in series.shape[1:-2]]
    chunks = (tuple(steps), *middle, *((n,) for n in series.shape[-2:]))
    return da.from_array(
        series,
        chunks=chunks,
        name=False,
        fancy=False,
        meta=np.empty((0,) * series.ndim, series.dtype),
    )


def as_variable(array: xr.DataArray, time: str | None) -> xr.Variable:
    """The lazily indexed variable of a data array with time first, adding it where missing."""
    variable = array.variable
    if time is None or time not in variable.dims:
        return variable
    return variable.transpose(time, ...)
