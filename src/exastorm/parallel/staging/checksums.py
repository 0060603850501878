"""CRC-32C of bytes anywhere in memory: what kept and sent files are checked by.

It finds any flip of a few bits and is free beside reading (32 GB/s on one core with SSE 4.2, where
SHA-256 makes 2 GB/s); it is no seal against forgery, for which the manifest has SHA-256.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c

Buffer = bytes | bytearray | memoryview
"""Bytes in memory; memory maps are passed as a memoryview of them."""

BLOCK_BYTES = 1 << 20
"""What is checked at once when a file is read again: it still lies in the cache when summed."""

_crc32c: Any = google_crc32c


def crc32c(buffer: Buffer, value: int = 0) -> int:
    """The checksum of bytes that follow those of `value`; nothing is copied."""
    if isinstance(buffer, bytes):
        return int(_crc32c.extend(value, buffer))
    view = memoryview(buffer)
    if view.readonly or not view.nbytes:
        return int(_crc32c.extend(value, bytes(view)))
    # The library refuses memory that can change, unless it comes by way of ctypes.
    return int(_crc32c.extend(value, (ctypes.c_char * view.nbytes).from_buffer(view)))


def crc32c_of_file(path: Path, advance: Callable[[int], None] | None = None) -> tuple[int, int]:
    """Size and checksum of a file.

    Args:
        path: The file.
        advance: Told how many more bytes were read.

    Raises:
        OSError: If it can't be read.
    """
    total, value = 0, 0
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            value = crc32c(block[:count], value)
            total += count
            if advance:
                advance(count)
    return total, value
