"""The index beside the shards: everything a reader needs to know about prepared samples.

`index.json` is written last and in one move, so that a folder with an index is a folder with all
its samples. Samples are numbered through the shards in order; each shard holds samples of one split
in order of time. A sample is one contiguous run of bytes at a multiple of `stride`, little-endian:
the field (C, H, W) in `dtype`, then the class map (H, W) int8 of each label set in turn, then with
soft labels the shares (S, H, W) uint8, then zeros up to the stride. Where samples are compressed,
the frames of these bytes lie back to back, and the index says where each ends.
"""

import dataclasses
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cftime
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from exastorm.samples.compression import Compression
from exastorm.samples.label_sets import LabelSet
from exastorm.samples.normalize import ChannelStatistics, ClassShares, Scaling, channel_scaling
from exastorm.samples.splits import SPLITS
from exastorm.variables import VARIABLES

INDEX_NAME = "index.json"
FORMAT_NAME = "exastorm samples"
FORMAT_VERSION = 1
SOFT_FORMAT_VERSION = 2
"""Version of samples with soft labels, which readers of version 1 refuse in one line."""
SETS_FORMAT_VERSION = 3
"""Version of samples with several label sets, which readers of versions 1 and 2 refuse."""
COMPRESSED_FORMAT_VERSION = 4
"""Version of compressed samples, which readers of earlier versions refuse."""

PAGE_BYTES = 4096
"""Samples begin at multiples of this: a memory page, and the block that direct reads ask for."""


@dataclass(frozen=True, kw_only=True)
class SampleLayout:
    """Where the bytes of a sample lie.

    Attributes:
        shape: Channels, latitudes, longitudes.
        dtype: Numbers of the field on disk.
        center: Value stored as 0, per channel (C,).
        unit: Value stored as 1 is `center + unit`, per channel (C,).
        shares: Names of the maps of shares kept as soft labels (S,); empty without.
        label_sets: Names of the label sets (N,), where there are several; empty with one.
        compression: Of each sample on its own.
    """

    shape: tuple[int, int, int]
    dtype: Literal["float32", "float16"]
    center: tuple[float, ...]
    unit: tuple[float, ...]
    shares: tuple[str, ...] = ()
    label_sets: tuple[str, ...] = ()
    compression: Compression = "none"

    @classmethod
    def of(
        cls,
        channels: tuple[str, ...],
        dtype: Literal["float32", "float16"],
        size: tuple[int, int],
        shares: tuple[str, ...] = (),
        label_sets: tuple[str, ...] = (),
    ) -> "SampleLayout":
        """The layout of channels, and of shares and label sets if any, on a grid (H, W).

        Half precision holds neither a pressure (largest number 65504) nor rain in m/s (smallest
        6e-8): values are packed over the plausible range, rates from 0, others from its middle.
        """
        center, unit = [0.0] * len(channels), [1.0] * len(channels)
        if dtype == "float16":
            for c, v in enumerate(VARIABLES[name] for name in channels):
                center[c] = 0.0 if v.is_rate else (v.low + v.high) / 2
                unit[c] = v.high - center[c]
        return cls(
            shape=(len(channels), *size),
            dtype=dtype,
            center=tuple(center),
            unit=tuple(unit),
            shares=shares,
            label_sets=label_sets,
        )

    @property
    def disk_dtype(self) -> np.dtype[Any]:
        """Type of the field's numbers on disk."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def field_bytes(self) -> int:
        """Bytes of the field, which is also where the class maps begin."""
        return int(np.prod(self.shape)) * self.disk_dtype.itemsize

    @property
    def num_label_sets(self) -> int:
        """Class maps of a sample."""
        return len(self.label_sets) or 1

    @property
    def label_bytes(self) -> int:
        """Bytes of the class maps."""
        return self.num_label_sets * self.shape[1] * self.shape[2]

    @property
    def share_bytes(self) -> int:
        """Bytes of the shares, which lie behind the class maps."""
        return len(self.shares) * self.shape[1] * self.shape[2]

    @property
    def used_bytes(self) -> int:
        """Bytes of a sample without the zeros behind it."""
        return self.field_bytes + self.label_bytes + self.share_bytes

    @property
    def stride(self) -> int:
        """Bytes from one sample to the next, where they are not compressed."""
        return -(-self.used_bytes // PAGE_BYTES) * PAGE_BYTES

    @property
    def format_version(self) -> int:
        """The oldest version of the format that can say what the samples hold."""
        if self.compression != "none":
            return COMPRESSED_FORMAT_VERSION
        if self.label_sets:
            return SETS_FORMAT_VERSION
        return SOFT_FORMAT_VERSION if self.shares else FORMAT_VERSION


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of samples.

    Attributes:
        name: File name in the folder.
        split: Split of all its samples.
        num_samples: Samples in it.
        num_bytes: Size of the file.
        sha256: Checksum of the file, hexadecimal.
        ends: Where each sample ends, where they are compressed; else empty.
    """

    name: str
    split: str
    num_samples: int
    num_bytes: int
    sha256: str
    ends: tuple[int, ...] = ()

    def extent(self, place: int, stride: int) -> tuple[int, int]:
        """Where the sample at a place of the shard begins, and its bytes there."""
        if not self.ends:
            return place * stride, stride
        start = self.ends[place - 1] if place else 0
        return start, self.ends[place] - start


@dataclass(frozen=True, kw_only=True)
class SampleIndex:
    """What `index.json` says.

    Attributes:
        channels: Names of the channels, in order.
        units: Unit of each channel.
        layout: Where the bytes of a sample lie.
        lat: Latitudes (H,), degrees, ascending.
        lon: Longitudes (W,), degrees, ascending in [0, 360).
        calendar: CF calendar of the times.
        times: Time of each sample, ISO 8601.
        shards: The files, in the order in which samples are numbered.
        statistics: Of the channels, over the training split alone, so that nothing leaks.
        class_shares: Of the training split alone, over all label sets.
        whole_statistics: Of the channels, over all splits; to look at, not to train with.
        whole_class_shares: Over all splits.
        normalization: Scaling that networks see.
        num_dropped: Snapshots dropped in the gaps between splits.
        left_out: Snapshots left out as bad or unlabeled, a line each.
        settings: The settings that made the samples.
        provenance: Where fields and labels come from.
        soft_class_shares: Mean probability of each class by the soft labels of the training split
            (K,); None without soft labels.
        label_set_shares: Of the training split, of each label set where there are several (N,).
        format: Always `FORMAT_NAME`.
        version: Of this format.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    layout: SampleLayout
    lat: tuple[float, ...]
    lon: tuple[float, ...]
    calendar: str
    times: tuple[str, ...]
    shards: tuple[Shard, ...]
    statistics: ChannelStatistics
    class_shares: ClassShares
    whole_statistics: ChannelStatistics
    whole_class_shares: ClassShares
    normalization: Literal["zscore", "minmax"]
    num_dropped: int
    left_out: tuple[str, ...]
    settings: dict[str, Any]
    provenance: dict[str, str] = field(default_factory=dict)
    soft_class_shares: tuple[float, ...] | None = None
    label_set_shares: tuple[ClassShares, ...] = ()
    format: str = FORMAT_NAME
    version: int = FORMAT_VERSION

    @property
    def num_samples(self) -> int:
        """Samples in all shards."""
        return len(self.times)

    @cached_property
    def shard_starts(self) -> NDArray[np.int64]:
        """Number of the first sample of each shard, and past the last: (num_shards + 1,)."""
        return np.cumsum([0, *(s.num_samples for s in self.shards)], dtype=np.int64)

    @property
    def checksums(self) -> list[str]:
        """Checksum of each shard: what tells these samples from others."""
        return [shard.sha256 for shard in self.shards]

    @property
    def splits(self) -> tuple[str, ...]:
        """Split of each sample (num_samples,)."""
        return tuple(s.split for s in self.shards for _ in range(s.num_samples))

    @property
    def scaling(self) -> Scaling:
        """Shift and scale that networks see, per channel."""
        return channel_scaling(self.statistics, self.normalization)

    def shares_of(self, label_set: LabelSet) -> ClassShares:
        """How common each class is in what is trained on: in one label set, or in all of them."""
        if isinstance(label_set, int) and self.label_set_shares:
            return self.label_set_shares[label_set]
        return self.class_shares

    def num_of_split(self, split: str) -> int:
        """Samples of one split."""
        return sum(s.num_samples for s in self.shards if s.split == split)

    def to_line(self) -> str:
        """One line that says what there is."""
        counts = ", ".join(f"{self.num_of_split(s)} {s}" for s in SPLITS)
        size = sum(s.num_bytes for s in self.shards) / 1e6
        left = f"; {len(self.left_out)} left out" if self.left_out else ""
        soft = " with soft labels" if self.layout.shares else ""
        if self.layout.label_sets:
            soft += f" with {len(self.layout.label_sets)} label sets"
        return (
            f"{self.num_samples} samples ({counts}){soft} in {len(self.shards)} shards,"
            f" {size:.0f} MB; {self.num_dropped} dropped between splits{left}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Figures to print, JSON-able: the index without its long lists."""
        figures = dataclasses.asdict(self)
        for name in ("times", "lat", "lon", "format", "layout"):
            figures.pop(name)
        figures["label_sets"] = self.layout.label_sets
        figures["num_samples"] = {s: self.num_of_split(s) for s in SPLITS}
        return figures


ADAPTER = TypeAdapter(SampleIndex)


def write_index(index: SampleIndex, folder: Path) -> None:
    """Write `index.json` in one move, once its bytes are on disk."""
    partial = folder / (INDEX_NAME + ".partial")
    with partial.open("wb") as file:
        file.write(ADAPTER.dump_json(index, indent=1))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / INDEX_NAME)


def parse_time(text: str, calendar: str) -> cftime.datetime:
    """A time as the index spells it, as a datetime of its calendar."""
    date, _, clock = text.partition("T")
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = clock.split(":")
    whole, _, fraction = second.partition(".")
    micro = int(fraction.ljust(6, "0")) if fraction else 0
    return cftime.datetime(
        year, month, day, int(hour), int(minute), int(whole), micro, calendar=calendar
    )
