"""All-reduce of gradients over emulated nodes, beside what the wire allows.

A buffer of M bytes that is summed over N nodes must cross each node's link as 2 M (N - 1) / N bytes
(reduce-scatter and all-gather, each (N - 1) / N; Patarasuk and Yuan 2009, J. Parallel Distrib.
Comput. 69): divided by the link's rate, that is the bound on time. The bytes are read from the
kernel's counters. Without emulated links there are neither.
"""

from dataclasses import dataclass
from typing import Any, get_args

from exastorm.parallel.allreduce.family import AllReduceKind, Wire
from exastorm.performance.ranks import RankSettings, run_ranks


@dataclass(frozen=True, kw_only=True)
class ExchangeBenchSettings(RankSettings):
    """What is summed, over which nodes."""

    sizes_mb: tuple[float, ...] = (174.7,)
    """Megabytes of each buffer; the gradients of DeepLabv3+ are 174.7."""

    kinds: tuple[str, ...] = ("flat", "hierarchical")
    """Ways to sum: flat, hierarchical, leader, auto."""

    leaders_per_node: int | None = None
    """Ranks of a node that talk to other nodes; None takes all."""

    chunk_mb: float = 4.0
    """Megabytes that go through the stages of hierarchical at once."""

    wire: Wire = "float32"
    """Numbers between nodes."""

    num_tries: int = 3
    """Times each sum is timed; the best counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_tries < 1:
            raise ValueError(f"num_tries must be at least 1, got {self.num_tries}")
        if not self.kinds or set(self.kinds) - set(get_args(AllReduceKind)):
            known = ", ".join(get_args(AllReduceKind))
            raise ValueError(f"kinds must be among {known}, got {', '.join(self.kinds) or 'none'}")
        if not self.sizes_mb or min(self.sizes_mb) <= 0:
            raise ValueError(f"sizes_mb must be positive, got {self.sizes_mb}")


def bench_exchange(settings: ExchangeBenchSettings) -> dict[str, Any]:
    """Sum buffers over all ranks in every way asked for.

    Returns:
        For each way and size: time; bytes sent by the busiest node and by how much they exceed the
        least; the wire's bound on time and the share of it that was reached; flat's time over this
        one; numbers of the sum that are wrong. None for what can't be told.

    Raises:
        InputError: If the emulated network can't be made, or a rank fails.
    """
    plan = {
        "device": settings.device,
        "kinds": settings.kinds,
        "sizes_mb": settings.sizes_mb,
        "num_tries": settings.num_tries,
        "chunk_mb": settings.chunk_mb,
        "leaders_per_node": settings.leaders_per_node,
        "wire": settings.wire,
    }
    told = run_ranks("exastorm.performance.exchange_rank", plan, settings)
    rows = [
        _row(kind, i, size_mb, told, settings)
        for kind in settings.kinds
        for i, size_mb in enumerate(settings.sizes_mb)
    ]
    return {
        "num_ranks": len(told),
        "num_nodes": settings.num_nodes,
        "placement": settings.placement,
        "device": told[0]["device"],
        "links": settings.links(),
        "sums": rows,
    }


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
    flat_s = None
    if "flat" in settings.kinds:
        flat_s = max(rank["found"]["flat"][number]["best_s"] for rank in told)
    least_mb = 2.0 * size_mb * (settings.num_nodes - 1) / settings.num_nodes
    sent_mb = max(cell["sent_mb"] for cell in cells) if settings.emulate else None
    rate_mbit = settings.shaped_mbit
    bound_s = 8.0 * least_mb / rate_mbit if rate_mbit and least_mb else None
    return {
        "kind": kind,
        "size_mb": size_mb,
        "time_ms": 1e3 * best_s,
        "sent_mb": sent_mb,
        "sent_over_least": sent_mb / least_mb if sent_mb is not None and least_mb else None,
        "bound_ms": None if bound_s is None else 1e3 * bound_s,
        "share_of_wire": None if bound_s is None else bound_s / best_s,
        "times_flat": None if flat_s is None else flat_s / best_s,
        "num_wrong": sum(cell["num_wrong"] for cell in cells),
    }
