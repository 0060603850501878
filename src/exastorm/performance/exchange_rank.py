"""One rank of the benchmark of all-reduce: a process of its own, perhaps on an emulated node.

    python -m exastorm.performance.exchange_rank PLAN

PLAN is JSON: `device`, `sizes_mb`, `kinds`, `num_tries`, `chunk_mb`, `leaders_per_node`, `wire`.
The rank joins as its launcher's variables say, sums buffers in every way, and writes what it
measured as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from exastorm.parallel.allreduce.choosing import make_allreduce
from exastorm.parallel.allreduce.family import AllReduce, AllReduceKind, AllReduceSettings
from exastorm.parallel.cluster import Cluster, ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.totals import Totals
from exastorm.performance.timing import wait_for

SENT = Path("/sys/class/net/eth0/statistics/tx_bytes")
"""What the kernel counts of a node's link (its Documentation, sysfs-class-net-statistics)."""

TIMEOUT_S = 120.0
"""Wait for other ranks: many may start on few cores."""


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Measure all that a plan asks for."""
    settings = ClusterSettings(timeout_s=TIMEOUT_S, meeting_timeout_s=TIMEOUT_S)
    with connect(read_launch(os.environ), settings, plan["device"]) as cluster:
        totals = Totals(cluster)
        found = {kind: _measure(cluster, totals, kind, plan) for kind in plan["kinds"]}
        return {"device": device_name(cluster.device), "found": found}


def device_name(device: torch.device) -> str:
    """What a rank computes on, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def meet(cluster: Cluster, totals: Totals) -> None:
    """Wait for all ranks, and for their devices."""
    totals.sum([torch.zeros(1, device=cluster.device)])
    wait_for(cluster.device)


def _measure(
    cluster: Cluster, totals: Totals, kind: AllReduceKind, plan: dict[str, Any]
) -> list[dict[str, float]]:
    """Times and bytes of one way, for each size."""
    settings = AllReduceSettings(
        kind=kind,
        leaders_per_node=plan["leaders_per_node"],
        chunk_mb=plan["chunk_mb"],
        wire=plan["wire"],
    )
    way = make_allreduce(cluster, settings, TIMEOUT_S, name=f"bench-{kind}")
    rows = [_measure_size(way, totals, cluster, mb, plan["num_tries"]) for mb in plan["sizes_mb"]]
    way.close()
    return rows


def _measure_size(
    way: AllReduce, totals: Totals, cluster: Cluster, size_mb: float, num_tries: int
) -> dict[str, float]:
    """Best time of a sum, and the bytes that this rank's node sent for it."""
    rank, num_ranks = cluster.world.rank, cluster.world.num_ranks
    # Small integers, different on each rank and along the buffer, so that their sum is exact.
    size = max(1, round(size_mb * 1e6 / 4))
    pattern = torch.arange(size, device=cluster.device).remainder_(251).float()
    buffer = pattern + rank
    way.sum(buffer)
    times, sent = [], []
    for _ in range(num_tries):
        buffer.copy_(pattern).add_(rank)
        meet(cluster, totals)
        before = _bytes_sent()
        start = time.perf_counter()
        way.sum(buffer)
        wait_for(cluster.device)
        times.append(time.perf_counter() - start)
        meet(cluster, totals)
        sent.append(_bytes_sent() - before)
    expected = pattern.mul_(num_ranks).add_(num_ranks * (num_ranks - 1) // 2)
    return {
        "best_s": min(times),
        "sent_mb": min(sent) / 1e6,
        "num_wrong": int(torch.count_nonzero(buffer != expected)),
    }


def _bytes_sent() -> int:
    """Bytes that this node's link has sent; 0 without such a link."""
    return int(SENT.read_text()) if SENT.exists() else 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
