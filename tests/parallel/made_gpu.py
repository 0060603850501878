"""A GPU of a test's own, over whose NCCL a sum is what was in the buffer."""

import time
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist

from exastorm.parallel.world import World

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SLEEP = 4_000_000_000
"""Cycles that a GPU of about 2 GHz is kept busy: 2 s, many times what the host needs to queue."""

LIMIT_S = 60.0


class OwnGroup:
    """A cluster of two ranks, as far as an exchange asks, whose groups are of this process."""

    device = torch.device("cuda", 0)
    world = World(rank=0, placement=(0, 0))

    def make_group(self, ranks):
        return dist.group.WORLD

    def unique(self, purpose):
        return purpose


@contextmanager
def own_group():
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    # A kernel's first use waits until the GPU is idle, and NCCL connects when it is first asked.
    once = torch.full((1000,), 1.0, device=OwnGroup.device) * 2.0 + torch.ones(1000, device="cuda")
    dist.all_reduce(once)
    assert once.clone().sum().item() == 3000.0
    torch.cuda._sleep(1)
    try:
        yield OwnGroup()
    finally:
        dist.destroy_process_group()


def wait_until(is_reached):
    deadline = time.monotonic() + LIMIT_S
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)
