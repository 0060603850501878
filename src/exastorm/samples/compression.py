"""Lossless compression of samples, each on its own: still one contiguous read, and no lock.

Blosc's bit-shuffle lays equal bits of neighboring numbers side by side, where weather's smooth
fields repeat; lz4 is fast, zstd is small. What it saves and costs is in docs/samples.md. A sample
is compressed with the zeros behind it, which cost nothing; its Blosc frame says its own length.
"""

import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError

Compression = Literal["none", "lz4", "zstd"]
"""How samples are compressed."""

COMPRESSIONS: tuple[Compression, ...] = ("none", "lz4", "zstd")

LEVELS = {"lz4": 1, "zstd": 3}
"""Blosc's levels: 5 and 6 shrink the made-up climate by 3 % more, for three times the work."""

FRAME_HEADER_BYTES = 16
"""Length of the header of a frame, with the length of what it holds in bytes 4 to 7 and that of the
frame in its last four (Blosc 1 format, README_CHUNK_FORMAT.rst)."""

_scratch = threading.local()


def encode(sample: NDArray[Any], compression: Compression) -> bytes:
    """Compress the bytes of a sample.

    Args:
        sample: The whole stride, as an array of the field's type.
        compression: lz4 or zstd.
    """
    from numcodecs import blosc

    name = compression.encode()
    return bytes(blosc.compress(sample, name, LEVELS[compression], blosc.BITSHUFFLE))


def decode(frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Decompress a frame into a buffer of the stride.

    Raises:
        InputError: If it is none, or of another length.
    """
    from numcodecs import blosc

    # The library believes the lengths in the header, and would read or leave what is beyond them.
    header = frame[:FRAME_HEADER_BYTES].tobytes()
    told = int.from_bytes(header[4:8], "little"), frame_bytes(header)
    if told != (len(out), len(frame)):
        raise InputError(
            f"can't be decompressed (must be {len(out)} bytes in a frame of {len(frame)}, got"
            f" {told[0]} in {told[1]}): the shard has changed"
        )
    try:
        blosc.decompress(frame, out)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"can't be decompressed ({error}): the shard has changed") from None


def scratch(num_bytes: int) -> NDArray[np.uint8]:
    """A buffer of this thread that is used again, at least so long."""
    buffer: NDArray[np.uint8] | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < num_bytes:
        buffer = _scratch.buffer = np.empty(num_bytes, np.uint8)
    return buffer[:num_bytes]


def frame_bytes(header: bytes) -> int:
    """Length of a frame by its header."""
    return int.from_bytes(header[12:16], "little")
