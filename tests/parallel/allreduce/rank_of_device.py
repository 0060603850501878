"""One rank of the sums in test_device.py, a process of its own; writes what it saw as JSON.

It takes part in one cluster after another, of different nodes and ranks: to start a process costs
more than to connect it. What runs between GPUs runs here between CPUs, with gloo.
"""

import hashlib
import json
import os
import sys
import warnings

import torch
from made_sums import connected, part_of

from exastorm.parallel.allreduce.choosing import ChosenAllReduce, make_device_allreduce
from exastorm.parallel.allreduce.family import AllReduceSettings

NOISE = 10_001


def noise_of(rank):
    """Numbers of about 1, others on each rank."""
    return torch.randn(NOISE, generator=torch.Generator().manual_seed(rank))


def seen_of(way, rank, num_ranks, sizes):
    """Sizes whose sum is not exact, started in order and waited for from the last; noise."""
    buffers = [part_of(rank, size, number).float() for number, size in enumerate(sizes)]
    pending = [way.start(buffer) for buffer in buffers]
    wrong = []
    for number, size in reversed(list(enumerate(sizes))):
        pending[number].wait()
        exact = sum(part_of(r, size, number) for r in range(num_ranks))
        if not (pending[number].is_done() and torch.equal(buffers[number], exact.float())):
            wrong.append(size)
    noise = noise_of(rank)
    way.sum(noise)
    whole = torch.stack([noise_of(r) for r in range(num_ranks)]).double().sum(dim=0)
    return {
        "wrong": wrong,
        "error": float((noise.double() - whole).norm() / whole.norm()),
        "bits": hashlib.sha256(noise.numpy().tobytes()).hexdigest(),
    }


def main():
    # As in the test itself.
    warnings.simplefilter("error")
    rank, jobs = int(os.environ["RANK"]), json.loads(os.environ["JOBS"])
    seen = []
    for job in jobs:
        placement = job["placement"]
        if rank >= len(placement):
            continue
        with connected(placement, rank, job["port"]) as cluster:
            assert list(cluster.world.placement) == placement
            for choice in job["ways"]:
                way = make_device_allreduce(cluster, AllReduceSettings(**choice))
                found = seen_of(way, rank, len(placement), job["sizes"])
                if isinstance(way, ChosenAllReduce):
                    found["choice"] = [str(kind) for kind in way.choice.values()]
                    found["line"] = way.to_line()
                seen.append({"placement": placement, "way": choice, **found})
                way.close()
    sys.stdout.write(json.dumps(seen))


main()
