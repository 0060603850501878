"""Snapshots as pairs of .npy files: where the numbers lie in `data-*.npy` and `label-*.npy`.

The layout that submissions to MLPerf's DeepCAM convert to (NVIDIA's of HPC v3.0, its
convert_hdf52npy.py): (H, W, C) in single precision and (H, W), in folders train, validation and
test with `stats.h5` beside them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_layouts import DeepcamLayout
from exastorm.samples.deepcam_files import FilePlaces, Run
from exastorm.variables import CHANNEL_NAMES

LABELS = (("label", None),)
"""Name and plane of the only label set."""


def label_path(path: Path) -> Path:
    """The file of labels beside one of data."""
    return path.with_name("label-" + path.name.removeprefix("data-"))


def npy_layout(path: Path) -> DeepcamLayout:
    """How a pair of files is laid out of which nothing is said.

    Raises:
        InputError: If they can't be read, or are no snapshot of DeepCAM's channels.
    """
    field, label = _mapped(path)
    if field.ndim != 3 or field.dtype.kind != "f" or field.shape[:2] != label.shape:
        raise InputError(
            f"must be (lat, lon, channel) with a label (lat, lon), got {field.shape} with"
            f" {label.shape}",
            file=path,
        )
    if field.shape[2] != len(CHANNEL_NAMES):
        raise InputError(
            f"must have DeepCAM's {len(CHANNEL_NAMES)} channels where nothing is said of them, got"
            f" {field.shape[2]}",
            file=path,
        )
    return DeepcamLayout(
        generation=1,
        num_lat=field.shape[0],
        num_lon=field.shape[1],
        channels=CHANNEL_NAMES,
        channels_last=True,
        labels=LABELS,
        half_precision=field.dtype == np.float16,
    )


def npy_places(path: Path, layout: DeepcamLayout) -> FilePlaces:
    """Where the bytes of a pair of files lie.

    Raises:
        InputError: If they can't be read or are laid out unlike the layout.
    """
    size = (layout.num_lat, layout.num_lon)
    field, label = _mapped(path)
    for file, values, shape in (
        (path, field, (*size, len(layout.channels))),
        (label_path(path), label, size),
    ):
        if values.shape != shape or values.dtype.kind not in "fiu" or not values.flags.c_contiguous:
            raise InputError(
                f"must be numbers {shape} row by row, as in the other files, got {values.dtype}"
                f" {values.shape}",
                file=file,
            )
    if (field.dtype.itemsize == 2) != layout.half_precision:
        raise InputError(f"must be as in the other files, got {field.dtype}", file=path)
    run_of_labels = Run(label_path(path), int(label.offset), label.dtype)
    return FilePlaces(Run(path, int(field.offset), field.dtype), (run_of_labels,))


def _mapped(path: Path) -> tuple[Any, Any]:
    """Fields and labels as memory maps, which know where their numbers begin."""
    try:
        field, label = (np.load(file, mmap_mode="r") for file in (path, label_path(path)))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"can't be read as .npy with its label: {error}", file=path) from None
    return field, label
