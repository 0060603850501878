"""All-reduce between GPUs: queued on a stream beside the one that computes, without threads.

The sum of a buffer begins once the current stream has filled it, and who waits for it lets only
its own current stream wait: the host never does. So the step goes on while NCCL sums; with lag 1
the sum of one step runs beside the whole next step.

In two levels (Kurth et al. 2018, section V-A3) each rank of a node gets a share of the buffer
summed over the node (reduce-scatter), sums it with its like on the other nodes, and gives it to the
node (all-gather). A buffer is seldom a multiple of the ranks of a node: the few numbers behind the
last whole share go with the share of the node's last rank. On uneven nodes, or with fewer leaders,
share j is reduced to the rank that leads it, which may lead several, and broadcast by it.

NCCL can deadlock where ranks run collectives of several groups in different orders (NCCL user
guide, "Using multiple NCCL communicators concurrently"). Here every rank queues those of one buffer
after another, from the node to its shares in rising order and back, each behind the one before on
one stream. So of all that are not done the first one in this order has all its ranks.

On a CPU the same runs in order, with gloo.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from exastorm.parallel.allreduce.family import AllReduce, Pending, Wire
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.allreduce.wire import CrossSum, all_gather
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.streams import Mark, SideStream, synchronize

DeviceKind = Literal["flat", "hierarchical", "leader"]

_torch: Any = dist  # whose names differ between versions

reduce_scatter: Any = getattr(_torch, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
"""torch 2.13 gave it its new name, and warns of the old one."""


class DevicePending(Pending):
    """A sum that is queued on a device."""

    def __init__(self, failure: Failure, there: Mark | None) -> None:
        """Take the mark behind the sum; None if it could not be queued."""
        super().__init__(failure, num_parts=0)
        self._there = there

    def is_done(self) -> bool:
        """Whether the sum is in the buffer."""
        return self._there is None or self._there.is_reached()

    def wait(self) -> None:
        """Let the current stream wait until the sum is in the buffer; the host goes on.

        Raises:
            ExchangeError: If the sum could not be queued.
        """
        super().wait()
        if self._there is not None:
            self._there.wait()


class DeviceAllReduce(AllReduce):
    """Sums over all ranks at once, or in two levels, on a stream of its own."""

    def __init__(
        self,
        cluster: Cluster,
        kind: DeviceKind,
        num_leaders: int,
        wire: Wire,
        side: SideStream | None = None,
    ) -> None:
        """Make groups and connect them; all ranks do so at the same time.

        Args:
            cluster: All ranks.
            kind: flat, or in two levels.
            num_leaders: Shares that cross between nodes side by side, of hierarchical.
            wire: Numbers between nodes.
            side: Where to queue sums; ways that are used side by side share one.

        Raises:
            ExchangeError: If ranks can't reach one another.
        """
        self._device = cluster.device
        self._side = side or SideStream(cluster.device)
        self._failure = Failure()
        num_ranks = cluster.world.num_ranks
        self._sum: Callable[[Tensor], None]
        if kind == "flat":
            group = cluster.make_group(range(num_ranks))
            cross = CrossSum(group, num_ranks, wire, may_be_direct=False)
            self._sum = lambda buffer: _finish([cross.start(buffer)])
        else:
            self._sum = _TwoLevels(cluster, 1 if kind == "leader" else num_leaders, wire).sum
        # NCCL connects a group in its first collective: here, and not in the first step.
        self.sum(torch.zeros(num_ranks, device=self._device))

    def start(self, buffer: Tensor) -> Pending:
        """Queue the sum of a buffer behind all that the current stream holds by now."""
        there = None
        if self._failure.error is None:
            try:
                with self._side.after(Mark(self._device)):
                    self._side.uses(buffer)
                    self._sum(buffer)
                    there = Mark(self._device)
            except RuntimeError as error:
                self._failure.set(error)
        return DevicePending(self._failure, there)

    def close(self) -> None:
        """Finish what is under way."""
        if self._failure.error is None:
            synchronize(self._device)


class _TwoLevels:
    """Queues sums inside nodes, across them and back on the current stream."""

    def __init__(self, cluster: Cluster, num_leaders: int, wire: Wire) -> None:
        world = cluster.world
        nodes: dict[int, list[int]] = {}
        for rank, node in enumerate(world.placement):
            nodes.setdefault(node, []).append(rank)
        self._mates, self._index = nodes[world.node], world.rank_of_node
        self._num_leaders = num_leaders
        self._all_lead = world.is_even and num_leaders == len(self._mates)
        self._group: Any = cluster.make_group(self._mates)
        self._cross: dict[int, CrossSum] = {}
        for j in range(num_leaders):
            group = cluster.make_group([mates[j % len(mates)] for mates in nodes.values()])
            if self._index == j % len(self._mates):
                self._cross[j] = CrossSum(group, world.num_nodes, wire, may_be_direct=False)

    def sum(self, buffer: Tensor) -> None:
        """Sum a buffer over all ranks."""
        if self._all_lead:
            self._sum_scattered(buffer)
        else:
            self._sum_led(buffer)

    def _sum_scattered(self, buffer: Tensor) -> None:
        """Each rank of a node leads a share, all of the same size but the last."""
        size, last = len(buffer) // len(self._mates), self._mates[-1]
        whole, rest = buffer.split([size * len(self._mates), len(buffer) % len(self._mates)])
        start = size * self._index
        own = whole[start : start + size]
        if self._group is not None:
            works = []
            if size:
                # In place: the output is where this rank's share lies in the input (NCCL user
                # guide, "In-place Operations").
                works.append(reduce_scatter(own, whole, group=self._group, async_op=True))
            if len(rest):
                works.append(dist.reduce(rest, dst=last, group=self._group, async_op=True))
            _finish(work.wait for work in works)
        is_last = self._mates[self._index] == last
        self._sum_across({self._index: buffer[start:] if is_last else own})
        if self._group is not None:
            works = []
            if size:
                works.append(all_gather(whole, own, group=self._group, async_op=True))
            if len(rest):
                works.append(dist.broadcast(rest, src=last, group=self._group, async_op=True))
            _finish(work.wait for work in works)

    def _sum_led(self, buffer: Tensor) -> None:
        """Some ranks of a node lead one share or more."""
        bounds = [len(buffer) * j // self._num_leaders for j in range(self._num_leaders + 1)]
        shares = {
            j: buffer[bounds[j] : bounds[j + 1]]
            for j in range(self._num_leaders)
            if bounds[j] < bounds[j + 1]
        }
        leader = {j: self._mates[j % len(self._mates)] for j in shares}
        if self._group is not None:
            works: list[Any] = [
                dist.reduce(share, dst=leader[j], group=self._group, async_op=True)
                for j, share in shares.items()
            ]
            _finish(work.wait for work in works)
        self._sum_across({j: share for j, share in shares.items() if j in self._cross})
        if self._group is not None:
            works = [
                dist.broadcast(share, src=leader[j], group=self._group, async_op=True)
                for j, share in shares.items()
            ]
            _finish(work.wait for work in works)

    def _sum_across(self, shares: dict[int, Tensor]) -> None:
        """Sum shares that this rank leads over nodes, one behind the other."""
        for j, share in shares.items():
            _finish([self._cross[j].start(share)])


def _finish(waits: Iterable[Callable[[], Any]]) -> None:
    """Let the current stream wait for collectives, in order; on a CPU wait for them."""
    for wait in waits:
        wait()
