"""Samples in a Zarr store, in a local folder or behind an address, with a local cache.

The group's attributes say that it holds samples and give their index; `field` (N, C, H, W) is as
stored in shards, packed where those are, `label` is (N, S, H, W) for S label sets, `shares` are
soft labels, all in chunks of one sample. What comes from an object store is kept on a local drive
as whole samples, so that from the second epoch on a read is one read of a local file.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.schema import NO_LABEL
from exastorm.samples.index import FORMAT_NAME, SampleIndex
from exastorm.samples.indexed import IndexedSamples, RawSample, raw_views
from exastorm.samples.reading import index_of
from exastorm.samples.sample_cache import CACHE_GB, SampleCache
from exastorm.variables import NUM_CLASSES

INDEX_ATTRIBUTE = "index"


def is_address(path: str | Path) -> bool:
    """Whether samples are behind an address, as s3://bucket/samples.zarr, not at a path."""
    return isinstance(path, str) and "://" in path


def is_zarr_store(path: str) -> bool:
    """Whether a path or address is that of a Zarr group of samples."""
    is_local = not is_address(path)
    if is_local and not any((Path(path) / name).is_file() for name in ("zarr.json", ".zattrs")):
        return False
    try:
        return bool(_open_group(path).attrs.get("format") == FORMAT_NAME)
    except InputError:
        if is_local:
            return False
        raise


def _open_group(path: str) -> zarr.Group:
    """A group, open for reading.

    Raises:
        InputError: If it can't be.
    """
    try:
        return zarr.open_group(path, mode="r")
    # The libraries behind an address each have errors of their own, with no base but this.
    except Exception as error:
        raise InputError(f"can't be read as a Zarr group: {_told(error)}", file=path) from error


def _told(error: Exception) -> str:
    """An error in one line; some say nothing but their kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class ZarrSamples(IndexedSamples):
    """Samples in a Zarr store; any number of threads or processes may share it.

    Attributes:
        path: Folder or address.
        index: What they are.
        cache: Samples kept on a local drive; None keeps none.
        holds_lock: True: chunks are put together under Python's lock.
    """

    holds_lock = True

    def __init__(
        self, path: str | Path, cache: str | Path | None = None, cache_gb: float = CACHE_GB
    ) -> None:
        """Open a store.

        Args:
            path: Folder or address, as s3://bucket/samples.zarr.
            cache: Folder in which samples are kept once read; None keeps none of a local store,
                and those of others in the user's cache (XDG_CACHE_HOME).
            cache_gb: Most bytes that it takes, GB; of each store apart. 0 keeps none.

        Raises:
            InputError: If the store can't be read, holds no samples, or the cache can't be written.
            ValueError: If `cache_gb` is negative.
        """
        if cache_gb < 0:
            raise ValueError(f"cache_gb must not be negative, got {cache_gb}")
        self.path = str(path)
        attributes = _open_group(self.path).attrs.asdict()
        if attributes.get("format") != FORMAT_NAME:
            raise InputError(
                f'must be samples, with an attribute "format": "{FORMAT_NAME}"', file=self.path
            )
        self.index: SampleIndex = index_of(attributes.get(INDEX_ATTRIBUTE), self.path)
        self._open_arrays()
        folder = _cache_folder(self.path, cache) if cache_gb else None
        self.cache = None
        if folder is not None:
            # Samples prepared anew at the same address are others.
            name = hashlib.sha256(repr((self.path, self.index)).encode()).hexdigest()[:16]
            self.cache = SampleCache(folder / name, int(cache_gb * 1e9))

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it opens the store itself."""
        return {name: self.__dict__[name] for name in ("path", "index", "cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_arrays()

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of `layout.stride` bytes; gives views of it.

        Raises:
            InputError: If it can't be read, or is not in the store.
        """
        i, layout = self.number(i), self.index.layout
        used = buffer[: layout.used_bytes]
        raw = raw_views(layout, used)
        if self.cache is None or not self.cache.get(i, used):
            self._read(i, raw)
            if self.cache is not None:
                self.cache.put(i, used)
        return raw

    def _read(self, i: int, raw: RawSample) -> None:
        """Read a sample from the store."""
        for (name, array), out in zip(self._arrays.items(), raw, strict=False):
            try:
                out[...] = array[i]
            # As for opening: each library behind an address has its own.
            except Exception as error:
                raise InputError(
                    f"can't be read: {_told(error)}", variable=name, **self.place_of(i)
                ) from error
            # Zarr takes a chunk that is missing for one full of this.
            fill = out.dtype.type(array.fill_value)
            if name == "shares" or (name == "label" and NO_LABEL <= fill < NUM_CLASSES):
                continue
            if np.array_equal(out.flat[:1], [fill], equal_nan=True) and np.array_equal(
                out, np.full_like(out, fill), equal_nan=True
            ):
                raise InputError(
                    f"holds {fill} everywhere: its chunk is missing",
                    variable=name,
                    **self.place_of(i),
                )

    def _open_arrays(self) -> None:
        """Open the arrays and check that they are what the index says.

        Raises:
            InputError: If not.
        """
        layout, group = self.index.layout, _open_group(str(self.path))
        num_samples, size = self.index.num_samples, layout.shape[1:]
        wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            "field": ((num_samples, *layout.shape), layout.disk_dtype),
            "label": ((num_samples, layout.num_label_sets, *size), np.dtype(np.int8)),
        }
        if layout.shares:
            wanted["shares"] = ((num_samples, len(layout.shares), *size), np.dtype(np.uint8))
        self._arrays: dict[str, Any] = {}
        for name, (shape, dtype) in wanted.items():
            array = group.get(name)
            if not isinstance(array, zarr.Array):
                raise InputError("is missing", file=self.path, variable=name)
            if (array.shape, array.dtype) != (shape, dtype):
                raise InputError(
                    f"must be {dtype} {shape}, got {array.dtype} {array.shape}",
                    file=self.path,
                    variable=name,
                )
            self._arrays[name] = array


def _cache_folder(path: str, cache: str | Path | None) -> Path | None:
    """Where samples of a store are kept, if they are."""
    if cache is not None:
        return Path(cache)
    if not is_address(path) or path.startswith("file://"):
        return None
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "exastorm" / "samples"
