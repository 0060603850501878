"""The index of snapshot files that nothing is said about: DeepCAM's channels, grid and calendar.

Channel statistics and class shares are taken in one pass over all files, of the training split
apart, as `prepare` takes them. A `stats.h5` beside them is not used: of the published ones one is
flawed, and neither says what it is of (readers/formats/deepcam_statistics.py).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.progress import ProgressBar
from exastorm.readers.snapshot_files import parse_snapshot_name
from exastorm.samples.checking import BadSampleError, check_field, check_labels
from exastorm.samples.index import SampleIndex, SampleLayout, Shard
from exastorm.samples.normalize import ChannelMeter, ClassMeter
from exastorm.samples.splits import SPLITS
from exastorm.variables import CHANNEL_NAMES, VARIABLES

Snapshot = tuple[NDArray[np.float32], list[NDArray[Any]]]
"""Field (H, W, C) and label maps (H, W)."""

ReadSnapshot = Callable[[Path], Snapshot]
"""Reads one snapshot, given the path of its `data-` file."""


class _Meters:
    """Statistics of the channels, and the shares of classes of each label set."""

    def __init__(self, num_sets: int, areas: NDArray[np.float64]) -> None:
        self.channels = ChannelMeter(len(CHANNEL_NAMES))
        self.sets = [ClassMeter(areas) for _ in range(num_sets)]
        self.pooled = ClassMeter(areas)

    def record(self, batch: ChannelMeter, labels: NDArray[np.int8]) -> None:
        """Add one snapshot."""
        self.channels.merge(batch)
        for meter, label in zip(self.sets, labels, strict=True):
            meter.record_batch(label)
            self.pooled.record_batch(label)


def checked_labels(labels: Sequence[NDArray[Any]], path: Path) -> NDArray[np.int8]:
    """Label maps (N, H, W) of a file.

    Raises:
        InputError: For labels that are no classes.
    """
    names = [f"labels_{k}" for k in range(len(labels))]
    try:
        return check_labels(labels, names)
    except BadSampleError as bad:
        raise InputError(bad.problem, file=path, variable=bad.variable) from None


def found_index(folder: Path, files: Sequence[Sequence[Path]], read: ReadSnapshot) -> SampleIndex:
    """The index of files of known form, by reading them all once.

    Args:
        folder: Where they lie.
        files: Files of each split.
        read: Reads one of them.

    Returns:
        The index; its shards are the splits, of no file.

    Raises:
        InputError: If channels are not DeepCAM's 16, shapes differ, or values can't be samples'.
    """
    all_files = [file for of_split in files for file in of_split]
    field, labels = read(all_files[0])
    if field.shape[2] != len(CHANNEL_NAMES):
        raise InputError(
            f"must have DeepCAM's {len(CHANNEL_NAMES)} channels where nothing is said of them, got"
            f" {field.shape[2]}",
            file=all_files[0],
        )
    sets = tuple(f"labels_{k}" for k in range(len(labels))) if len(labels) > 1 else ()
    layout = SampleLayout.of(CHANNEL_NAMES, "float32", field.shape[:2], (), sets)
    lat, lon = regular_grid(*field.shape[:2])
    of_train, of_all = (_Meters(len(labels), cell_areas_km2(lat, lon)) for _ in range(2))
    with ProgressBar("statistics", len(all_files)) as bar:
        for i, path in enumerate(all_files):
            batch, maps = _looked_at(path, read(path), (*field.shape, len(labels)))
            of_all.record(batch, maps)
            if i < len(files[0]):
                of_train.record(batch, maps)
            bar.advance()
    if not all(meter.num_pixels.any() for meter in of_train.sets):
        raise InputError("each label set must label something of the training split", file=folder)
    names = [parse_snapshot_name(str(path)) for path in all_files]
    return SampleIndex(
        channels=CHANNEL_NAMES,
        units=tuple(VARIABLES[c].units for c in CHANNEL_NAMES),
        layout=layout,
        lat=tuple(lat.tolist()),
        lon=tuple(lon.tolist()),
        calendar="noleap",
        times=tuple(name.time.isoformat() for name in names),
        shards=_splits_as_shards(files, layout),
        statistics=of_train.channels.summary(),
        class_shares=of_train.pooled.summary(),
        whole_statistics=of_all.channels.summary(),
        whole_class_shares=of_all.pooled.summary(),
        normalization="zscore",
        num_dropped=0,
        left_out=(),
        settings={},
        provenance={"fields.source": str(folder), "fields.run": names[0].run},
        label_set_shares=tuple(m.summary() for m in of_train.sets) if sets else (),
        version=layout.format_version,
    )


def _looked_at(
    path: Path, snapshot: Snapshot, shape: tuple[int, ...]
) -> tuple[ChannelMeter, NDArray[np.int8]]:
    """Statistics and labels of a snapshot, once it is known to be good."""
    field, labels = snapshot
    if (*field.shape, len(labels)) != shape:
        raise InputError(
            f"all files must have {shape[:3]} and {shape[3]} label maps, got {field.shape} and"
            f" {len(labels)}",
            file=path,
        )
    try:
        batch = check_field(np.moveaxis(field, 2, 0), CHANNEL_NAMES)
    except BadSampleError as bad:
        raise InputError(bad.problem, file=path, variable=bad.variable) from None
    return batch, checked_labels(labels, path)


def _splits_as_shards(files: Sequence[Sequence[Path]], layout: SampleLayout) -> tuple[Shard, ...]:
    """A shard for each split that has files; its checksum is that of their names and sizes."""
    shards = []
    for split, of_split in zip(SPLITS, files, strict=True):
        listing = "".join(f"{path.name} {path.stat().st_size}\n" for path in of_split)
        if of_split:
            shards.append(
                Shard(
                    name=f"{split}-00000.bin",
                    split=split,
                    num_samples=len(of_split),
                    num_bytes=len(of_split) * layout.stride,
                    sha256=hashlib.sha256(listing.encode()).hexdigest(),
                )
            )
    return tuple(shards)
