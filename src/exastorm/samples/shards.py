"""Training shards, open for reading: raw samples back to back, read one at a time.

Raw bytes won over HDF5, Zarr and the rest by measurement (see "On-disk form of samples" in
docs/choices.md): a sample is one aligned read into a buffer that is used again, from any number of
threads, with no lock and no copy. What the bytes mean stands in the index.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from itertools import compress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.samples.compression import decode, scratch
from exastorm.samples.holding import held_samples, held_shards
from exastorm.samples.index import SampleIndex
from exastorm.samples.indexed import IndexedSamples, RawSample, raw_views
from exastorm.samples.reading import read_index
from exastorm.samples.targets import class_probabilities

Float32Array = NDArray[np.float32]
LabelArray = NDArray[np.int8]

HASH_BLOCK_BYTES = 8 << 20
"""Bytes hashed at a time when shards are verified; any size that fits a cache does."""

MAX_OPEN_SHARDS = 64
"""Files kept open at once: far below the usual limit of 1024 per process."""


class ReadOnlyFile:
    """A file open for reading at any place, closed when the last user lets go of it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class SampleStore(IndexedSamples):
    """Prepared samples, open for reading; any number of threads or processes may share it.

    Attributes:
        path: The folder.
        index: What the index says, also of samples that are not held.
        left_out: Names of shards that are not used.
        holds: Whether each shard is held (num_shards,).
        holds_lock: False: any number of threads may read at a time.
    """

    def __init__(
        self, path: str | Path, left_out: Iterable[str] = (), only: Iterable[str] | None = None
    ) -> None:
        """Open a folder of samples and check that its shards have the right sizes.

        Args:
            path: The folder.
            left_out: Names of shards that are not used, as staging left them out for corrupt.
            only: Names of the shards that the folder holds, where it is one node's; None for all.

        Raises:
            InputError: If the index is missing or wrong, a shard that is held is missing or cut
                short, or a name is no shard's.
        """
        self.path: Path = Path(path)
        self.index: SampleIndex = read_index(self.path)
        self.left_out = frozenset(left_out)
        self.holds = held_shards(self.path, self.index, self.left_out, only)
        self.holds_lock = False
        self._files: OrderedDict[int, ReadOnlyFile] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it opens the files itself."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_files", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files=OrderedDict(), _lock=Lock())

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the samples of a split that are held, in order of time.

        Raises:
            InputError: If there is no such split, or nothing in it on any node.
        """
        return held_samples(self.path, self.index, split, self.holds, self.left_out)

    def read(self, i: int, label_set: int = 0) -> tuple[Float32Array, LabelArray]:
        """Field (C, H, W) float32 in the index's units and class map (H, W) int8 of sample `i`.

        Args:
            i: Number of the sample.
            label_set: Number of the label set, from 0.

        Raises:
            InputError: If the sample can't be read, or there is no such label set.
        """
        layout = self.index.layout
        self.require_label_set(label_set)
        raw, labels, _ = self.read_raw(i, np.empty(layout.stride, np.uint8))
        label = labels[label_set]
        if layout.dtype == "float32":
            return raw.astype(np.float32, copy=False), label
        center = np.asarray(layout.center, np.float32)[:, None, None]
        unit = np.asarray(layout.unit, np.float32)[:, None, None]
        return raw.astype(np.float32) * unit + center, label

    def read_probabilities(self, i: int) -> Float32Array:
        """Probability of each class (K, H, W) by the soft labels of sample `i`.

        Raises:
            InputError: If the samples have no soft labels, or the shard was cut short.
        """
        self.require_soft_labels()
        raw = self.read_raw(i, np.empty(self.index.layout.stride, np.uint8))
        return class_probabilities(raw.shares)

    def place_of(self, i: int) -> dict[str, Any]:
        """File and time of sample `i`, as `InputError` takes them."""
        shard = int(np.searchsorted(self.index.shard_starts, i, side="right")) - 1
        return {"file": self.path / self.index.shards[shard].name, "time": self.time(i)}

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of `layout.stride` bytes.

        Returns:
            Views of the buffer.

        Raises:
            InputError: If the shard was cut short since it was opened, or can't be read.
        """
        layout = self.index.layout
        i = self.number(i)
        shard = int(np.searchsorted(self.index.shard_starts, i, side="right")) - 1
        place = int(i - self.index.shard_starts[shard])
        offset, num_bytes = self.index.shards[shard].extent(place, layout.stride)
        is_packed = layout.compression != "none"
        target = scratch(num_bytes) if is_packed else buffer[:num_bytes]
        try:
            done = _read_exactly(self._open(shard), target.data, offset)
        except OSError as error:
            raise InputError(f"can't be read: {error.strerror}", **self.place_of(i)) from error
        if done < num_bytes:
            raise InputError(
                f"shard ends at byte {offset + done}, within sample {i}", **self.place_of(i)
            )
        if is_packed:
            try:
                decode(target, buffer[: layout.stride])
            except InputError as error:
                raise InputError(error.problem, **self.place_of(i)) from None
        return raw_views(layout, buffer)

    def verify(self) -> None:
        """Read every shard that is held and compare its checksum with the index.

        Raises:
            InputError: Naming every shard whose bytes have changed.
        """
        bad = []
        with ProgressBar("verify", int(self.holds.sum())) as bar:
            for shard in compress(self.index.shards, self.holds):
                if file_sha256(self.path / shard.name) != shard.sha256:
                    bad.append(shard.name)
                bar.advance(note=shard.name)
        if bad:
            raise InputError(f"checksum differs from the index: {', '.join(bad)}", file=self.path)

    def _open(self, shard: int) -> ReadOnlyFile:
        """The open file of a shard; those least recently used are let go."""
        if not self.holds[shard]:
            name = self.index.shards[shard].name
            raise InputError("shard is left out, or held by another node", file=self.path / name)
        with self._lock:
            file = self._files.pop(shard, None)
            if file is None:
                file = ReadOnlyFile(self.path / self.index.shards[shard].name)
            self._files[shard] = file
            if len(self._files) > MAX_OPEN_SHARDS:
                self._files.popitem(last=False)
        return file


def _read_exactly(file: ReadOnlyFile, view: memoryview, offset: int) -> int:
    """Fill a view from a place in a file; returns the bytes read, fewer where the file ends."""
    done = 0
    # One call reads a whole sample, unless it is over 2 GB or a signal comes between.
    while done < len(view):
        got = os.preadv(file.descriptor, [view[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
