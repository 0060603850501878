"""One rank of the benchmark of all-reduce: a process of its own, perhaps on an emulated node.

    python -m exastorm.performance.exchange_rank PLAN

PLAN is JSON: `sizes_mb`, `kinds`, `num_tries`, `chunk_mb`, `leaders_per_node`, `wire`. The rank
joins as its launcher's variables say, sums buffers in every way, and writes what it measured as
JSON.
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

SENT = Path("/sys/class/net/eth0/statistics/tx_bytes")
"""What the kernel counts of a node's link (its Documentation, sysfs-class-net-statistics)."""


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Measure all that a plan asks for."""
    settings = ClusterSettings(timeout_s=120.0, meeting_timeout_s=120.0)
    with connect(read_launch(os.environ), settings, "cpu") as cluster:
        totals = Totals(cluster)
        found = {kind: _measure(cluster, totals, kind, plan) for kind in plan["kinds"]}
        world = cluster.world
        return {"rank": world.rank, "node": world.node, "first": world.is_leader, "found": found}


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
    way = make_allreduce(cluster, settings, 120.0, name=f"bench-{kind}")
    rows = [_measure_size(way, totals, cluster, mb, plan["num_tries"]) for mb in plan["sizes_mb"]]
    way.close()
    return rows


def _measure_size(
    way: AllReduce, totals: Totals, cluster: Cluster, size_mb: float, num_tries: int
) -> dict[str, float]:
    """Best time of a sum, and the bytes that this rank's node sent for it."""
    buffer = torch.ones(max(1, round(size_mb * 1e6 / 4)))
    way.sum(buffer)
    times, sent = [], []
    for _ in range(num_tries):
        buffer.fill_(1.0)
        _meet(totals)
        before = _bytes_sent()
        start = time.perf_counter()
        way.sum(buffer)
        times.append(time.perf_counter() - start)
        _meet(totals)
        sent.append(_bytes_sent() - before)
    wrong = int(torch.count_nonzero(buffer != cluster.world.num_ranks))
    return {
        "size_mb": size_mb,
        "best_s": min(times),
        "sent_mb": min(sent) / 1e6,
        "num_wrong": wrong,
    }


def _meet(totals: Totals) -> None:
    """Wait for all ranks."""
    totals.sum([torch.zeros(1)])


def _bytes_sent() -> int:
    """Bytes that this node's link has sent; 0 without such a link."""
    return int(SENT.read_text()) if SENT.exists() else 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
