"""Writes training shards: samples back to back, each shard once and with a checksum."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.samples.compression import encode
from exastorm.samples.index import SampleLayout, Shard

PARTIAL = ".partial"
"""Ends the name of a shard that is being written."""


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
        self._shard_bytes = shard_mb * 1e6
        self._center = np.asarray(layout.center, np.float32)[:, None, None]
        self._unit = np.asarray(layout.unit, np.float32)[:, None, None]
        self._padding = bytes(layout.stride - layout.used_bytes)
        self._file: Any = None
        self._hash = hashlib.sha256()
        self._ends: list[int] = []

    def append(
        self,
        field: NDArray[np.float32],
        labels: NDArray[np.int8],
        shares: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write one sample.

        Args:
            field: (C, H, W) in the units of the index.
            labels: Class map of each label set (N, H, W).
            shares: Stored shares (S, H, W), where the layout has any.
        """
        if self._layout.dtype == "float16":
            field = (field - self._center) / self._unit
        self.append_stored(field, labels, shares)

    def append_stored(
        self, field: NDArray[Any], labels: NDArray[np.int8], shares: NDArray[np.uint8] | None = None
    ) -> None:
        """As `append`, of a field as the layout stores it."""
        assert field.shape == self._layout.shape, (field.shape, self._layout.shape)
        assert labels.nbytes == self._layout.label_bytes, (labels.shape, self._layout.label_sets)
        soft = b"" if shares is None else np.ascontiguousarray(shares, np.uint8).data.cast("B")
        assert len(soft) == self._layout.share_bytes, (len(soft), self._layout.shares)
        if self._file is None:
            self._file = (self._folder / (self._name() + PARTIAL)).open("wb")
        parts: tuple[Any, ...] = (
            np.ascontiguousarray(field, self._layout.disk_dtype).data.cast("B"),
            np.ascontiguousarray(labels, np.int8).data.cast("B"),
            soft,
            self._padding,
        )
        if self._layout.compression != "none":
            whole = np.frombuffer(b"".join(parts), self._layout.disk_dtype)
            parts = (encode(whole, self._layout.compression),)
        for part in parts:
            self._file.write(part)
            self._hash.update(part)
        begin = self._ends[-1] if self._ends else 0
        self._ends.append(begin + sum(len(part) for part in parts))
        if self._ends[-1] + self._layout.stride > self._shard_bytes:
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
                num_samples=len(self._ends),
                num_bytes=self._ends[-1],
                sha256=self._hash.hexdigest(),
                ends=() if self._layout.compression == "none" else tuple(self._ends),
            )
        )
        self._file, self._hash, self._ends = None, hashlib.sha256(), []

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
