"""Samples as pairs of .npy files: `data-*.npy` (H, W, C) float32 and `label-*.npy` (H, W).

The layout that submissions to MLPerf's DeepCAM convert to (NVIDIA's of HPC v3.0, its
convert_hdf52npy.py), in folders train, validation and test with `stats.h5` beside them. Labels are
of 4 bytes as there.
"""

from pathlib import Path

import numpy as np

from exastorm.errors import InputError
from exastorm.samples.converting import Samples
from exastorm.samples.found_index import Snapshot
from exastorm.samples.snapshot_folders import SnapshotFolders, write_snapshots

PATTERN = "data-*.npy"


def write_npy_files(samples: Samples, out: Path) -> None:
    """Write samples in single precision as .npy files, into an empty folder.

    Raises:
        InputError: If they have soft labels, several label sets, or times that names can't hold.
    """
    names = samples.index.layout.label_sets
    if names:
        raise InputError(f"npy files hold one label set, got {len(names)}: {', '.join(names)}")
    write_snapshots(samples, out, _write)


def open_npy_files(path: Path) -> SnapshotFolders:
    """Samples from .npy files in train, validation and test; see `SnapshotFolders`."""
    return SnapshotFolders(path, PATTERN, _read)


def _label_path(path: Path) -> Path:
    """The file of labels beside one of data."""
    return path.with_name("label-" + path.name.removeprefix("data-"))


def _write(folder: Path, stem: str, snapshot: Snapshot) -> None:
    field, (label,) = snapshot
    path = folder / f"{stem}.npy"
    np.save(path, field)
    np.save(_label_path(path), label.astype(np.float32))


def _read(path: Path) -> Snapshot:
    try:
        field, label = np.load(path), np.load(_label_path(path))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"can't be read as .npy with its label: {error}", file=path) from None
    if field.ndim != 3 or field.shape[:2] != label.shape:
        raise InputError(
            f"must be (lat, lon, channel) with a label (lat, lon), got {field.shape} with"
            f" {label.shape}",
            file=path,
        )
    return np.asarray(field, np.float32), [label]
