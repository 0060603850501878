"""Which way to sum buffers of which size, found by a short measurement at the start of a run.

Small buffers wait for messages, large ones for the wire, and which way is faster where depends on
nodes, ranks, placement and network. So each way is tried on a few sizes, all ranks agree on their
mean times, and from then on a buffer goes the way that was fastest for the largest size tried that
is not larger than it.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from exastorm.errors import InputError
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings, Pending
from exastorm.parallel.allreduce.flat import FlatAllReduce
from exastorm.parallel.allreduce.hierarchical import HierarchicalAllReduce
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.cluster import Cluster

SIZES_KB = (4, 64, 1024, 8192)
"""Sizes tried, kilobytes: a norm's gradients, a layer's, and a bucket or more."""

NUM_TRIES = 3
"""Tries of each; their median counts, since the first may find connections not yet made."""


def make_allreduce(
    cluster: Cluster, settings: AllReduceSettings, timeout_s: float, name: str = "gradients"
) -> AllReduce:
    """The way to sum over all ranks that settings ask for; all ranks make it at the same time.

    Args:
        cluster: All ranks.
        settings: Which way.
        timeout_s: Longest wait for another rank.
        name: What tells this from others of the same run.

    Raises:
        ExchangeError: If ranks can't reach one another.
        InputError: If ranks compute on GPUs, for a way that sums on CPUs.
    """
    if cluster.world.num_ranks == 1:
        return AloneAllReduce()
    if cluster.device.type != "cpu":
        if settings.kind in ("hierarchical", "leader"):
            raise InputError(
                f"allreduce.kind must be auto or flat between GPUs, got {settings.kind}: NCCL has"
                " levels of its own"
            )
        return FlatAllReduce(cluster, settings.wire)
    most = max(Counter(cluster.world.placement).values())
    leaders = {"hierarchical": min(settings.leaders_per_node or most, most), "leader": 1}

    def make(kind: str) -> AllReduce:
        if kind == "flat":
            return FlatAllReduce(cluster, settings.wire)
        return HierarchicalAllReduce(cluster, f"{name}-{kind}", leaders[kind], settings, timeout_s)

    if settings.kind != "auto":
        return make(settings.kind)
    return ChosenAllReduce({kind: make(kind) for kind in ("flat", "hierarchical", "leader")})


class AloneAllReduce(AllReduce):
    """The sum over one rank, which is there already."""

    def start(self, buffer: Tensor) -> Pending:
        """Nothing to do."""
        return Pending(Failure(), num_parts=0)

    def close(self) -> None:
        """Nothing to let go."""


class ChosenAllReduce(AllReduce):
    """Sums each buffer in the way that was fastest for its size.

    Attributes:
        times_ms: Time of each way (by name) and size tried, milliseconds, summed over ranks.
        choice: Name of the way by smallest buffer (bytes) that goes it.
    """

    def __init__(self, ways: Mapping[str, AllReduce]) -> None:
        """Try all ways; all ranks do so at the same time.

        Args:
            ways: By name, in the same order on all ranks.
        """
        self._ways = dict(ways)
        names = list(self._ways)
        measured = torch.tensor([[_median_ms(self._ways[n], kb) for kb in SIZES_KB] for n in names])
        self._agree(measured)
        fastest = measured.argmin(dim=0).tolist()
        self.times_ms = {
            name: dict(zip(SIZES_KB, row, strict=True))
            for name, row in zip(names, measured.tolist(), strict=True)
        }
        self.choice: dict[int, str] = {
            1000 * kb: names[i] for kb, i in zip(SIZES_KB, fastest, strict=True)
        }

    def start(self, buffer: Tensor) -> Pending:
        """Begin to sum a buffer."""
        return self._ways[self.way_of(4 * len(buffer))].start(buffer)

    def way_of(self, num_bytes: int) -> str:
        """Name of the way that a buffer of so many bytes goes."""
        reached = [size for size in self.choice if size <= num_bytes]
        return self.choice[max(reached, default=min(self.choice))]

    def to_line(self) -> str:
        """What was chosen, in words."""
        parts = [f"from {size / 1e6:g} MB {name}" for size, name in self.choice.items()]
        return f"all-reduce: {', '.join(parts)}"

    def close(self) -> None:
        """Close all ways."""
        for way in self._ways.values():
            way.close()

    def _agree(self, measured: Tensor) -> None:
        """Let all ranks have the mean of all ranks' times, the same bits everywhere."""
        flat = measured.view(-1)
        next(iter(self._ways.values())).sum(flat)


def _median_ms(way: AllReduce, kilobytes: int) -> float:
    """Median time of a sum, milliseconds."""
    buffer = torch.zeros(1000 * kilobytes // 4)
    times = []
    for _ in range(NUM_TRIES):
        start = time.perf_counter()
        way.sum(buffer)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
