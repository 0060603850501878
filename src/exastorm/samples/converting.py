"""Shards made smaller on their way: fewer channels, half precision, no compression.

A shard is turned sample by sample as it streams from a shared store into a node's own, so memory
holds one sample, and a reader process needs neither torch nor the index. Statistics stay in the
index in physical units, so what networks are scaled by does not depend on how numbers are stored.

float16 is the only type of 16 bits: packed over the plausible range it is 8 times as exact as
bfloat16 packed in the same way, and bfloat16 not packed loses a tenth of the standard deviation of
pressure (docs/samples.md).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.samples.compression import FRAME_HEADER_BYTES, decode, frame_bytes
from exastorm.samples.index import SampleIndex, SampleLayout, Shard
from exastorm.samples.indexed import RawSample
from exastorm.samples.normalize import ChannelStatistics


class Samples(Protocol):
    """Samples of any form, read one at a time."""

    @property
    def index(self) -> SampleIndex:
        """What they are."""

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Sample `i` as its layout stores it; `buffer` of the layout's stride may hold it."""


class FileOfSamples(Protocol):
    """What must be known of a shard to tell the size of its conversion."""

    @property
    def num_samples(self) -> int:
        """Samples in it."""


@dataclass(frozen=True, kw_only=True)
class SampleConverter:
    """Turns shards of one layout into shards of another; can be sent to other processes.

    Attributes:
        source: Layout of the shards that are read.
        target: Layout of those that are written; not compressed.
        channels: Numbers of the channels kept, in their new order.
        form: What the conversion does: the same for the same result of the same bytes.
    """

    source: SampleLayout
    target: SampleLayout
    channels: tuple[int, ...]
    form: str

    def num_bytes(self, file: FileOfSamples) -> int:
        """Size of a shard once it is converted."""
        return file.num_samples * self.target.stride

    def convert(self, source: BinaryIO, write: Callable[[Any], object]) -> None:
        """Read a shard to its end and write its conversion, sample by sample.

        Args:
            source: The shard, at its beginning.
            write: Takes the bytes one after the other; may use them only until it returns.

        Raises:
            InputError: If the shard ends within a sample, or a sample can't be decompressed.
        """
        sample = np.empty(self.source.stride, np.uint8)
        out = np.zeros(self.target.stride, np.uint8)
        field_bytes, used = self.target.field_bytes, self.target.used_bytes
        while self._read_sample(source, sample):
            stored = sample[: self.source.field_bytes].view(self.source.disk_dtype)
            field = self.convert_field(stored.reshape(self.source.shape))
            out[:field_bytes] = field.view(np.uint8).ravel()
            out[field_bytes:used] = sample[self.source.field_bytes : self.source.used_bytes]
            write(out.data)

    def _read_sample(self, source: BinaryIO, sample: NDArray[np.uint8]) -> bool:
        """Fill a buffer with the next sample; False where the shard ends before it."""
        if self.source.compression == "none":
            return _read_whole(source, sample)
        header = np.empty(FRAME_HEADER_BYTES, np.uint8)
        if not _read_whole(source, header):
            return False
        num_bytes = frame_bytes(header.tobytes())
        # A frame of noise is a header longer than the noise; anything beyond is no frame.
        if not FRAME_HEADER_BYTES < num_bytes <= self.source.stride + FRAME_HEADER_BYTES:
            raise InputError(f"must be compressed samples, got a frame of {num_bytes} bytes")
        frame = np.empty(num_bytes, np.uint8)
        frame[:FRAME_HEADER_BYTES] = header
        if not _read_whole(source, frame[FRAME_HEADER_BYTES:]):
            raise InputError("shard ends within a sample")
        decode(frame, sample)
        return True

    def convert_field(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Pick and pack the channels of a field as stored, as `ShardWriter` packs them."""
        out = np.empty(self.target.shape, self.target.disk_dtype)
        packs = self.target.dtype == "float16" != self.source.dtype
        unpacks = self.source.dtype == "float16" != self.target.dtype
        for place, channel in enumerate(self.channels):
            values = stored[channel]
            if packs:
                center, unit = self.target.center[place], self.target.unit[place]
                out[place] = (values - np.float32(center)) / np.float32(unit)
            elif unpacks:
                center, unit = self.source.center[channel], self.source.unit[channel]
                out[place] = values.astype(np.float32) * np.float32(unit) + np.float32(center)
            else:
                out[place] = values
        return out


def _read_whole(source: BinaryIO, buffer: NDArray[np.uint8]) -> bool:
    """Fill a buffer from a stream; False at its end.

    Raises:
        InputError: If it ends within the buffer.
    """
    done = 0
    while done < len(buffer):
        # Unbuffered files may give less than was asked for.
        part = source.read(len(buffer) - done)
        if not part:
            break
        buffer[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if 0 < done < len(buffer):
        raise InputError("shard ends within a sample")
    return done > 0


def make_converter(
    index: SampleIndex,
    *,
    channels: Sequence[str] | None = None,
    dtype: Literal["float32", "float16"] | None = None,
) -> SampleConverter:
    """A converter of some samples.

    Args:
        index: Of the samples.
        channels: Names of the channels to keep, in their new order; None keeps all.
        dtype: Numbers on disk; None keeps them.

    Raises:
        InputError: For a channel that the samples lack or that comes twice, or another type.
    """
    kept = index.channels if channels is None else tuple(channels)
    unknown = [name for name in kept if name not in index.channels]
    if unknown or not kept or len(set(kept)) < len(kept):
        raise InputError(
            f"channels must be different ones of {', '.join(index.channels)}, got {', '.join(kept)}"
        )
    dtype = dtype or index.layout.dtype
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype must be float32 or float16, got {dtype}")
    numbers = tuple(index.channels.index(name) for name in kept)
    layout = index.layout
    if dtype == layout.dtype:
        # Packed as it was, whatever the plausible ranges are now.
        target = dataclasses.replace(
            layout,
            shape=(len(kept), *layout.shape[1:]),
            center=tuple(layout.center[c] for c in numbers),
            unit=tuple(layout.unit[c] for c in numbers),
            compression="none",
        )
    else:
        size = (layout.shape[1], layout.shape[2])
        target = SampleLayout.of(kept, dtype, size, layout.shares, layout.label_sets)
    # Where the packing changes with the plausible ranges, so does the form.
    packing = zip(target.center, target.unit, strict=True)
    packed = [f"{c:g}+-{u:g}" for c, u in packing] if dtype != layout.dtype else []
    form = " ".join([*kept, "as", dtype, *packed])
    return SampleConverter(source=layout, target=target, channels=numbers, form=form)


def converted_index(
    index: SampleIndex, converter: SampleConverter, checksums: Sequence[str] | None = None
) -> SampleIndex:
    """The index of converted samples: names, times, labels and statistics stay.

    Args:
        index: Of the samples before.
        converter: Made for them.
        checksums: SHA-256 of each converted shard where known. Else the index holds what tells
            these samples from others: the checksum of the source and the conversion.
    """
    numbers = converter.channels
    if converter.target == index.layout and numbers == tuple(range(len(index.channels))):
        return index
    stride = converter.target.stride
    known = checksums or [f"{shard.sha256} as {converter.form}" for shard in index.shards]
    return dataclasses.replace(
        index,
        channels=tuple(index.channels[c] for c in numbers),
        units=tuple(index.units[c] for c in numbers),
        layout=converter.target,
        shards=tuple(
            Shard(
                name=PurePath(shard.name).name,
                split=shard.split,
                num_samples=shard.num_samples,
                num_bytes=shard.num_samples * stride,
                sha256=checksum,
            )
            for shard, checksum in zip(index.shards, known, strict=True)
        ),
        statistics=_of_channels(index.statistics, numbers),
        whole_statistics=_of_channels(index.whole_statistics, numbers),
        provenance=index.provenance | {"converted": converter.form},
        version=converter.target.format_version,
    )


class ConvertedSamples:
    """Samples seen through a converter, none of them on disk.

    Attributes:
        index: Of the samples as converted.
    """

    def __init__(self, samples: Samples, converter: SampleConverter) -> None:
        self.index = converted_index(samples.index, converter)
        self._samples, self._converter = samples, converter
        self._buffer = np.empty(samples.index.layout.stride, np.uint8)

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read and convert sample `i`, in a buffer of its own: the source's stride is another."""
        raw = self._samples.read_raw(i, self._buffer)
        return raw._replace(field=self._converter.convert_field(raw.field))


def _of_channels(statistics: ChannelStatistics, numbers: Sequence[int]) -> ChannelStatistics:
    """Statistics of some of the channels."""
    values = {
        name: tuple(of_all[c] for c in numbers)
        for name in ("mean", "std", "min", "max")
        for of_all in [getattr(statistics, name)]
    }
    return ChannelStatistics(num_values=statistics.num_values, **values)
