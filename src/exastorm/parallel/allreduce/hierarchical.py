"""All-reduce in two levels: inside each node through memory, across nodes by several ranks at once.

A buffer goes in chunks through three stages. Into the node: each rank puts its chunk where the
others of the node see it. Across: leader j of each node sums share j of the chunk over its node,
and with the leaders j of the other nodes over all of them. Out: each rank takes the sum. So a
node sends and receives 2 M (N - 1) / N bytes of a buffer of M bytes over N nodes, the least there
is, however its ranks are numbered; a ring through P ranks needs 2 M (P - 1) / P at best, and twice
that where neighbors of the ring are never on one node (Kurth et al. 2018, section V-A3, there with
NCCL inside the node and MPI across).

A node with fewer ranks than leaders has some that lead several shares, so that nodes may be uneven.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings, Pending, Wire
from exastorm.parallel.allreduce.node_meeting import NodeMeeting
from exastorm.parallel.allreduce.node_memory import FLOAT_BYTES, NodeMemory
from exastorm.parallel.allreduce.node_signals import NodeSignals
from exastorm.parallel.allreduce.stages import Stages
from exastorm.parallel.allreduce.wire import CrossSum
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import ExchangeError

KINDS = ("filled", "summed", "taken")
"""What ranks of a node tell each other: my part of a chunk is there, its sum is, I have it."""

NUM_SLOTS = 4
"""Chunks under way: one in each stage, and one to spare where a stage takes its time."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a buffer on its way."""

    number: int
    data: Tensor
    pending: Pending


class HierarchicalAllReduce(AllReduce):
    """Sums inside nodes, across them and back, in chunks."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        num_leaders: int,
        settings: AllReduceSettings,
        timeout_s: float,
    ) -> None:
        """Make groups, memory and threads; all ranks do so at the same time.

        Args:
            cluster: All ranks.
            name: What tells this from others of the same run.
            num_leaders: Shares of a chunk that cross between nodes side by side.
            settings: Size of a chunk, and numbers between nodes.
            timeout_s: Longest wait for another rank of the node.

        Raises:
            UnsharedError: If the ranks of a node share no memory; on all ranks.
            ExchangeError: If a rank is gone or silent.
        """
        world = cluster.world
        mates = world.ranks_of(world.node)
        self._num_mates, self._index = len(mates), world.rank_of_node
        self._num_leaders = num_leaders
        self._leaders = sorted({j % self._num_mates for j in range(num_leaders)})
        meeting = NodeMeeting(cluster.store, world, cluster.unique(name), timeout_s)
        problem: ExchangeError | None = None
        try:
            self._memory = NodeMemory(
                meeting.name,
                self._num_mates,
                self._index,
                meeting.meet,
                chunk_size=max(1, int(settings.chunk_mb * 1e6 / FLOAT_BYTES)),
                num_slots=NUM_SLOTS,
            )
            self._signals = NodeSignals(meeting.name, mates, self._index, KINDS, timeout_s)
        except ExchangeError as error:
            problem = error
        # Before groups are made, for which ranks of other nodes would wait in vain.
        meeting.agree(problem)
        self._cross = self._cross_sums(cluster, settings.wire)
        self._number = 0
        self._stages: Stages[Chunk] = Stages(
            (self._enter, self._lead, self._leave),
            done=lambda chunk: chunk.pending.finish_part(),
            # Threads of an operation would only wait for each other.
            prepare=lambda: torch.set_num_threads(1),
        )

    def start(self, buffer: Tensor) -> Pending:
        """Begin to sum a buffer."""
        pieces = buffer.split(self._memory.chunk_size) if len(buffer) else ()
        pending = Pending(self._stages.failure, len(pieces))
        for piece in pieces:
            self._stages.put(Chunk(self._number, piece, pending))
            self._number += 1
        return pending

    def close(self) -> None:
        """Finish what is under way; close streams once no rank of the node speaks any more.

        Raises:
            ExchangeError: If one of them is gone before it has the last sum.
        """
        self._stages.close()
        try:
            if self._stages.failure.error is None:
                # The last that a rank says is that it has a sum; it finds no one gone meanwhile.
                self._signals.wait("taken", range(self._num_mates), self._number - 1)
        finally:
            self._signals.close()

    def _cross_sums(self, cluster: Cluster, wire: Wire) -> dict[int, CrossSum]:
        """For each share that this rank leads, the sum over its leaders on all nodes."""
        world = cluster.world
        nodes = [world.ranks_of(node) for node in range(world.num_nodes)]
        sums = {}
        for j in range(self._num_leaders):
            group = cluster.make_group([mates[j % len(mates)] for mates in nodes])
            if self._index == j % self._num_mates:
                sums[j] = CrossSum(group, world.num_nodes, wire)
        return sums

    def _enter(self, chunk: Chunk) -> None:
        """Put the own part of a chunk into the node's memory."""
        # The slot is free once all have taken the sum that was in it before.
        self._signals.wait("taken", range(self._num_mates), chunk.number - NUM_SLOTS)
        self._memory.slot_of(chunk.number, self._index)[: len(chunk.data)] = chunk.data
        self._signals.send("filled", self._leaders, chunk.number)

    def _lead(self, chunk: Chunk) -> None:
        """Sum the shares that this rank leads, over the node and then over all nodes."""
        if not self._cross:
            return
        self._signals.wait("filled", range(self._num_mates), chunk.number)
        size = len(chunk.data)
        parts, total = self._memory.parts_of(chunk.number), self._memory.sum_of(chunk.number)
        started = []
        for j, cross in self._cross.items():
            share = slice(size * j // self._num_leaders, size * (j + 1) // self._num_leaders)
            torch.sum(parts[:, share], dim=0, out=total[share])
            started.append(cross.start(total[share]))
        for work in started:
            work()
        self._signals.send("summed", range(self._num_mates), chunk.number)

    def _leave(self, chunk: Chunk) -> None:
        """Take the sum of a chunk out of the node's memory."""
        self._signals.wait("summed", self._leaders, chunk.number)
        chunk.data.copy_(self._memory.sum_of(chunk.number)[: len(chunk.data)])
        self._signals.send("taken", range(self._num_mates), chunk.number)
