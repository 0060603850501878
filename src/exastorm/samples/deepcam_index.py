"""The index that a DeepCAM folder lacks, from its names, its stats.h5 and a look at some files."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from exastorm.samples.checking import BadSampleError, check_classes, check_field
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


def build_index(
    folder: Path, by_split: Mapping[str, Sequence[Path]], layout: DeepcamLayout, read_file: ReadFile
) -> SampleIndex:
    """What an index of the same samples as shards would say.

    Each split counts as one shard, with a checksum of its files' names and sizes: that of terabytes
    would take hours.

    Args:
        folder: Of the samples.
        by_split: Files of each split, in order of time.
        layout: Of all files.
        read_file: Reads fields and class maps of a file.

    Raises:
        InputError: If a file that is looked at can't be read, or a name has no date.
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
    seen = by_split["train"] or [file for files in by_split.values() for file in files]
    meters = _count_classes(spread(seen, NUM_COUNTED), sample, cell_areas_km2(lat, lon), read_file)
    total = ClassMeter(cell_areas_km2(lat, lon))
    for meter in meters:
        total.merge(meter)
    statistics, source = _statistics(folder, seen, layout, sample, read_file)
    shares = total.summary()
    times = [parse_snapshot_name(file.name).time for files in by_split.values() for file in files]
    return SampleIndex(
        channels=layout.channels,
        units=tuple(VARIABLES[name].units for name in layout.channels),
        layout=sample,
        lat=tuple(lat.tolist()),
        lon=tuple(lon.tolist()),
        calendar="noleap",
        times=tuple(time.isoformat() for time in times),
        shards=tuple(_shard(split, files, sample) for split, files in by_split.items() if files),
        statistics=statistics,
        class_shares=shares,
        whole_statistics=statistics,
        whole_class_shares=shares,
        normalization="minmax",
        num_dropped=0,
        left_out=(),
        settings={},
        provenance={"fields": str(folder), "statistics": source},
        label_set_shares=tuple(meter.summary() for meter in meters) if sample.label_sets else (),
        version=sample.format_version,
    )


def spread(files: Sequence[Path], num_files: int) -> list[Path]:
    """At most so many of some files, evenly spread."""
    every = -(-len(files) // num_files)
    return list(files[::every])


@contextmanager
def at_fault(file: Path) -> Iterator[None]:
    """Tell which file holds what can't be a sample.

    Raises:
        InputError: As said.
    """
    try:
        yield
    except BadSampleError as bad:
        raise InputError(bad.problem, file=file, variable=bad.variable) from None


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


def _count_classes(
    files: Sequence[Path], layout: SampleLayout, areas: NDArray[np.float64], read_file: ReadFile
) -> list[ClassMeter]:
    """Classes of each label set in some files."""
    meters = [ClassMeter(areas) for _ in range(layout.num_label_sets)]
    labels = np.empty((len(meters), *layout.shape[1:]), np.int8)
    for file in track(files, "counting classes"):
        read_file(file, None, labels)
        for number, meter in enumerate(meters):
            with at_fault(file):
                check_classes(labels[number], f"labels_{number}")
            meter.record_batch(labels[number])
    return meters


def _statistics(
    folder: Path,
    files: Sequence[Path],
    layout: DeepcamLayout,
    sample: SampleLayout,
    read_file: ReadFile,
) -> tuple[ChannelStatistics, str]:
    """Statistics of the channels, and where they come from."""
    path = folder / STATISTICS_NAME
    if path.is_file():
        found = read_statistics(path).sel(channel=list(layout.channels))
        columns = {name: tuple(found[name].values.tolist()) for name in ("mean", "std")}
        low, high = (tuple(found[name].values.tolist()) for name in ("min", "max"))
        num_values = len(files) * layout.num_lat * layout.num_lon
        return ChannelStatistics(num_values=num_values, min=low, max=high, **columns), str(path)
    chosen = spread(files, NUM_MEASURED)
    meter = ChannelMeter(len(layout.channels))
    field = np.empty(sample.shape, sample.disk_dtype)
    labels = np.empty((sample.num_label_sets, *sample.shape[1:]), np.int8)
    for file in track(chosen, "measuring channels"):
        read_file(file, field, labels)
        with at_fault(file):
            meter.merge(check_field(field.astype(np.float32, copy=False), layout.channels))
    return meter.summary(), f"{len(chosen)} of {len(files)} training files"
