"""Which way to sum buffers of which size, found by a short measurement at the start of a run.

Small buffers wait for messages, large ones for the wire, and which way is faster where depends on
nodes, ranks, placement and network. So each way is tried on a few sizes, all ranks agree on their
mean times, and from then on a buffer goes the way that was fastest for the largest size tried that
is not larger than it.

Each way adds in an order of its own, so from three ranks on it rounds otherwise. A run that goes on
from a checkpoint therefore keeps to the choice that it holds.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from exastorm.parallel.allreduce.device import DeviceAllReduce, DeviceKind
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings, Pending
from exastorm.parallel.allreduce.flat import FlatAllReduce
from exastorm.parallel.allreduce.hierarchical import HierarchicalAllReduce
from exastorm.parallel.allreduce.node_meeting import UnsharedError
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
        ExchangeError: If ranks can't reach one another, or kind is hierarchical or leader and the
            ranks of a node share no memory.
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
    ways, note = {"flat": make("flat")}, ""
    try:
        ways |= {kind: make(kind) for kind in leaders}
    except UnsharedError as error:
        # The same on all ranks.
        note = f"; in two levels not at all: {error}"
    return ChosenAllReduce(ways, cluster, settings, note)


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
    return ChosenAllReduce(ways, cluster, settings)


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
        choice: Name of the way by smallest buffer (bytes) that goes it; empty before `choose`.
    """

    def __init__(
        self,
        ways: Mapping[str, AllReduce],
        cluster: Cluster,
        settings: AllReduceSettings,
        note: str = "",
    ) -> None:
        """Take the ways, of which none is tried yet.

        Args:
            ways: By name, in the same order on all ranks.
            cluster: All ranks.
            settings: By which the ways were made.
            note: Ends the line about the choice.
        """
        self._ways, self._note = dict(ways), note
        self._device = cluster.device
        self._made_for = {
            "placement": list(cluster.world.placement),
            "device": cluster.device.type,
            "settings": asdict(settings),
        }
        self._is_recalled = False
        self.choice: dict[int, str] = {}

    def choose(self) -> None:
        """Try all ways, unless the choice is made; all ranks do so at the same time.

        Raises:
            ExchangeError: If a rank is gone or silent.
        """
        if self.choice:
            return
        names = list(self._ways)
        times = [[median_ms(self._ways[n], kb, self._device) for kb in SIZES_KB] for n in names]
        measured = torch.tensor(times, device=self._device)
        # All ranks have the sum of all ranks' times, the same bits everywhere.
        self._ways[names[0]].sum(measured.view(-1))
        fastest = measured.argmin(dim=0).tolist()
        self.choice = {1000 * kb: names[i] for kb, i in zip(SIZES_KB, fastest, strict=True)}

    def start(self, buffer: Tensor) -> Pending:
        """Begin to sum a buffer; before the first one the choice is made."""
        self.choose()
        return self._ways[self.way_of(4 * len(buffer))].start(buffer)

    def way_of(self, num_bytes: int) -> str:
        """Name of the way that a buffer of so many bytes goes."""
        reached = [size for size in self.choice if size <= num_bytes]
        return self.choice[max(reached, default=min(self.choice))]

    def to_line(self) -> str:
        """What was chosen, in words."""
        parts = [f"from {size / 1e6:g} MB {name}" for size, name in self.choice.items()]
        since = ", as before the restart" if self._is_recalled else ""
        return f"all-reduce: {', '.join(parts)}{since}{self._note}"

    def state_dict(self) -> dict[str, Any]:
        """What was chosen, and for which ranks and settings; the same on all ranks."""
        return {**self._made_for, "choice": dict(self.choice)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep to an earlier choice; all ranks load the same one.

        One that was made for another placement, other devices or settings, or among other ways and
        sizes, says nothing about these: then all stays as it is.
        """
        choice: dict[int, str] = state["choice"]
        is_alike = all(state.get(name) == value for name, value in self._made_for.items())
        is_known = set(choice.values()) <= self._ways.keys()
        if is_alike and is_known and choice.keys() == {1000 * kb for kb in SIZES_KB}:
            self.choice, self._is_recalled = dict(choice), True

    def close(self) -> None:
        """Close all ways."""
        for way in self._ways.values():
            way.close()


def median_ms(way: AllReduce, kilobytes: int, device: torch.device) -> float:
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
