"""Memory of the CPU that is kept, in large pages, instead of given back and asked for again.

Feature maps at full resolution are hundreds of megabytes. glibc gets each of them from the system
and gives it back when it is freed, and the system clears it page by page, 4 kB at a time, when it
is touched again: that took a third of a training step (docs/benchmarks/step.md). Here the
process keeps what it once had, and asks for pages of 2 MB.
"""

import ctypes
import os
import sys

MMAP_MAX = -4
"""mallopt(3): how many blocks may be had from the system one by one."""

TRIM_THRESHOLD = -1
"""mallopt(3): free bytes at the top of the heap that are given back; -1 never gives any."""

ARENA_MAX = -8
"""mallopt(3): heaps of the process; with more than one, a thread's own can't hold large blocks."""

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Torch asks for large pages where this is 1 when its first tensor is made (c10, alloc_cpu.cpp)."""


def keep_host_memory() -> bool:
    """Let this process keep memory that it frees, and have torch ask for large pages.

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
    choices = ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (ARENA_MAX, 1))
    taken = [mallopt(parameter, value) for parameter, value in choices]
    return all(answer == 1 for answer in taken)
