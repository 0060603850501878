"""Memory of the CPU that is had in large pages, and kept where it is small enough to fit again.

Feature maps at full resolution are hundreds of megabytes. glibc gets each of them from the system
and gives it back when it is freed, and the system clears it page by page, 4 kB at a time, when it
is touched again: that took a third of a training step (docs/benchmarks/step.md). Here torch asks
for pages of 2 MB, and the process keeps blocks of up to 32 MiB. Larger ones are still given back:
kept, they leave gaps that the next map doesn't fit into, and a step needs two thirds more.
"""

import ctypes
import os
import sys

MMAP_THRESHOLD = -3
"""mallopt(3): blocks of so many bytes are had from the system, and given back, one by one."""

LARGEST_THRESHOLD = 32 * 2**20
"""The most that glibc takes on 64 bits (malloc.c, DEFAULT_MMAP_THRESHOLD_MAX)."""

TRIM_THRESHOLD = -1
"""mallopt(3): free bytes at the top of the heap that are given back; -1 never gives any."""

ARENA_MAX = -8
"""mallopt(3): heaps of the process; with more than one, a thread's own can't hold large blocks."""

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Torch asks for large pages where this is 1 when its first tensor is made (c10, alloc_cpu.cpp)."""


def keep_host_memory() -> bool:
    """Have torch ask for large pages, and let this process keep smaller blocks that it frees.

    It holds until the process ends. Large pages are had only if torch has made no tensor yet.

    Returns:
        Whether the C library knows how: glibc does.
    """
    os.environ.setdefault(LARGE_PAGES, "1")
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    choices = ((MMAP_THRESHOLD, LARGEST_THRESHOLD), (TRIM_THRESHOLD, -1), (ARENA_MAX, 1))
    taken = [mallopt(parameter, value) for parameter, value in choices]
    return all(answer == 1 for answer in taken)
