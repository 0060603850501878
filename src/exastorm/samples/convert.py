"""From one form of samples to another, whole or not at all.

Everything is written into a folder of another name beside the one asked for, which gets its name
when all is there: a conversion that is stopped leaves nothing that looks whole, and the next one
clears up what it left.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.samples.compression import COMPRESSIONS, Compression
from exastorm.samples.converting import ConvertedSamples, Samples, make_converter
from exastorm.samples.index import SampleIndex, write_index
from exastorm.samples.snapshot_writing import write_hdf5_files, write_npy_files
from exastorm.samples.source import open_samples
from exastorm.samples.splits import SPLITS
from exastorm.samples.writing import ShardWriter
from exastorm.samples.zarr_files import write_zarr
from exastorm.variables import CHANNEL_NAMES

Form = Literal["shards", "deepcam", "npy", "zarr"]

PARTIAL = ".partial"
"""Ends the name of a folder that is being written."""

MARK = ".exastorm-convert"
"""File that says that such a folder is ours to clear."""


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """What samples become."""

    to: Form = "shards"
    """Form of the result: exastorm's shards, DeepCAM's HDF5 files, pairs of .npy files, or a Zarr
    group."""

    channels: tuple[str, ...] | None = None
    """Channels to keep, in this order; all of them if not given. DeepCAM's files have all 16."""

    dtype: Literal["float32", "float16"] | None = None
    """Numbers of shards and Zarr groups, as in `prepare`; those of the source if not given. The
    other forms are float32."""

    compression: Compression = "none"
    """Lossless compression of shards and Zarr groups, as in `prepare`."""

    shard_mb: float = 256.0
    """Size at which a shard is closed, MB, as in `prepare`."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("to", ("shards", "deepcam", "npy", "zarr")),
            ("dtype", (None, "float32", "float16")),
            ("compression", COMPRESSIONS),
        ):
            if getattr(self, name) not in allowed:
                known = ", ".join(str(value) for value in allowed if value)
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not self.shard_mb > 0:
            raise ValueError(f"shard_mb must be positive, got {self.shard_mb}")
        if self.to in ("deepcam", "npy"):
            self._check_plain()

    def _check_plain(self) -> None:
        """Refuse what files of other makers can't have."""
        if self.dtype == "float16":
            raise ValueError(f"dtype must be float32 for {self.to}, got float16")
        if self.compression != "none":
            raise ValueError(f"compression must be none for {self.to}, got {self.compression}")
        if self.to == "deepcam" and self.channels not in (None, CHANNEL_NAMES):
            raise ValueError("channels must not be given for deepcam: its files have all 16")


def convert_samples(path: str | Path, out: str | Path, settings: ConvertSettings) -> SampleIndex:
    """Write samples of any form in another.

    Args:
        path: Of the samples, as `open_samples` takes it.
        out: Folder to make; there must be none.
        settings: What they become.

    Returns:
        The index of the result.

    Raises:
        InputError: If samples can't be read or don't fit the form, the folder exists, or there is
            too little space.
    """
    out = Path(out)
    # Read once: nothing is gained by keeping what comes from an address.
    source = open_samples(path, cache_gb=0, exact=True)
    channels, dtype = settings.channels, settings.dtype
    if settings.to in ("deepcam", "npy"):
        dtype = "float32"
    if settings.to == "deepcam":
        missing = [name for name in CHANNEL_NAMES if name not in source.index.channels]
        if missing:
            raise InputError(f"DeepCAM's files need {', '.join(missing)} too", file=path)
        channels = CHANNEL_NAMES
    converter = make_converter(source.index, channels=channels, dtype=dtype)
    samples: Samples = ConvertedSamples(source, converter)
    with _written_whole(out) as folder:
        _require_space(folder, samples.index)
        return _write(samples, folder, settings)


def _write(samples: Samples, folder: Path, settings: ConvertSettings) -> SampleIndex:
    """Write samples in their form into an empty folder."""
    if settings.to == "shards":
        return write_shards(samples, folder, settings)
    if settings.to == "zarr":
        write_zarr(samples, folder, settings.compression)
    elif settings.to == "npy":
        write_npy_files(samples, folder)
    else:
        write_hdf5_files(samples, folder)
    return samples.index


def write_shards(samples: Samples, out: Path, settings: ConvertSettings) -> SampleIndex:
    """Write samples as shards with an index, split by split."""
    index = samples.index
    layout = dataclasses.replace(index.layout, compression=settings.compression)
    splits, times, shards = np.array(index.splits), [], []
    buffer = np.empty(layout.stride, np.uint8)
    with ProgressBar("convert", index.num_samples) as bar:
        for split in SPLITS:
            writer = ShardWriter(out, split, layout, settings.shard_mb)
            for i in np.flatnonzero(splits == split):
                raw = samples.read_raw(int(i), buffer)
                shares = raw.shares if layout.shares else None
                writer.append_stored(raw.field, raw.labels, shares)
                times.append(index.times[i])
                bar.advance()
            writer.close()
            shards += writer.shards
    written = dataclasses.replace(
        index,
        layout=layout,
        times=tuple(times),
        shards=tuple(shards),
        version=layout.format_version,
    )
    write_index(written, out)
    return written


def _require_space(folder: Path, index: SampleIndex) -> None:
    """Refuse what would not fit before a byte of it is written.

    Raises:
        InputError: If there is too little space for the samples as they are, not compressed.
    """
    layout = index.layout
    # Label maps of DeepCAM's files are of 4 bytes.
    num_bytes = index.num_samples * (layout.stride + 3 * layout.label_bytes)
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise InputError(
            f"needs up to {num_bytes / 1e9:.3g} GB, {free / 1e9:.3g} GB are free",
            file=folder.parent,
        )


@contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """A folder to write into that gets its name when all is written, and goes if not.

    Raises:
        InputError: If there is something of that name already.
    """
    if out.exists():
        raise InputError("exists already; give another folder, or remove it", file=out)
    partial = out.with_name(out.name + PARTIAL)
    mark = partial.with_name(partial.name + MARK)
    if partial.exists() and not mark.exists():
        raise InputError("is in the way, and not of a conversion; remove it", file=partial)
    shutil.rmtree(partial, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    partial.mkdir()
    try:
        yield partial
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        mark.unlink(missing_ok=True)
