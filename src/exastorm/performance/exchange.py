"""All-reduce of gradients over emulated nodes, beside what the wire allows.

A buffer of M bytes that is summed over N nodes must cross each node's link as 2 M (N - 1) / N bytes
(reduce-scatter and all-gather, each (N - 1) / N; Patarasuk and Yuan 2009, J. Parallel Distrib.
Comput. 69): divided by the link's rate, that is the bound on time. The bytes are read from the
kernel's counters.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from exastorm.errors import InputError
from exastorm.performance.fabric import Fabric

Placement = Literal["blocks", "round_robin"]

PORT = 29400
"""Of rank 0 on its own node: nobody else is there."""


@dataclass(frozen=True, kw_only=True)
class ExchangeBenchSettings:
    """What is summed, over which nodes."""

    num_nodes: int = 4
    """Nodes, each a network namespace of this machine."""

    ranks_per_node: int = 2
    """Processes on each node."""

    rate_mbit: float = 1000.0
    """Rate of each node's link, each way, Mbit/s; not with a delay."""

    delay_ms: float | None = None
    """Time from node to node, milliseconds, in place of a rate, for small buffers."""

    placement: Placement = "blocks"
    """blocks: ranks fill node after node; round_robin: they are dealt out in turn."""

    sizes_mb: tuple[float, ...] = (174.7,)
    """Megabytes of each buffer; the gradients of DeepLabv3+ are 174.7."""

    kinds: tuple[str, ...] = ("flat", "hierarchical")
    """Ways to sum."""

    leaders_per_node: int | None = None
    """Ranks of a node that talk to other nodes; None takes all."""

    chunk_mb: float = 4.0
    """Megabytes that go through the stages of hierarchical at once."""

    wire: str = "float32"
    """Numbers between nodes."""

    num_tries: int = 3
    """Times each sum is timed; the best counts."""

    def __post_init__(self) -> None:
        for name in ("num_nodes", "ranks_per_node", "num_tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.placement not in get_args(Placement):
            known = ", ".join(get_args(Placement))
            raise ValueError(f"placement must be one of {known}, got {self.placement!r}")


def bench_exchange(settings: ExchangeBenchSettings) -> dict[str, Any]:
    """Sum buffers over emulated nodes in every way asked for.

    Returns:
        For each way and size: time, bytes sent by the busiest node and by how much they exceed the
        least, the wire's bound on time and the share of it that was reached, and flat's time over
        this one.

    Raises:
        InputError: If the emulated network can't be made, or a rank fails.
    """
    rate_mbit = settings.rate_mbit if settings.delay_ms is None else None
    with Fabric(settings.num_nodes, rate_mbit, settings.delay_ms) as fabric:
        told = run_ranks(fabric, node_of_ranks(settings), settings)
    rows = [
        _row(kind, i, size_mb, told, settings)
        for kind in settings.kinds
        for i, size_mb in enumerate(settings.sizes_mb)
    ]
    return {"num_ranks": len(told), "placement": settings.placement, "sums": rows}


def node_of_ranks(settings: ExchangeBenchSettings) -> list[int]:
    """The node of each rank."""
    num_ranks = settings.num_nodes * settings.ranks_per_node
    if settings.placement == "blocks":
        return [rank // settings.ranks_per_node for rank in range(num_ranks)]
    return [rank % settings.num_nodes for rank in range(num_ranks)]


def run_ranks(
    fabric: Fabric, nodes: Sequence[int], settings: ExchangeBenchSettings
) -> list[dict[str, Any]]:
    """What each rank measured.

    Raises:
        InputError: If one of them fails.
    """
    plan = {
        "kinds": settings.kinds,
        "sizes_mb": settings.sizes_mb,
        "num_tries": settings.num_tries,
        "chunk_mb": settings.chunk_mb,
        "leaders_per_node": settings.leaders_per_node,
        "wire": settings.wire,
    }
    shared = {
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(len(nodes)),
        "MASTER_ADDR": fabric.address(nodes[0]),
        "MASTER_PORT": str(PORT),
    }
    words = [sys.executable, "-m", "exastorm.performance.exchange_rank", json.dumps(plan)]
    processes = [
        subprocess.Popen(
            [*fabric.prefix(node), *words],
            env=os.environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, node in enumerate(nodes)
    ]
    try:
        ends = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for rank, (process, (_, errors)) in enumerate(zip(processes, ends, strict=True)):
        if process.returncode:
            last = errors.strip().rpartition("\n")[2]
            raise InputError(f"rank {rank} of the benchmark must end well, got: {last}")
    return [json.loads(output) for output, _ in ends]


def _row(
    kind: str,
    number: int,
    size_mb: float,
    told: list[dict[str, Any]],
    settings: ExchangeBenchSettings,
) -> dict[str, Any]:
    """Figures of one way and size over all ranks."""
    cells = [rank["found"][kind][number] for rank in told]
    best_s = max(cell["best_s"] for cell in cells)
    least_mb = 2.0 * size_mb * (settings.num_nodes - 1) / settings.num_nodes
    bound_s = 8.0 * least_mb / settings.rate_mbit
    flat_s = (
        max(rank["found"]["flat"][number]["best_s"] for rank in told)
        if "flat" in settings.kinds
        else None
    )
    sent_mb = max(cell["sent_mb"] for cell in cells)
    return {
        "kind": kind,
        "size_mb": size_mb,
        "time_ms": 1e3 * best_s,
        "sent_mb": sent_mb,
        "sent_over_least": sent_mb / least_mb if least_mb else None,
        "bound_ms": 1e3 * bound_s,
        "share_of_wire": bound_s / best_s,
        "times_flat": None if flat_s is None else flat_s / best_s,
        "num_wrong": sum(cell["num_wrong"] for cell in cells),
    }
