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

from exastorm.parallel.allreduce.device import DeviceAllReduce, DeviceKind
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings, Pending
from exastorm.parallel.allreduce.flat import FlatAllReduce
from exastorm.parallel.allreduce.hierarchical import HierarchicalAllReduce
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.streams import SideStream, synchronize
from exastorm.parallel.world import World

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
    """
    if cluster.world.num_ranks == 1:
        return AloneAllReduce()
    if cluster.device.type != "cpu":
        return make_device_allreduce(cluster, settings)
    leaders = {"hierarchical": num_leaders(cluster.world, settings), "leader": 1}

    def make(kind: str) -> AllReduce:
        if kind == "flat":
            return FlatAllReduce(cluster, settings.wire)
        return HierarchicalAllReduce(cluster, f"{name}-{kind}", leaders[kind], settings, timeout_s)

    if settings.kind != "auto":
        return make(settings.kind)
    ways = {kind: make(kind) for kind in ("flat", "hierarchical", "leader")}
    return ChosenAllReduce(ways, cluster.device)


def make_device_allreduce(cluster: Cluster, settings: AllReduceSettings) -> AllReduce:
    """The same between GPUs; all ranks make it at the same time.

    Raises:
        ExchangeError: If ranks can't reach one another.
    """
    world, side = cluster.world, SideStream(cluster.device)

    def make(kind: DeviceKind) -> AllReduce:
        leaders = num_leaders(world, settings)
        return DeviceAllReduce(cluster, kind, leaders, settings.wire, side)

    if settings.kind != "auto":
        return make(settings.kind)
    ways = {"flat": make("flat")}
    # With one node, or one rank a node, there is but one level.
    if 1 < world.num_nodes < world.num_ranks:
        ways["hierarchical"] = make("hierarchical")
    return ChosenAllReduce(ways, cluster.device)


def num_leaders(world: World, settings: AllReduceSettings) -> int:
    """Shares that cross between nodes side by side: at most the ranks of the largest node."""
    most = max(Counter(world.placement).values())
    return min(settings.leaders_per_node or most, most)


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

    def __init__(self, ways: Mapping[str, AllReduce], device: torch.device) -> None:
        """Try all ways; all ranks do so at the same time.

        Args:
            ways: By name, in the same order on all ranks.
            device: Where buffers are.
        """
        self._ways = dict(ways)
        names = list(self._ways)
        times = [[_median_ms(self._ways[n], kb, device) for kb in SIZES_KB] for n in names]
        measured = torch.tensor(times, device=device)
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


def _median_ms(way: AllReduce, kilobytes: int, device: torch.device) -> float:
    """Median time of a sum, milliseconds."""
    buffer = torch.zeros(1000 * kilobytes // 4, device=device)
    times = []
    for _ in range(NUM_TRIES):
        synchronize(device)
        start = time.perf_counter()
        way.sum(buffer)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
