import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from exastorm.train.device import ComputeSettings, compute_mode, plan_compute

settings = ComputeSettings(device="cpu", keep_memory=sys.argv[1] == "keep")
with compute_mode(settings, plan_compute(settings, 1)):
    for _ in range(3):
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def faults(choice):
    # Without the variable, which an earlier test of this process may have set.
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, choice],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")
def test_memory_that_was_freed_is_there_again():
    # 64 MiB are 16,384 pages of 4 KiB: asked for anew each time, or had already.
    assert faults("give back")[-1] > 8000
    assert faults("keep")[-1] < 100
