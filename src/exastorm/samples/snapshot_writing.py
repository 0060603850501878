"""Samples written as folders with a file or two a snapshot, as DeepCAM keeps them.

Folders train, validation and test hold snapshots named `data-YYYY-MM-DD-TT-R`; `stats.h5` beside
them has the statistics. What those files can't say (names of other channels, grid, class shares)
stands in `samples.json`, written last. HDF5 files are as MLPerf's reference reads them, .npy files
as its submissions convert them to (`samples/npy_files.py`): float32, channels last, labels of 4
bytes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.samples.converting import Samples
from exastorm.samples.deepcam_facts import FACTS_NAME, stems_of
from exastorm.samples.deepcam_index import STATISTICS_NAME
from exastorm.samples.index import ADAPTER, SampleIndex
from exastorm.samples.npy_files import label_path
from exastorm.samples.splits import SPLITS
from exastorm.variables import CHANNEL_NAMES

Write = Callable[[Path, NDArray[np.float32], NDArray[Any]], None]
"""Writes fields (H, W, C) and label maps (N, H, W), given a path without ending."""


def write_hdf5_files(samples: Samples, out: Path) -> None:
    """Write samples of DeepCAM's channels in single precision, into an empty folder.

    Raises:
        InputError: If they have soft labels, or times that names can't hold.
    """
    assert samples.index.channels == CHANNEL_NAMES, samples.index.channels
    _write_snapshots(samples, out, _write_hdf5)


def write_npy_files(samples: Samples, out: Path) -> None:
    """Write samples in single precision as .npy files, into an empty folder.

    Raises:
        InputError: If they have soft labels, several label sets, or times that names can't hold.
    """
    names = samples.index.layout.label_sets
    if names:
        raise InputError(f"npy files hold one label set, got {len(names)}: {', '.join(names)}")
    _write_snapshots(samples, out, _write_npy)


def _write_hdf5(stem: Path, field: NDArray[np.float32], labels: NDArray[Any]) -> None:
    with h5py.File(f"{stem}.h5", "w") as file:
        file["climate/data"] = field
        for label_set, label in enumerate(labels):
            file[f"climate/labels_{label_set}"] = label.astype(np.float32)


def _write_npy(stem: Path, field: NDArray[np.float32], labels: NDArray[Any]) -> None:
    path = stem.with_name(f"{stem.name}.npy")
    np.save(path, field)
    np.save(label_path(path), labels[0].astype(np.float32))


def _write_snapshots(samples: Samples, out: Path, write: Write) -> None:
    """Write samples in single precision as folders of snapshots.

    Args:
        samples: Their layout is float32 without soft labels.
        out: An empty folder.
        write: Writes one of them.

    Raises:
        InputError: If there are soft labels, or a time that a file's name can't hold.
    """
    index = samples.index
    assert index.layout.dtype == "float32", index.layout
    if index.layout.shares:
        raise InputError("soft labels would be lost: these files have no place for them")
    stems = stems_of(index)
    for split in SPLITS:
        (out / split).mkdir()
    buffer = np.empty(index.layout.stride, np.uint8)
    with ProgressBar("convert", index.num_samples) as bar:
        for i, (stem, split) in enumerate(zip(stems, index.splits, strict=True)):
            raw = samples.read_raw(i, buffer)
            field = np.ascontiguousarray(np.moveaxis(raw.field, 0, 2), "<f4")
            write(out / split / stem, field, raw.labels)
            bar.advance()
    _write_statistics(index, out / STATISTICS_NAME)
    (out / FACTS_NAME).write_bytes(ADAPTER.dump_json(index, indent=1))


def _write_statistics(index: SampleIndex, path: Path) -> None:
    """Statistics of the training split, under the names that MLPerf's DeepCAM reads."""
    found = index.statistics
    mean, std = np.array(found.mean), np.array(found.std)
    with h5py.File(path, "w") as file:
        group = file.create_group("climate")
        group["count"] = np.full(len(mean), index.num_of_split("train"))
        group["mean"], group["sqmean"] = mean, std**2 + mean**2
        group["minval"], group["maxval"] = np.array(found.min), np.array(found.max)
