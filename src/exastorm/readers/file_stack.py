"""Many files of one map or cube each, as one lazy array.

Each file is one chunk, read when it is computed, so that a hundred thousand files cost no more to
open than a look at their headers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray


class FileStack:
    """A read-only array (num_files, ...) whose every first index is one file; picklable.

    Attributes:
        files: What to read, one a file.
        shape: Shape of the whole array.
        dtype: Of the values.
    """

    def __init__(
        self,
        files: Sequence[Any],
        read: Callable[[Any], NDArray[Any]],
        shape: tuple[int, ...],
        dtype: Any,
    ) -> None:
        self.files = files
        self.shape = (len(files), *shape)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)
        self._read = read

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read the files of one chunk; dask asks with slices, or integers where it joined two."""
        which, *rest = index
        if not isinstance(which, slice):
            return np.asarray(self._read_file(which)[tuple(rest)])
        numbers = range(*which.indices(len(self.files)))
        blocks = [self._read_file(i)[tuple(rest)] for i in numbers]
        if len(blocks) == 1:
            return np.asarray(blocks[0][None])
        return np.stack(blocks) if blocks else np.empty((0, *self.shape[1:]), self.dtype)

    def _read_file(self, number: int) -> NDArray[Any]:
        return self._read(self.files[number]).astype(self.dtype, copy=False)

    def lazy(self) -> Any:
        """The stack as a dask array with one chunk a file; a chunk is read once a computation."""
        return da.from_array(
            self,
            chunks=(1, *self.shape[1:]),
            inline_array=True,
            fancy=False,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )


def pick_channel(stack: Any, channel: int) -> Any:
    """One channel (T, H, W) of a lazy stack (T, C, H, W), sharing the read with its neighbors."""
    return da.map_blocks(
        _take_channel,
        stack,
        channel,
        drop_axis=1,
        dtype=stack.dtype,
        meta=np.empty((0, 0, 0), stack.dtype),
    )


def _take_channel(block: NDArray[Any], channel: int) -> NDArray[Any]:
    return block[:, channel]
