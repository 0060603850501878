"""What ranks of the tests of sums do first: they meet, and make numbers that add up exactly."""

import torch

import exastorm.parallel.cluster
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import Launch

TIMEOUT_S = 300.0


def connected(placement, rank, port):
    """The cluster of a placement, on one machine."""
    exastorm.parallel.cluster.host_identity = lambda: f"node {placement[rank]}"
    launch = Launch(launcher="test", rank=rank, num_ranks=len(placement), port=port)
    settings = ClusterSettings(timeout_s=TIMEOUT_S, meeting_timeout_s=TIMEOUT_S)
    return connect(launch, settings, "cpu")


def part_of(rank, size, seed):
    """Small integers, which float32 adds without rounding."""
    return (torch.arange(size) * (rank + 3) + seed) % 101 - 50
