import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
import torch
from exastorm.train.device import ComputeSettings, compute_mode, plan_compute

settings = ComputeSettings(device="cpu", keep_memory=sys.argv[1] == "keep")
with compute_mode(settings, plan_compute(settings, 1)):
    for _ in range(3):
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        [torch.ones(int(sys.argv[2])) for _ in range(int(sys.argv[3]))]
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def faults(choice, size, count, **variables):
    """Pages that were asked for in the third of three rounds of so many arrays."""
    # Without the variable, which an earlier test of this process may have set.
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"} | variables
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, choice, str(size), str(count)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return int(done.stdout.split()[-1])


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")


@on_linux
def test_memory_that_was_freed_is_there_again():
    # 8 arrays of 28 MiB are 57,344 pages of 4 KiB. Without large pages, so that only what is kept
    # counts: all of it, or all but one array, as the heap happens to lie. glibc by itself gives
    # most of them back (43,000 to 57,000 seen).
    assert faults("keep", 7 << 20, 8, THP_MEM_ALLOC_ENABLE="0") < 57_344 / 4


def large_pages():
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.exists() and "[never]" not in path.read_text()


@on_linux
@pytest.mark.skipif(not large_pages(), reason="the system gives no large pages")
def test_what_is_given_back_comes_in_large_pages():
    # 128 MiB are 32,768 pages of 4 KiB or 64 of 2 MiB; not all need be had.
    assert faults("keep", 1 << 25, 1) < faults("give back", 1 << 25, 1) / 2
