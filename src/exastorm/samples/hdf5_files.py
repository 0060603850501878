"""Samples as DeepCAM's HDF5 files: `climate/data` (H, W, 16) and `climate/labels_0`, `labels_1`.

As MLPerf's reference reads them: float32, channels last in CAM's order, label maps of 4 bytes,
`stats.h5` beside the splits' folders. To train on such files as they are, see
`samples/deepcam_source.py`.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exastorm.errors import InputError
from exastorm.samples.converting import Samples
from exastorm.samples.found_index import Snapshot
from exastorm.samples.snapshot_folders import SnapshotFolders, write_snapshots
from exastorm.variables import CHANNEL_NAMES

PATTERN = "data-*.h5"


def write_hdf5_files(samples: Samples, out: Path) -> None:
    """Write samples of DeepCAM's channels in single precision, into an empty folder.

    Raises:
        InputError: If they have soft labels, or times that names can't hold.
    """
    assert samples.index.channels == CHANNEL_NAMES, samples.index.channels
    write_snapshots(samples, out, _write)


def open_hdf5_files(path: Path) -> SnapshotFolders:
    """Samples from DeepCAM's files in train, validation and test; see `SnapshotFolders`."""
    return SnapshotFolders(path, PATTERN, _read)


def _write(folder: Path, stem: str, snapshot: Snapshot) -> None:
    field, labels = snapshot
    with h5py.File(folder / f"{stem}.h5", "w") as file:
        file["climate/data"] = field
        for label_set, label in enumerate(labels):
            file[f"climate/labels_{label_set}"] = label.astype(np.float32)


def _read(path: Path) -> Snapshot:
    try:
        with h5py.File(path) as file:
            group: Any = file["climate"]
            field = np.asarray(group["data"][()], np.float32)
            names = sorted(name for name in group if name.removeprefix("labels_").isdigit())
            labels = [group[name][()] for name in names]
    except (OSError, KeyError) as error:
        raise InputError(f"can't be read as a DeepCAM file: {error}", file=path) from None
    if field.ndim != 3 or not labels or any(label.shape != field.shape[:2] for label in labels):
        raise InputError(
            f"must have climate/data (lat, lon, channel) and labels_0 (lat, lon), got {field.shape}"
            f" and {len(labels)} label maps",
            file=path,
        )
    return field, labels
