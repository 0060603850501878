"""One rank of the sums in test_allreduce.py, a process of its own; writes what went wrong as JSON.

It takes part in one cluster after another, of different nodes and ranks: to start a process costs
more than to connect it.
"""

import hashlib
import json
import os
import sys

import torch
from made_sums import TIMEOUT_S, connected, part_of

from exastorm.parallel.allreduce import direct
from exastorm.parallel.allreduce.choosing import ChosenAllReduce, make_allreduce
from exastorm.parallel.allreduce.family import AllReduceSettings


def problems_of(way, rank, num_ranks, sizes):
    """Sizes whose sum is not exact, with all of them under way at once."""
    buffers = [part_of(rank, size, size % 7).float() for size in sizes]
    pending = [way.start(buffer) for buffer in buffers]
    wrong = []
    for size, buffer, sum_ in zip(sizes, buffers, pending, strict=True):
        sum_.wait()
        exact = sum(part_of(r, size, size % 7) for r in range(num_ranks))
        if not torch.equal(buffer, exact.float()):
            wrong.append(size)
    return wrong


def exact_sums(cluster, plan):
    """Every way on one placement."""
    world, found = cluster.world, {}
    for number, choice in enumerate(plan["ways"]):
        settings = AllReduceSettings(**choice)
        way = make_allreduce(cluster, settings, TIMEOUT_S, name=f"way-{number}")
        wrong = problems_of(way, world.rank, world.num_ranks, plan["sizes"])
        found[json.dumps(choice)] = wrong
        if isinstance(way, ChosenAllReduce):
            found["choice"] = [str(kind) for kind in way.choice.values()]
            found["line"] = way.to_line()
        way.close()
    return found


def rounded_sums(cluster, plan):
    """Errors of 16-bit numbers on the wire, and whether all ranks have the same bits."""
    world, found = cluster.world, {}
    torch.manual_seed(world.rank)
    part = torch.randn(10_001)
    exact = part.double().clone()
    plain = make_allreduce(cluster, AllReduceSettings(kind="flat"), TIMEOUT_S, name="plain")
    total = part.clone()
    plain.sum(total)
    everyone = [
        torch.randn(10_001, generator=torch.Generator().manual_seed(r))
        for r in range(world.num_ranks)
    ]
    exact = torch.stack(everyone).double().sum(dim=0)
    for kind in ("flat", "hierarchical"):
        for wire in ("float32", "bfloat16", "float16"):
            settings = AllReduceSettings(kind=kind, wire=wire, chunk_mb=0.01)
            way = make_allreduce(cluster, settings, TIMEOUT_S, name=f"{kind}-{wire}")
            buffer = everyone[world.rank].clone()
            way.sum(buffer)
            error = (buffer.double() - exact).norm() / exact.norm()
            check = buffer.view(torch.int32).to(torch.float64).sum().float().reshape(1)
            total_check = check.clone()
            plain.sum(total_check)
            found[f"{kind} {wire}"] = {
                "error": float(error),
                "same": abs(float(total_check) - world.num_ranks * float(check))
                <= 1e-6 * abs(float(check)),
            }
            way.close()
    plain.close()
    return found


def direct_sums(cluster, plan):
    """Direct exchanges, two under way at once: exact sums of integers, and the bits of others."""
    world, found = cluster.world, []
    groups = [cluster.make_group(range(world.num_ranks)) for _ in range(2)]
    for size in plan["sizes"]:
        whole = part_of(world.rank, size, 1).float()
        noise = torch.randn(size, generator=torch.Generator().manual_seed(world.rank))
        exact = sum(part_of(r, size, 1) for r in range(world.num_ranks)).float()
        waits = [
            direct.start_direct(share, group, world.num_ranks)
            for share, group in zip((whole, noise), groups, strict=True)
        ]
        for wait in waits:
            wait()
        bits = hashlib.sha256(noise.numpy().tobytes()).hexdigest()
        found.append({"exact": torch.equal(whole, exact), "bits": bits})
    return {"direct": found}


def main():
    rank, jobs = int(os.environ["RANK"]), json.loads(os.environ["JOBS"])
    seen = []
    for job in jobs:
        placement = job["placement"]
        if rank >= len(placement):
            continue
        with connected(placement, rank, job["port"]) as cluster:
            assert list(cluster.world.placement) == placement
            seen.append({"placement": placement, **globals()[job["do"]](cluster, job)})
    sys.stdout.write(json.dumps(seen))


main()
