"""Samples as folders with a file or two a snapshot, as DeepCAM keeps them: what its forms share.

Folders train, validation and test hold snapshots named `data-YYYY-MM-DD-TT-R`; `stats.h5` beside
them has the statistics. What those files can't say (names of other channels, grid, class shares)
stands in `samples.json`, written last; without it the files are taken for DeepCAM's: all 16
channels, a grid from pole to pole, and statistics taken in a pass over them.
"""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.readers.snapshot_files import snapshot_stem
from exastorm.samples.converting import Samples
from exastorm.samples.found_index import ReadSnapshot, Snapshot, checked_labels, found_index
from exastorm.samples.index import ADAPTER, SampleIndex, parse_time
from exastorm.samples.shards import RawSample
from exastorm.samples.splits import SPLITS

FACTS_NAME = "samples.json"
"""File of what the snapshots' files can't say: the index of the samples."""

STATISTICS_NAME = "stats.h5"

WriteSnapshot = Callable[[Path, str, Snapshot], None]
"""Writes one snapshot into a folder under a stem."""


def write_snapshots(samples: Samples, out: Path, write: WriteSnapshot) -> None:
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
            write(out / split, stem, (field, list(raw.labels)))
            bar.advance()
    _write_statistics(index, out / STATISTICS_NAME)
    (out / FACTS_NAME).write_bytes(ADAPTER.dump_json(index, indent=1))


def stems_of(index: SampleIndex) -> list[str]:
    """File name of each sample, without ending.

    Raises:
        InputError: If a time is not three-hourly, not of the noleap calendar, or comes twice.
    """
    run = index.provenance.get("fields.run", "1")
    stems = [snapshot_stem(parse_time(time, index.calendar), run) for time in index.times]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"times must differ, as files are named by them; {twice} comes twice")
    return stems


def _write_statistics(index: SampleIndex, path: Path) -> None:
    """Statistics of the training split, under the names that MLPerf's DeepCAM reads."""
    found = index.statistics
    mean, std = np.array(found.mean), np.array(found.std)
    with h5py.File(path, "w") as file:
        group = file.create_group("climate")
        group["count"] = np.full(len(mean), index.num_of_split("train"))
        group["mean"], group["sqmean"] = mean, std**2 + mean**2
        group["minval"], group["maxval"] = np.array(found.min), np.array(found.max)


class SnapshotFolders:
    """Samples read from folders of snapshots.

    Attributes:
        path: The folder with train, validation and test.
        index: What they are; the shards in it are the splits, of no file.
    """

    def __init__(self, path: str | Path, pattern: str, read: ReadSnapshot) -> None:
        """Look at the files; those without `samples.json` are all read once.

        Args:
            path: The folder.
            pattern: Of the names of the `data-` files, as "data-*.h5".
            read: Reads one of them.

        Raises:
            InputError: If there are none, or they are not those of `samples.json`, or hold what
                can't be a sample.
        """
        self.path = Path(path)
        self._read = read
        files = [sorted((self.path / split).glob(pattern)) for split in SPLITS]
        self._files = [file for of_split in files for file in of_split]
        if not files[0]:
            raise InputError(
                f"must have folders {', '.join(SPLITS)} with {pattern}, got none to train on",
                file=self.path,
            )
        self.index = self._known_index(pattern) or found_index(self.path, files, read)

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of the layout's stride.

        Raises:
            InputError: If it can't be read, or has another shape, or labels that are no classes.
        """
        layout, path = self.index.layout, self._files[i]
        field, labels = self._read(path)
        shape = (*layout.shape[1:], layout.shape[0])
        if field.shape != shape or len(labels) != layout.num_label_sets:
            raise InputError(
                f"must be {shape} with {layout.num_label_sets} label maps, got {field.shape} with"
                f" {len(labels)}",
                file=path,
            )
        out = buffer[: layout.field_bytes].view(np.float32).reshape(layout.shape)
        # Row by row both sides stay in a core's cache.
        for row, pixels in enumerate(field):
            out[:, row] = pixels.T
        return RawSample(
            out, checked_labels(labels, path), np.empty((0, *layout.shape[1:]), np.uint8)
        )

    def _known_index(self, pattern: str) -> SampleIndex | None:
        """What `samples.json` says, if there is one, with the files in its order."""
        path = self.path / FACTS_NAME
        if not path.is_file():
            return None
        try:
            index: SampleIndex = ADAPTER.validate_python(json.loads(path.read_bytes()))
        except (ValueError, ValidationError) as error:
            raise InputError(f"must be an index of samples, got {error}", file=path) from None
        suffix = Path(pattern).suffix
        stems = zip(stems_of(index), index.splits, strict=True)
        named = [self.path / split / (stem + suffix) for stem, split in stems]
        different = sorted(set(named) ^ set(self._files))
        if different:
            raise InputError(f"files must be those of {FACTS_NAME}, not so", file=different[0])
        self._files = named
        return index
