"""The three layouts in which the SC18 data set went round, told apart by their shapes.

1. As the label maker wrote it, and as MLPerf's DeepCAM has it: `climate/data` (H, W, 16) float32
   with the channels last, `climate/labels_0`, `climate/labels_1` (H, W).
2. Re-formatted for training: `climate/data` (16, H, W), `climate/labels` (H, W) or (L, H, W).
3. Staged copies on node-local drives: `climate/data` (C, H, W) in single or half precision,
   `climate/labels` in integers, and, where channels were left out, `climate/channels`, the list of
   those kept (numbers of the 16).

Nothing in a file says what it is; the 16 channels have CAM's order and units
(`exastorm.variables.CHANNELS`), the grid is CAM's finite-volume one. Source: Kurth et al. 2018
(SC18) and the published code of its label maker, re-formatter and stager.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec
import h5py
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.checks import check_values
from exastorm.readers.opening import is_local, kind_of
from exastorm.readers.schema import NO_LABEL
from exastorm.readers.snapshot_files import NAME_PATTERN, SnapshotFile, base_name, refuse_blank
from exastorm.variables import CHANNEL_NAMES, CLASSES

NUM_CHANNELS = len(CHANNEL_NAMES)


@dataclass(frozen=True, kw_only=True)
class DeepcamLayout:
    """How one file is laid out.

    Attributes:
        generation: 1, 2 or 3, as numbered above.
        num_lat: Latitudes.
        num_lon: Longitudes.
        channels: Fields in the file's order.
        channels_last: True where the channel is the last axis.
        labels: Name of the dataset and plane in it (None: it is a single map) of each label set.
        half_precision: True where the values are float16.
    """

    generation: int
    num_lat: int
    num_lon: int
    channels: tuple[str, ...]
    channels_last: bool
    labels: tuple[tuple[str, int | None], ...]
    half_precision: bool


@contextmanager
def open_hdf5(path: str) -> Iterator[h5py.File]:
    """Open a local file or an fsspec address for reading.

    Raises:
        InputError: If it is not there, not allowed, cut short, or no HDF5.
    """
    try:
        if is_local(path):
            with h5py.File(path.removeprefix("file://"), "r") as file:
                yield file
        else:
            with fsspec.open(path, "rb") as raw, h5py.File(raw, "r") as file:
                yield file
    except (OSError, RuntimeError) as error:
        kind_of(path)
        text = " ".join(str(error).split())
        raise InputError(f"can't be read (truncated or corrupt?): {text}", file=path) from error


def is_deepcam(path: str) -> bool:
    """True for a file with the group `climate`, or, even if unreadable, of the set's file names."""
    name = base_name(path)
    if NAME_PATTERN.fullmatch(name) and name.endswith((".h5", ".hdf5")):
        return True
    try:
        with open_hdf5(path) as file:
            return isinstance(file.get("climate"), h5py.Group)
    except InputError:
        return False


def is_statistics(file: h5py.File) -> bool:
    """True where an open file is the set's `stats.h5`, not a snapshot."""
    return "climate/data" not in file and ("climate/stats" in file or "climate/mean" in file)


def find_layout(file: h5py.File, path: str) -> DeepcamLayout:
    """The layout of an open file.

    Raises:
        InputError: If something is missing or of a shape that no generation has.
    """
    data = _dataset(file, "climate/data", path)
    if data.ndim != 3 or data.dtype.kind != "f":
        raise InputError(
            f"must be floats with three dimensions, got {data.dtype} {data.shape}",
            file=path,
            variable="climate/data",
        )
    channels = _kept_channels(file, path)
    labels = _label_planes(file, path)
    shapes = {_map_shape(file[name]) for name, _ in labels}
    channels_last = _is_channels_last(data.shape, len(channels), shapes, path)
    num_lat, num_lon = data.shape[:2] if channels_last else data.shape[1:]
    for name, _ in labels:
        if _map_shape(file[name]) != (num_lat, num_lon):
            raise InputError(
                f"must be {(num_lat, num_lon)} as climate/data is, got {file[name].shape}",
                file=path,
                variable=name,
            )
    if num_lat > num_lon:
        raise InputError(
            f"must have latitude before longitude, got {num_lat} x {num_lon}: axes swapped?",
            file=path,
            variable="climate/data",
        )
    half_precision = data.dtype == np.float16
    staged = "climate/channels" in file or half_precision
    staged = staged or any(file[n].dtype.kind in "iu" for n, _ in labels)
    return DeepcamLayout(
        generation=1 if channels_last else (3 if staged else 2),
        num_lat=num_lat,
        num_lon=num_lon,
        channels=channels,
        channels_last=channels_last,
        labels=labels,
        half_precision=half_precision,
    )


def _dataset(file: h5py.File, name: str, path: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError("is missing", file=path, variable=name)
    return found


def _kept_channels(file: h5py.File, path: str) -> tuple[str, ...]:
    """Names of the channels in the file, from `climate/channels` where it is there."""
    if "climate/channels" not in file:
        return CHANNEL_NAMES
    numbers = np.ravel(_dataset(file, "climate/channels", path)[()]).tolist()
    valid = all(isinstance(n, int) and 0 <= n < NUM_CHANNELS for n in numbers)
    if not valid or len(set(numbers)) != len(numbers) or not numbers:
        raise InputError(
            f"must list numbers 0 to {NUM_CHANNELS - 1} once each, got {numbers}",
            file=path,
            variable="climate/channels",
        )
    return tuple(CHANNEL_NAMES[n] for n in numbers)


def _label_planes(file: h5py.File, path: str) -> tuple[tuple[str, int | None], ...]:
    """Where the label sets are: one dataset each, or planes of `climate/labels`; none is fine."""
    if "climate/labels" in file:
        labels = _dataset(file, "climate/labels", path)
        if labels.ndim not in (2, 3):
            raise InputError(
                f"must be one map or several, got shape {labels.shape}",
                file=path,
                variable="climate/labels",
            )
        if labels.ndim == 2:
            return (("climate/labels", None),)
        return tuple(("climate/labels", plane) for plane in range(labels.shape[0]))
    names = [f"climate/{n}" for n in file["climate"] if n.removeprefix("labels_").isdigit()]
    names.sort(key=lambda n: int(n.rsplit("_", 1)[1]))
    return tuple((name, None) for name in names)


def _map_shape(labels: h5py.Dataset) -> tuple[int, int]:
    """Latitudes and longitudes of a dataset of label maps."""
    return tuple(labels.shape[-2:])


def _is_channels_last(
    shape: tuple[int, ...], num_channels: int, label_shapes: set[tuple[int, int]], path: str
) -> bool:
    """Tell (H, W, C) from (C, H, W): by the number of channels, then by the labels' shape."""
    last, first = shape[-1] == num_channels, shape[0] == num_channels
    if last and first:
        last, first = shape[:2] in label_shapes, shape[1:] in label_shapes
    if last == first:
        raise InputError(
            f"must be (lat, lon, {num_channels}) or ({num_channels}, lat, lon), got {shape}",
            file=path,
            variable="climate/data",
        )
    return last


def read_channels(file: SnapshotFile[DeepcamLayout], names: Sequence[str]) -> NDArray[np.float32]:
    """Fields (C, H, W) of one file.

    Args:
        file: The file.
        names: Fields wanted; all must be in its layout.

    Raises:
        InputError: If the file cannot be read any more, or a field holds no number.
    """
    path, layout = file.path, file.layout
    wanted = [layout.channels.index(name) for name in names]
    with open_hdf5(path) as hdf5:
        data = _dataset(hdf5, "climate/data", path)
        if layout.channels_last:
            # A whole read costs no more than one channel of it: the bytes lie interleaved.
            cube = _channels_first(data[()], wanted)
        else:
            cube = np.stack([data[channel] for channel in wanted]).astype(np.float32, copy=False)
    if layout.half_precision:
        # What is above 65504 did not fit into half precision and was stored as infinite.
        cube[np.isinf(cube)] = np.nan
    for name, values in zip(names, cube, strict=True):
        refuse_blank(values, name, file)
    return cube


def _channels_first(values: NDArray[Any], channels: list[int]) -> NDArray[np.float32]:
    """Channels (C, H, W) of interleaved values (H, W, 16), a row at a time to stay in the cache."""
    out = np.empty((len(channels), *values.shape[:2]), dtype=np.float32)
    for row, pixels in enumerate(values):
        out[:, row] = pixels.T[channels]
    return out


def read_labels(file: SnapshotFile[DeepcamLayout], label_set: int) -> NDArray[np.int8]:
    """One label map (H, W) of one file, -1 where the file has none.

    Raises:
        InputError: If it holds anything but the classes' flags.
    """
    path, layout = file.path, file.layout
    if label_set >= len(layout.labels):
        return np.full((layout.num_lat, layout.num_lon), NO_LABEL, np.int8)
    name, plane = layout.labels[label_set]
    with open_hdf5(path) as hdf5:
        labels = _dataset(hdf5, name, path)
        values = labels[()] if plane is None else labels[plane]
    return check_labels(values, file=path, variable=name, time=file.time)


def check_sound(file: SnapshotFile[DeepcamLayout]) -> None:
    """Read all of a file and refuse values that can't be.

    Raises:
        InputError: For blank fields, implausible values, or labels that are no classes.
    """
    names = fields_that_fit(file)
    for name, values in zip(names, read_channels(file, names), strict=True):
        check_values(name, values, {}, file=file.path, time=file.time)
    for label_set in range(len(file.layout.labels)):
        read_labels(file, label_set)


def fields_that_fit(file: SnapshotFile[DeepcamLayout]) -> tuple[str, ...]:
    """The file's fields without those that overflow half precision, where it has that."""
    if not file.layout.half_precision:
        return file.layout.channels
    with open_hdf5(file.path) as hdf5:
        data = _dataset(hdf5, "climate/data", file.path)[()]
    axis = (0, 1) if file.layout.channels_last else (1, 2)
    overflows = np.isinf(data).any(axis=axis)
    return tuple(n for n, o in zip(file.layout.channels, overflows, strict=True) if not o)


def check_labels(values: Any, **where: Any) -> NDArray[np.int8]:
    """Label values of any number type as int8 flags.

    Args:
        values: Any shape.
        where: File, variable and time for the message.

    Raises:
        InputError: If they hold anything but the classes' flags.
    """
    flags = [c.flag for c in CLASSES]
    values = np.asarray(values)
    wrong = ~np.isin(values, flags)
    if wrong.any():
        raise InputError(
            f"labels must be {', '.join(map(str, flags))}, got {values[wrong].flat[0]}", **where
        )
    return np.asarray(values, dtype=np.int8)
