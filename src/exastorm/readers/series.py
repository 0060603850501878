"""Joins one variable across the files of an archive and reads it step by step.

One array-like object stands for a variable of a thousand files, so that opening an archive costs
one small object a file instead of a graph of joins. Every read goes through here, which is why
a failure to read, whenever it happens, names file, variable and time in one line.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.coordinates import Grid
from exastorm.readers.opening import READ_ERRORS

BLOCK_BYTES = 4 * 2**20
"""Aim for a block of a field stored contiguously: a 0.25-degree step, or a few coarse ones."""

MAX_BLOCK_BYTES = 256 * 2**20
"""Largest block for the sake of reading a stored chunk only once."""

MAX_STEPS = 8
"""Most time steps in a block of a contiguous field: one CAM h2 file."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One variable of one file, as it lies there.

    Attributes:
        file: Path of the file.
        variable: Lazily indexed, dimensions (time, lat, lon), or (lat, lon) at a single time.
        times: Times of the file (T,).
        grid: How its latitudes and longitudes go into the schema.
    """

    file: str
    variable: xr.Variable
    times: NDArray[Any]
    grid: Grid

    def read(self, steps: slice, name: str) -> NDArray[Any]:
        """Steps of the variable in the schema's order, (steps, H, W).

        Raises:
            InputError: If the file can't be read, naming file, variable and time.
        """
        try:
            block = self._load(steps)
        except READ_ERRORS as error:
            raise InputError(
                f"can't be read (truncated or corrupt?): {' '.join(str(error).split())[:160]}",
                file=self.file,
                variable=name,
                time=self._first_bad_time(steps),
            ) from error
        if not self.grid.is_in_order:
            block = block[:, self.grid.lat_order[:, None], self.grid.lon_order]
        return block

    def _load(self, steps: slice) -> NDArray[Any]:
        """Steps as they lie in the file."""
        if self.variable.ndim == 2:
            return np.asarray(self.variable)[None][steps]
        return np.asarray(self.variable[steps])

    def _first_bad_time(self, steps: slice) -> Any | None:
        """The first time of a block that can't be read by itself; None without times."""
        for step in range(self.num_steps)[steps] if self.times.size else ():
            try:
                self._load(slice(step, step + 1))
            except READ_ERRORS:
                return self.times[step]
        return self.times[steps][0] if self.times.size else None

    @property
    def num_steps(self) -> int:
        """Number of time steps."""
        return 1 if self.variable.ndim == 2 else int(self.variable.shape[0])


class FileSeries:
    """One variable along time through several files; an array as dask sees it.

    Attributes:
        name: The variable's name in the files.
        shape: (T, H, W) over all files.
        dtype: Widest type of the files.
        ndim: Number of dimensions, 3.
    """

    ndim = 3

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        self.dtype = np.result_type(*(part.variable.dtype for part in parts))
        self._parts = list(parts)
        self._ends = list(accumulate(part.num_steps for part in parts))
        self.shape = (self._ends[-1], *parts[0].grid.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        if isinstance(key[0], int | np.integer):
            return np.asarray(self._read(int(key[0]), int(key[0]) + 1)[(0, *key[1:])])
        wanted = range(self.shape[0])[key[0]]
        if not wanted:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *key[1:])]
        first = min(wanted)
        block = self._read(first, max(wanted) + 1)
        if wanted.step != 1:
            block = block[np.asarray(wanted) - first]
        return block[(slice(None), *key[1:])]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """Steps start to stop, joined over the files that hold them."""
        blocks = []
        index = bisect_right(self._ends, start)
        begin = self._ends[index - 1] if index else 0
        while begin < stop:
            part, end = self._parts[index], self._ends[index]
            steps = slice(max(start, begin) - begin, min(stop, end) - begin)
            blocks.append(part.read(steps, self.name))
            begin, index = end, index + 1
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return block.astype(self.dtype, copy=False)


def steps_per_block(part: Part) -> int:
    """Time steps that are read at once: up to 8 of about 4 MB in all, but whole stored chunks."""
    step_bytes = max(1, int(np.prod(part.grid.shape)) * part.variable.dtype.itemsize)
    stored = (part.variable.encoding.get("preferred_chunks") or {}).get(part.variable.dims[0])
    wanted = int(np.clip(BLOCK_BYTES // step_bytes, 1, MAX_STEPS))
    if stored and stored * step_bytes <= MAX_BLOCK_BYTES:
        wanted = int(stored) * max(1, wanted // int(stored))
    return max(1, min(wanted, part.num_steps))


def join_parts(name: str, parts: Sequence[Part]) -> da.Array:
    """A dask array (T, H, W) over one variable of several files, in blocks within a file."""
    series = FileSeries(name, parts)
    steps: list[int] = []
    for part in parts:
        block = steps_per_block(part)
        steps += [min(block, part.num_steps - i) for i in range(0, part.num_steps, block)]
    joined: da.Array = da.from_array(
        series,
        chunks=(tuple(steps), *((n,) for n in series.shape[1:])),
        name=False,
        fancy=False,
        meta=np.empty((0, 0, 0), series.dtype),
    )
    return joined
