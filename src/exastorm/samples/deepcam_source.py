"""Samples of a DeepCAM folder as it came: no preparation, no second copy of terabytes.

The folder holds train, validation and test with one HDF5 file a snapshot (or a pair of .npy files,
as submissions to the benchmark convert them), and beside them the `stats.h5` that it scales by (its
reference loader: minimum to 0, maximum to 1). What an index of shards keeps is found out when the
folder is opened: splits are the folders', times are those of the file names, and how common classes
are is counted in some files spread over training, or in all. Folders that `exastorm convert` wrote
say all of it in their `samples.json`.
"""

from collections.abc import Iterator
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
from exastorm.samples.indexed import IndexedSamples, RawSample, raw_views
from exastorm.samples.npy_files import npy_layout, npy_places
from exastorm.samples.splits import SPLITS

ENDINGS = (".h5", ".hdf5", ".npy")


def is_deepcam_folder(folder: Path) -> bool:
    """Whether a folder has the benchmark's splits with at least one file of its names."""
    return any(next(_files_of(folder, split), None) for split in SPLITS)


def _files_of(folder: Path, split: str) -> Iterator[Path]:
    """The snapshot files of a split, in no order."""
    if (folder / split).is_dir():
        for path in (folder / split).iterdir():
            if path.suffix in ENDINGS and NAME_PATTERN.fullmatch(path.name):
                yield path


class DeepcamSamples(IndexedSamples):
    """A DeepCAM folder, open for reading; any number of threads or processes may share it.

    Attributes:
        path: The folder.
        index: What an index of the same samples as shards would say.
        holds_lock: Whether files are such that HDF5's library must read them, one at a time.
    """

    def __init__(
        self, path: str | Path, label_sets: tuple[str, ...] | None = None, *, exact: bool = False
    ) -> None:
        """Open a folder; how common classes are is counted, and without stats.h5 the channels too.

        Args:
            path: The folder.
            label_sets: Names of the label sets wanted, such as ("labels_1",); None for all.
            exact: Count and measure in all files, where nothing is said of them.

        Raises:
            InputError: If there are no files, they are of both kinds or not those of
                `samples.json`, can't be read, or lack the label sets.
        """
        self.path = Path(path)
        by_split = {split: sorted(_files_of(self.path, split)) for split in SPLITS}
        self.files = [file for files in by_split.values() for file in files]
        if not self.files or len({file.suffix == ".npy" for file in self.files}) > 1:
            raise InputError(
                f"must hold {', '.join(SPLITS)} with files data-YYYY-MM-DD-TT-R.h5 or .npy, got"
                f" {'both' if self.files else 'none'}",
                file=self.path,
            )
        facts = known_index(self.path)
        if facts is not None:
            self.files = files_by(facts, self.path, self.files)
        first = self.files[0]
        is_npy = first.suffix == ".npy"
        self._find_places = npy_places if is_npy else find_places
        if facts is not None:
            layout = layout_by(facts)
        else:
            layout = npy_layout(first) if is_npy else layout_of(first)
        chosen = _chosen_sets(layout, label_sets, first)
        self._layout = replace(layout, labels=tuple(layout.labels[k] for k in chosen))
        places = self._find_places(first, self._layout)
        self.holds_lock = None in (places.data, *places.labels)
        self._places: dict[Path, FilePlaces] = {first: places}
        if facts is None:
            self.index = build_index(self.path, by_split, self._layout, self.read_file, exact=exact)
        else:
            self.index = with_label_sets(facts, chosen)

    def place_of(self, i: int) -> dict[str, Any]:
        """File and time of sample `i`, as `InputError` takes them."""
        return {"file": self.files[i], "time": self.time(i)}

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of `layout.stride` bytes; gives views of it.

        Raises:
            InputError: If the file can't be read or is laid out unlike the first.
        """
        raw = raw_views(self.index.layout, buffer)
        self.read_file(self.files[self.number(i)], raw.field, raw.labels)
        return raw

    def read_file(self, path: Path, field: NDArray[Any] | None, labels: NDArray[np.int8]) -> None:
        """Read one file's fields (C, H, W), unless they are not wanted, and class maps (N, H, W).

        Raises:
            InputError: If the file can't be read or is laid out unlike the first.
        """
        places = self._places.get(path)
        if places is None:
            # Two threads that look at once find the same.
            places = self._places[path] = self._find_places(path, self._layout)
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
