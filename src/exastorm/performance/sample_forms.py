"""The on-disk forms of samples that are measured against each other.

Every form holds the same samples, uncompressed (fields of weather in float32 hardly shrink without
loss, and the question is the way of reading). A read ends with the whole field and its class map in
memory, in buffers that are used again where the form's library can.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from exastorm.samples.shards import ReadOnlyFile

Read = Callable[[int], tuple[NDArray[Any], NDArray[Any]]]
"""Gives field (C, H, W) and class map (H, W) of a sample; the arrays may be used again."""

SHARD_SAMPLES = 8
"""Samples in a shard, where a form has shards: 460 MB at the paper's size."""


class SampleSource:
    """Made-up samples, each different, of one size.

    Attributes:
        num_samples: How many there are.
        shape: Channels, latitudes, longitudes.
    """

    def __init__(self, num_samples: int, shape: tuple[int, int, int]) -> None:
        self.num_samples = num_samples
        self.shape = shape
        generator = np.random.default_rng(0)
        self._field = generator.standard_normal(self.shape, dtype=np.float32)
        self._label = generator.integers(0, 3, self.shape[1:], dtype=np.int8)

    @property
    def sample_bytes(self) -> int:
        """Bytes of a field and its class map."""
        return self._field.nbytes + self._label.nbytes

    def field(self, i: int) -> NDArray[np.float32]:
        """Field of sample `i`, (C, H, W)."""
        return np.roll(self._field, i, axis=-1)

    def label(self, i: int) -> NDArray[np.int8]:
        """Class map of sample `i`, (H, W)."""
        return np.roll(self._label, i, axis=-1)

    def shards(self) -> Iterator[tuple[int, range]]:
        """Number and samples of each shard."""
        for first in range(0, self.num_samples, SHARD_SAMPLES):
            last = min(first + SHARD_SAMPLES, self.num_samples)
            yield first // SHARD_SAMPLES, range(first, last)


def write_raw(folder: Path, source: SampleSource) -> None:
    """Samples back to back, as samples/shards.py has them."""
    for shard, samples in source.shards():
        with (folder / f"{shard}.bin").open("wb") as file:
            for i in samples:
                file.write(source.field(i).data)
                file.write(source.label(i).data)


def read_raw(folder: Path, source: SampleSource) -> Read:
    """One `pread` into a buffer used again."""
    files = [ReadOnlyFile(folder / f"{shard}.bin") for shard, _ in source.shards()]
    buffer = np.empty(source.sample_bytes, np.uint8)

    def read(i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        offset = i % SHARD_SAMPLES * source.sample_bytes
        os.preadv(files[i // SHARD_SAMPLES].descriptor, [buffer.data], offset)
        return _as_sample(buffer, source)

    return read


def read_mapped(folder: Path, source: SampleSource) -> Read:
    """The raw form through a memory map, copied to a buffer used again."""
    maps = [np.memmap(folder / f"{shard}.bin", np.uint8, "r") for shard, _ in source.shards()]
    buffer = np.empty(source.sample_bytes, np.uint8)

    def read(i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        offset = i % SHARD_SAMPLES * source.sample_bytes
        np.copyto(buffer, maps[i // SHARD_SAMPLES][offset : offset + source.sample_bytes])
        return _as_sample(buffer, source)

    return read


def _as_sample(
    buffer: NDArray[np.uint8], source: SampleSource
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Field and class map in a buffer that holds both."""
    field_bytes = 4 * int(np.prod(source.shape))
    field = buffer[:field_bytes].view(np.float32).reshape(source.shape)
    return field, buffer[field_bytes:].view(np.int8).reshape(source.shape[1:])


def write_npy(folder: Path, source: SampleSource) -> None:
    """Two .npy files a sample."""
    for i in range(source.num_samples):
        np.save(folder / f"field-{i}.npy", source.field(i))
        np.save(folder / f"label-{i}.npy", source.label(i))


def read_npy(folder: Path, source: SampleSource) -> Read:
    """`numpy.load` of both files."""
    return lambda i: (np.load(folder / f"field-{i}.npy"), np.load(folder / f"label-{i}.npy"))


def write_hdf5(folder: Path, source: SampleSource) -> None:
    """One contiguous dataset of fields and one of class maps a shard."""
    for shard, samples in source.shards():
        with h5py.File(folder / f"{shard}.h5", "w") as file:
            fields = file.create_dataset("field", (len(samples), *source.shape), np.float32)
            labels = file.create_dataset("label", (len(samples), *source.shape[1:]), np.int8)
            for place, i in enumerate(samples):
                fields[place], labels[place] = source.field(i), source.label(i)


def read_hdf5(folder: Path, source: SampleSource) -> Read:
    """`read_direct` into buffers used again."""
    files = [h5py.File(folder / f"{shard}.h5") for shard, _ in source.shards()]
    field, label = np.empty(source.shape, np.float32), np.empty(source.shape[1:], np.int8)

    def read(i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        file, place = files[i // SHARD_SAMPLES], i % SHARD_SAMPLES
        file["field"].read_direct(field, np.s_[place])
        file["label"].read_direct(label, np.s_[place])
        return field, label

    return read


def write_zarr(folder: Path, source: SampleSource) -> None:
    """Zarr v3: one chunk a sample, sharded, not compressed."""
    group = zarr.open_group(folder, mode="w")
    for name, shape, dtype in (
        ("field", source.shape, "float32"),
        ("label", source.shape[1:], "int8"),
    ):
        array = group.create_array(
            name,
            shape=(source.num_samples, *shape),
            chunks=(1, *shape),
            shards=(SHARD_SAMPLES, *shape),
            dtype=dtype,
            compressors=None,
        )
        for _, samples in source.shards():
            parts = [getattr(source, name)(i) for i in samples]
            array[samples.start : samples.stop] = np.stack(parts)


def read_zarr(folder: Path, source: SampleSource) -> Read:
    """Zarr's own reader, which makes new arrays."""
    group = zarr.open_group(folder, mode="r")
    fields: Any = group["field"]
    labels: Any = group["label"]
    return lambda i: (fields[i], labels[i])


def write_safetensors(folder: Path, source: SampleSource) -> None:
    """One safetensors file a shard, two tensors a sample."""
    for shard, samples in source.shards():
        tensors = {f"field-{i}": source.field(i) for i in samples}
        save_file(
            {**tensors, **{f"label-{i}": source.label(i) for i in samples}},
            folder / f"{shard}.safetensors",
        )


def read_safetensors(folder: Path, source: SampleSource) -> Read:
    """Safetensors' own reader, which makes new arrays."""
    files: list[Any] = [
        safe_open(folder / f"{shard}.safetensors", framework="numpy")
        for shard, _ in source.shards()
    ]

    def read(i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        file = files[i // SHARD_SAMPLES]
        return file.get_tensor(f"field-{i}"), file.get_tensor(f"label-{i}")

    return read


FORMS = {
    "raw, pread": (write_raw, read_raw),
    "raw, memory map": (write_raw, read_mapped),
    "npy": (write_npy, read_npy),
    "HDF5": (write_hdf5, read_hdf5),
    "Zarr v3, sharded": (write_zarr, read_zarr),
    "safetensors": (write_safetensors, read_safetensors),
}
"""Each form: how it is written, and how a reader is opened."""
