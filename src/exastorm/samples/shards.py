"""Training shards: raw samples back to back, written once with a checksum, read one at a time.

Raw bytes won over HDF5, Zarr and the rest by measurement (see "On-disk form of samples" in
docs/choices.md): a sample is one aligned read into a buffer that is used again, from any number of
threads, with no lock and no copy. What the bytes mean stands in the index.
"""

import contextlib
import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import cftime
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.samples.index import SampleIndex, SampleLayout, Shard, parse_time
from exastorm.samples.reading import read_index
from exastorm.samples.splits import SPLITS

Float32Array = NDArray[np.float32]
LabelArray = NDArray[np.int8]

PARTIAL = ".partial"
"""Ends the name of a shard that is being written."""

HASH_BLOCK_BYTES = 8 << 20
"""Bytes hashed at a time when shards are verified; any size that fits a cache does."""

MAX_OPEN_SHARDS = 64
"""Files kept open at once: far below the usual limit of 1024 per process."""


class ShardWriter:
    """Writes the samples of one split into shards of about a size; nothing is final before close.

    Attributes:
        shards: The shards that are complete.
    """

    def __init__(self, folder: Path, split: str, layout: SampleLayout, shard_mb: float) -> None:
        self.shards: list[Shard] = []
        self._folder = folder
        self._split = split
        self._layout = layout
        self._per_shard = max(1, int(shard_mb * 1e6 // layout.stride))
        self._center = np.asarray(layout.center, np.float32)[:, None, None]
        self._unit = np.asarray(layout.unit, np.float32)[:, None, None]
        self._padding = bytes(layout.stride - layout.field_bytes - layout.label_bytes)
        self._file: Any = None
        self._hash = hashlib.sha256()
        self._num_samples = 0

    def append(self, field: Float32Array, label: LabelArray) -> None:
        """Write one sample: field (C, H, W) in the units of the index, class map (H, W)."""
        assert field.shape == self._layout.shape, (field.shape, self._layout.shape)
        if self._file is None:
            self._file = (self._folder / (self._name() + PARTIAL)).open("wb")
        if self._layout.dtype == "float16":
            field = (field - self._center) / self._unit
        for part in (
            np.ascontiguousarray(field, self._layout.disk_dtype).data.cast("B"),
            np.ascontiguousarray(label, np.int8).data.cast("B"),
            self._padding,
        ):
            self._file.write(part)
            self._hash.update(part)
        self._num_samples += 1
        if self._num_samples == self._per_shard:
            self.close()

    def close(self) -> None:
        """Complete the shard in hand, if any."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = self._name()
        (self._folder / (name + PARTIAL)).replace(self._folder / name)
        self.shards.append(
            Shard(
                name=name,
                split=self._split,
                num_samples=self._num_samples,
                num_bytes=self._num_samples * self._layout.stride,
                sha256=self._hash.hexdigest(),
            )
        )
        self._file, self._hash, self._num_samples = None, hashlib.sha256(), 0

    def discard(self) -> None:
        """Remove everything written, finished or not."""
        if self._file is not None:
            # On a full disk closing fails once more; what was written must go all the same.
            with contextlib.suppress(OSError):
                self._file.close()
            (self._folder / (self._name() + PARTIAL)).unlink(missing_ok=True)
            self._file = None
        for shard in self.shards:
            (self._folder / shard.name).unlink(missing_ok=True)

    def _name(self) -> str:
        """Name of the shard in hand."""
        return f"{self._split}-{len(self.shards):05d}.bin"


class ReadOnlyFile:
    """A file open for reading at any place, closed when the last user lets go of it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class SampleStore:
    """Prepared samples, open for reading; any number of threads or processes may share it.

    Attributes:
        path: The folder.
        index: What the index says.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a folder of samples and check that its shards have the right sizes.

        Raises:
            InputError: If the index is missing or wrong, or a shard is missing or cut short.
        """
        self.path = Path(path)
        self.index: SampleIndex = read_index(self.path)
        for shard in self.index.shards:
            file = self.path / shard.name
            got = file.stat().st_size if file.is_file() else None
            if got != shard.num_bytes:
                found = "no such file" if got is None else f"{got}"
                raise InputError(f"shard must have {shard.num_bytes} bytes, got {found}", file=file)
        self._files: OrderedDict[int, ReadOnlyFile] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it opens the files itself."""
        return {"path": self.path, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files=OrderedDict(), _lock=Lock())

    def __len__(self) -> int:
        return self.index.num_samples

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the samples of a split, in order of time.

        Raises:
            InputError: If there is no such split, or nothing in it.
        """
        if split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        starts = self.index.shard_starts
        ranges = [
            np.arange(starts[k], starts[k + 1])
            for k, shard in enumerate(self.index.shards)
            if shard.split == split
        ]
        if not ranges:
            raise InputError(f"the {split} split has no samples", file=self.path)
        return np.concatenate(ranges)

    def time(self, i: int) -> cftime.datetime:
        """Time of sample `i`, in the index's calendar."""
        return parse_time(self.index.times[i], self.index.calendar)

    def read(self, i: int) -> tuple[Float32Array, LabelArray]:
        """Field (C, H, W) float32 in the index's units and class map (H, W) int8 of sample `i`.

        Raises:
            InputError: If the shard was cut short since it was opened.
        """
        layout = self.index.layout
        raw, label = self.read_raw(i, np.empty(layout.stride, np.uint8))
        if layout.dtype == "float32":
            return raw.astype(np.float32, copy=False), label
        center = np.asarray(layout.center, np.float32)[:, None, None]
        unit = np.asarray(layout.unit, np.float32)[:, None, None]
        return raw.astype(np.float32) * unit + center, label

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> tuple[NDArray[Any], LabelArray]:
        """Read sample `i` into a buffer of `layout.stride` bytes.

        Returns:
            Field (C, H, W) as stored, and class map (H, W): views of the buffer.

        Raises:
            InputError: If the shard was cut short since it was opened.
        """
        layout = self.index.layout
        num_samples = len(self)
        if not -num_samples <= i < num_samples:
            raise IndexError(f"sample must be below {num_samples}, got {i}")
        i = i % num_samples
        shard = int(np.searchsorted(self.index.shard_starts, i, side="right")) - 1
        offset = int(i - self.index.shard_starts[shard]) * layout.stride
        file = self._open(shard)
        view, done = buffer.data, 0
        # One call reads a whole sample, unless it is over 2 GB or a signal comes between.
        while done < layout.stride:
            got = os.preadv(file.descriptor, [view[done : layout.stride]], offset + done)
            if got == 0:
                name = self.index.shards[shard].name
                raise InputError(
                    f"shard ends at byte {offset + done}, within sample {i}", file=self.path / name
                )
            done += got
        field = buffer[: layout.field_bytes].view(layout.disk_dtype).reshape(layout.shape)
        label = buffer[layout.field_bytes : layout.field_bytes + layout.label_bytes]
        return field, label.view(np.int8).reshape(layout.shape[1:])

    def verify(self) -> None:
        """Read every shard and compare its checksum with the index.

        Raises:
            InputError: Naming every shard whose bytes have changed.
        """
        bad = []
        with ProgressBar("verify", len(self.index.shards)) as bar:
            for shard in self.index.shards:
                if file_sha256(self.path / shard.name) != shard.sha256:
                    bad.append(shard.name)
                bar.advance(note=shard.name)
        if bad:
            raise InputError(f"checksum differs from the index: {', '.join(bad)}", file=self.path)

    def _open(self, shard: int) -> ReadOnlyFile:
        """The open file of a shard; those least recently used are let go."""
        with self._lock:
            file = self._files.pop(shard, None)
            if file is None:
                file = ReadOnlyFile(self.path / self.index.shards[shard].name)
            self._files[shard] = file
            if len(self._files) > MAX_OPEN_SHARDS:
                self._files.popitem(last=False)
        return file


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
