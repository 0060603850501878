"""Samples of a DeepCAM folder as it came: no preparation, no second copy of terabytes.

The folder holds train, validation and test with one HDF5 file a snapshot, and beside them the
`stats.h5` that the benchmark scales by (its reference loader: minimum to 0, maximum to 1). What an
index of shards keeps is found out when the folder is opened: splits are the folders', times are
those of the file names, and how common classes are is counted in some files spread over training.
Folders that `exastorm convert` wrote say all of it in their `samples.json`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_layouts import DeepcamLayout
from exastorm.readers.snapshot_files import NAME_PATTERN
from exastorm.samples.deepcam_facts import files_by, known_index, layout_by, with_label_sets
from exastorm.samples.deepcam_files import (
    FilePlaces,
    find_places,
    layout_of,
    read_field,
    read_label,
)
from exastorm.samples.deepcam_index import build_index
from exastorm.samples.indexed import IndexedSamples
from exastorm.samples.shards import RawSample
from exastorm.samples.splits import SPLITS


def is_deepcam_folder(folder: Path) -> bool:
    """Whether a folder has the benchmark's splits with at least one file of its names."""
    return any(_files_of(folder, split, first_only=True) for split in SPLITS)


def _files_of(folder: Path, split: str, *, first_only: bool = False) -> list[Path]:
    """The snapshot files of a split, in order of time."""
    found = []
    if (folder / split).is_dir():
        for path in (folder / split).iterdir():
            if NAME_PATTERN.fullmatch(path.name) and path.suffix in (".h5", ".hdf5"):
                found.append(path)
                if first_only:
                    break
    return sorted(found, key=lambda path: path.name)


class DeepcamSamples(IndexedSamples):
    """A DeepCAM folder, open for reading; any number of threads or processes may share it.

    Attributes:
        path: The folder.
        index: What an index of the same samples as shards would say.
        holds_lock: Whether files are such that HDF5's library must read them, one at a time.
    """

    def __init__(self, path: str | Path, label_sets: tuple[str, ...] | None = None) -> None:
        """Open a folder; how common classes are is counted, and without stats.h5 the channels too.

        Args:
            path: The folder.
            label_sets: Names of the label sets wanted, such as ("labels_1",); None for all.

        Raises:
            InputError: If there are no files, they can't be read, or lack the label sets.
        """
        self.path = Path(path)
        facts = known_index(self.path)
        by_split = {split: _files_of(self.path, split) for split in SPLITS}
        self.files = [file for files in by_split.values() for file in files]
        if not self.files:
            raise InputError(
                f"must hold {', '.join(SPLITS)} with files data-YYYY-MM-DD-TT-R.h5, got none",
                file=self.path,
            )
        first = self.files[0]
        layout = layout_of(first) if facts is None else layout_by(facts)
        chosen = _chosen_sets(layout, label_sets, first)
        self._layout = replace(layout, labels=tuple(layout.labels[k] for k in chosen))
        places = find_places(first, self._layout)
        self.holds_lock = None in (places.data, *places.labels)
        self._places: dict[Path, FilePlaces] = {first: places}
        if facts is None:
            self.index = build_index(self.path, by_split, self._layout, self.read_file)
        else:
            self.files = files_by(facts, self.path, self.files)
            self.index = with_label_sets(facts, chosen)

    def place_of(self, i: int) -> dict[str, Any]:
        """File and time of sample `i`, as `InputError` takes them."""
        return {"file": self.files[i], "time": self.time(i)}

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of `layout.stride` bytes; gives views of it.

        Raises:
            InputError: If the file can't be read or is laid out unlike the first.
        """
        layout = self.index.layout
        num_samples = len(self)
        if not -num_samples <= i < num_samples:
            raise IndexError(f"sample must be below {num_samples}, got {i}")
        i = i % num_samples
        field = buffer[: layout.field_bytes].view(layout.disk_dtype).reshape(layout.shape)
        labels = buffer[layout.field_bytes :][: layout.label_bytes].view(np.int8)
        labels = labels.reshape(layout.num_label_sets, *layout.shape[1:])
        self.read_file(self.files[i], field, labels)
        return RawSample(field, labels, np.empty((0, *layout.shape[1:]), np.uint8))

    def read_file(self, path: Path, field: NDArray[Any] | None, labels: NDArray[np.int8]) -> None:
        """Read one file's fields (C, H, W), unless they are not wanted, and class maps (N, H, W).

        Raises:
            InputError: If the file can't be read or is laid out unlike the first.
        """
        places = self._places.get(path)
        if places is None:
            # Two threads that look at once find the same.
            places = self._places[path] = find_places(path, self._layout)
        if field is not None:
            read_field(path, places, self._layout, field)
        for run, label, out in zip(places.labels, self._layout.labels, labels, strict=True):
            read_label(path, run, label, out)


def _chosen_sets(layout: DeepcamLayout, wanted: tuple[str, ...] | None, path: Path) -> list[int]:
    """Numbers of the label sets wanted.

    Raises:
        InputError: If one is missing, or there is none at all.
    """
    names = [f"labels_{k}" for k in range(len(layout.labels))]
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        held = ", ".join(names) or "none"
        raise InputError(f"label set must be one of {held}, got {unknown[0]}", file=path)
    chosen = [k for k, name in enumerate(names) if wanted is None or name in wanted]
    if not chosen:
        raise InputError("must hold labels to be learned from, got none", file=path)
    return chosen
