"""One DeepCAM file as a sample: where its bytes lie, and from there to (C, H, W) in one go.

The published files hold `climate/data` (H, W, 16) in one contiguous run. HDF5 tells where it
begins; reading it by `pread` then needs neither its library nor the library's lock. Bands of rows
are brought from (R, W, C) to (C, R, W) while they are in a core's cache, so that the change of
layout costs no trip to memory. Files in chunks or compressed go through the library.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_layouts import DeepcamLayout, find_layout, open_hdf5
from exastorm.samples.checking import BadSampleError, check_classes
from exastorm.samples.shards import ReadOnlyFile

BAND_VALUES = 65_536
"""Values brought to another layout at a time: 256 KB and as much again for the result stay in a
core's cache (measured at 16 channels of 1152: bands of 2 to 4 rows are the quickest)."""


class Run(NamedTuple):
    """A contiguous run of numbers in a file.

    Attributes:
        path: The file.
        offset: Where it begins, bytes.
        dtype: Of the numbers.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]


class FilePlaces(NamedTuple):
    """Where the bytes of one snapshot lie.

    Attributes:
        data: Of the fields; None where only the library can read them.
        labels: Of each label set.
    """

    data: Run | None
    labels: tuple[Run | None, ...]


def layout_of(path: Path) -> DeepcamLayout:
    """How a file of the data set is laid out.

    Raises:
        InputError: If it can't be read, or is of no generation of the data set.
    """
    with open_hdf5(str(path)) as file:
        return find_layout(file, str(path))


def find_places(path: Path, layout: DeepcamLayout) -> FilePlaces:
    """Where the bytes of a file lie.

    Args:
        path: The file.
        layout: What it must be laid out like, with the label sets wanted.

    Raises:
        InputError: If it can't be read or is laid out in another way.
    """
    size = (layout.num_lat, layout.num_lon)
    num_channels = len(layout.channels)
    shape = (*size, num_channels) if layout.channels_last else (num_channels, *size)
    with open_hdf5(str(path)) as file:
        data = _dataset(file, "climate/data", path, shape)
        if (data.dtype.itemsize == 2) != layout.half_precision:
            raise InputError(
                f"must be as in the other files, got {data.dtype}", file=path, variable=data.name
            )
        labels = [
            _run_of(path, _dataset(file, name, path, size), plane) for name, plane in layout.labels
        ]
        return FilePlaces(_run_of(path, data, None), tuple(labels))


def _dataset(file: h5py.File, name: str, path: Path, shape: tuple[int, ...]) -> h5py.Dataset:
    """A dataset whose last dimensions have a shape."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError("is missing", file=path, variable=name)
    if found.shape[-len(shape) :] != shape or found.dtype.kind not in "fiu":
        raise InputError(
            f"must be numbers {shape} as in the other files, got {found.dtype} {found.shape}",
            file=path,
            variable=name,
        )
    return found


def _run_of(path: Path, dataset: h5py.Dataset, plane: int | None) -> Run | None:
    """Where a dataset, or a plane of it, lies; None if not in one run."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.chunks is not None or dataset.external:
        return None
    skipped = 0 if plane is None else plane * int(np.prod(dataset.shape[1:]))
    return Run(path, int(offset) + skipped * dataset.dtype.itemsize, dataset.dtype)


def read_field(path: Path, places: FilePlaces, layout: DeepcamLayout, out: NDArray[Any]) -> None:
    """Read the fields of a file into (C, H, W).

    Raises:
        InputError: If the file can't be read, or ends too early.
    """
    run = places.data
    if run is None:
        with open_hdf5(str(path)) as file:
            values = file["climate/data"][()]
        if layout.channels_last:
            for rows in _bands(out.shape):
                _spread(values[rows], out[:, rows])
        else:
            np.copyto(out, values, casting="same_kind")
        return
    with _opened(path) as file:
        if not layout.channels_last:
            values = out if run.dtype == out.dtype else np.empty(out.shape, run.dtype)
            _read(file, values.reshape(-1), run.offset, path)
            if values is not out:
                np.copyto(out, values, casting="same_kind")
            return
        num_channels, _, num_lon = out.shape
        bands = _bands(out.shape)
        scratch = np.empty((bands[0].stop, num_lon, num_channels), run.dtype)
        row_bytes = scratch[0].nbytes
        for rows in bands:
            band = scratch[: rows.stop - rows.start]
            _read(file, band.reshape(-1), run.offset + rows.start * row_bytes, path)
            _spread(band, out[:, rows])


def read_label(
    path: Path, run: Run | None, label: tuple[str, int | None], out: NDArray[np.int8]
) -> None:
    """Read a class map of a file into (H, W).

    Raises:
        InputError: If the file can't be read, or holds what is no class.
    """
    if run is None:
        name, plane = label
        with open_hdf5(str(path)) as hdf5:
            values = hdf5[name][()] if plane is None else hdf5[name][plane]
    else:
        values = np.empty(out.shape, run.dtype)
        with _opened(run.path) as file:
            _read(file, values.reshape(-1), run.offset, run.path)
    with np.errstate(invalid="ignore"):
        np.copyto(out, values, casting="unsafe")
    if not np.array_equal(out, values):
        wrong = values[out != values].flat[0]
        raise InputError(f"labels must be whole numbers, got {wrong}", file=path, variable=label[0])
    try:
        check_classes(out, label[0])
    except BadSampleError as bad:
        raise InputError(bad.problem, file=path, variable=bad.variable) from None


@contextmanager
def _opened(path: Path) -> Iterator[ReadOnlyFile]:
    """A file open for reading.

    Raises:
        InputError: For what the system refuses, now or while it is read.
    """
    try:
        yield ReadOnlyFile(path)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", file=path) from error


def _bands(shape: tuple[int, ...]) -> list[slice]:
    """Bands of rows of fields (C, H, W) that fit a core's cache."""
    num_channels, num_lat, num_lon = shape
    num_rows = max(1, BAND_VALUES // (num_channels * num_lon))
    return [slice(row, min(row + num_rows, num_lat)) for row in range(0, num_lat, num_rows)]


def _spread(band: NDArray[Any], out: NDArray[Any]) -> None:
    """Bring values (R, W, C) to (C, R, W), channel by channel: quicker than a transposed copy."""
    for channel, values in enumerate(out):
        np.copyto(values, band[:, :, channel], casting="same_kind")


def _read(file: ReadOnlyFile, out: NDArray[Any], offset: int, path: Path) -> None:
    """Fill an array from a place in a file."""
    view, done = out.view(np.uint8).data, 0
    while done < len(view):
        got = os.preadv(file.descriptor, [view[done:]], offset + done)
        if got == 0:
            raise InputError(f"ends at byte {offset + done}, within its data", file=path)
        done += got
