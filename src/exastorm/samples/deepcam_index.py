"""The index that a DeepCAM folder lacks, from its names, its stats.h5 and a look at some files."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.progress import track
from exastorm.readers.formats.deepcam_layouts import DeepcamLayout
from exastorm.readers.formats.deepcam_statistics import read_statistics
from exastorm.readers.snapshot_files import parse_snapshot_name
from exastorm.samples.checking import BadSampleError, check_field
from exastorm.samples.index import SampleIndex, SampleLayout, Shard
from exastorm.samples.normalize import ChannelMeter, ChannelStatistics, ClassMeter
from exastorm.variables import VARIABLES

STATISTICS_NAME = "stats.h5"

NUM_COUNTED = 128
"""Training files in which classes are counted, evenly spread: at the data set's size 50,000 pixels
of the rarest class, tropical cyclones (0.05 % of all)."""

NUM_MEASURED = 256
"""Training files, evenly spread, from which channels are measured where there is no stats.h5."""

ReadFile = Callable[[Path, NDArray[Any] | None, NDArray[np.int8]], None]


class _Meters:
    """Statistics of the channels, and the shares of classes of each label set."""

    def __init__(self, layout: SampleLayout, areas: NDArray[np.float64]) -> None:
        self.channels = ChannelMeter(layout.shape[0])
        self.sets = [ClassMeter(areas) for _ in range(layout.num_label_sets)]
        self.pooled = ClassMeter(areas)

    def record(self, channels: ChannelMeter, labels: NDArray[np.int8]) -> None:
        """Add one snapshot."""
        self.channels.merge(channels)
        for meter, label in zip(self.sets, labels, strict=True):
            meter.record_batch(label)
            self.pooled.record_batch(label)


def build_index(
    folder: Path,
    by_split: Mapping[str, Sequence[Path]],
    layout: DeepcamLayout,
    read_file: ReadFile,
    *,
    exact: bool = False,
) -> SampleIndex:
    """What an index of the same samples as shards would say.

    Channels are scaled by the extremes of `stats.h5` where there is one. Each split counts as one
    shard, with a checksum of its files' names and sizes: that of terabytes would take hours.

    Args:
        folder: Of the samples.
        by_split: Files of each split, in order of time.
        layout: Of all files.
        read_file: Reads fields and class maps of a file.
        exact: Look at every file, not at some of the training split.

    Raises:
        InputError: If a file that is looked at can't be read or be a sample, a name has no date, or
            a label set labels nothing.
    """
    names = tuple(f"labels_{k}" for k in range(len(layout.labels)))
    sample = SampleLayout(
        shape=(len(layout.channels), layout.num_lat, layout.num_lon),
        dtype="float16" if layout.half_precision else "float32",
        center=(0.0,) * len(layout.channels),
        unit=(1.0,) * len(layout.channels),
        label_sets=names if len(names) > 1 else (),
    )
    lat, lon = regular_grid(layout.num_lat, layout.num_lon)
    files = [file for files in by_split.values() for file in files]
    train = by_split["train"] or files
    published = _published(folder / STATISTICS_NAME, layout, len(train))
    chosen = files if exact else _spread(train, NUM_MEASURED if published is None else NUM_COUNTED)
    needs_fields = exact or published is None
    learned, whole = (_Meters(sample, cell_areas_km2(lat, lon)) for _ in range(2))
    of_train = frozenset(train)
    for file in track(chosen, "looking at samples"):
        channels, labels = _look_at(file, sample, layout, read_file, needs_fields)
        whole.record(channels, labels)
        if file in of_train:
            learned.record(channels, labels)
    if not all(meter.num_pixels.any() for meter in learned.sets):
        raise InputError("each label set must label something of the training split", file=folder)
    statistics = published or learned.channels.summary()
    found = [parse_snapshot_name(file.name) for file in files]
    source = f"{len(chosen)} files" if published is None else str(folder / STATISTICS_NAME)
    return SampleIndex(
        channels=layout.channels,
        units=tuple(VARIABLES[name].units for name in layout.channels),
        layout=sample,
        lat=tuple(lat.tolist()),
        lon=tuple(lon.tolist()),
        calendar="noleap",
        times=tuple(name.time.isoformat() for name in found),
        shards=tuple(_shard(split, files, sample) for split, files in by_split.items() if files),
        statistics=statistics,
        class_shares=learned.pooled.summary(),
        whole_statistics=whole.channels.summary() if exact else statistics,
        whole_class_shares=whole.pooled.summary(),
        normalization="minmax",
        num_dropped=0,
        left_out=(),
        settings={},
        provenance={"fields": str(folder), "fields.run": found[0].run, "statistics": source},
        label_set_shares=tuple(m.summary() for m in learned.sets) if sample.label_sets else (),
        version=sample.format_version,
    )


def _look_at(
    file: Path, sample: SampleLayout, layout: DeepcamLayout, read_file: ReadFile, needs_fields: bool
) -> tuple[ChannelMeter, NDArray[np.int8]]:
    """Statistics and labels of a snapshot; the first of nothing where fields are not needed."""
    labels = np.empty((sample.num_label_sets, *sample.shape[1:]), np.int8)
    if not needs_fields:
        read_file(file, None, labels)
        return ChannelMeter(len(layout.channels)), labels
    field = np.empty(sample.shape, sample.disk_dtype)
    read_file(file, field, labels)
    try:
        return check_field(field.astype(np.float32, copy=False), layout.channels), labels
    except BadSampleError as bad:
        raise InputError(bad.problem, file=file, variable=bad.variable) from None


def _published(path: Path, layout: DeepcamLayout, num_files: int) -> ChannelStatistics | None:
    """What `stats.h5` says, if there is one."""
    if not path.is_file():
        return None
    found = read_statistics(path).sel(channel=list(layout.channels))
    return ChannelStatistics(
        num_values=num_files * layout.num_lat * layout.num_lon,
        **{name: tuple(found[name].values.tolist()) for name in ("mean", "std", "min", "max")},
    )


def _spread(files: Sequence[Path], num_files: int) -> list[Path]:
    """At most so many of some files, evenly spread."""
    every = -(-len(files) // num_files)
    return list(files[::every])


def _shard(split: str, files: Sequence[Path], layout: SampleLayout) -> Shard:
    """A split as if it were one file."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return Shard(
        name=split,
        split=split,
        num_samples=len(files),
        num_bytes=len(files) * layout.stride,
        sha256=digest.hexdigest(),
    )
