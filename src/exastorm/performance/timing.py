"""Clocks and memory meters for work in torch, on a CPU or a GPU."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

MEGABYTE = 1e6


def seconds_per_call(
    work: Callable[[], Any],
    device: torch.device,
    num_calls: int = 1,
    num_rounds: int = 1,
    num_warmups: int = 1,
) -> float:
    """Wall time of one call, s: the best round's mean, with the device's work waited for.

    Args:
        work: What is timed.
        device: Where it runs.
        num_calls: Calls between two looks at the clock.
        num_rounds: Times that so many calls are timed.
        num_warmups: Calls before that, in which libraries choose their algorithms and fill caches.
    """
    rounds = []
    for _ in range(num_warmups):
        work()
    for _ in range(num_rounds):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(num_calls):
            work()
        wait_for(device)
        rounds.append((time.perf_counter() - start) / num_calls)
    return min(rounds)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held, MB: by tensors on a GPU, by the process on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / MEGABYTE
    # Linux counts in kilobytes of 1024, macOS in bytes (getrusage(2)).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
