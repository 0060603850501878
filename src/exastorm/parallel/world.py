"""Where this process sits among all that train together, in one frozen object.

Ranks are numbered node by node: `rank = node * ranks_per_node + rank_of_node`. A run in one process
is a world of one rank, so that no caller asks whether it is alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class World:
    """The place of this process.

    Attributes:
        rank: This process, from 0.
        num_ranks: All processes.
        node: This machine, from 0.
        num_nodes: All machines.
        rank_of_node: This process among those of its machine, from 0.
        ranks_per_node: Processes on each machine.
    """

    rank: int
    num_ranks: int
    node: int
    num_nodes: int
    rank_of_node: int
    ranks_per_node: int

    def __post_init__(self) -> None:
        if self.num_nodes < 1 or self.ranks_per_node < 1:
            raise ValueError(
                "num_nodes and ranks_per_node must be at least 1, "
                f"got {self.num_nodes} and {self.ranks_per_node}"
            )
        if self.num_ranks != self.num_nodes * self.ranks_per_node:
            raise ValueError(
                "num_ranks must be num_nodes x ranks_per_node "
                f"({self.num_nodes} x {self.ranks_per_node}), got {self.num_ranks}"
            )
        for name, value, count in (
            ("node", self.node, self.num_nodes),
            ("rank_of_node", self.rank_of_node, self.ranks_per_node),
        ):
            if not 0 <= value < count:
                raise ValueError(f"{name} must be from 0 to {count - 1}, got {value}")
        expected = self.node * self.ranks_per_node + self.rank_of_node
        if self.rank != expected:
            raise ValueError(
                "rank must be node x ranks_per_node + rank_of_node "
                f"({self.node} x {self.ranks_per_node} + {self.rank_of_node} = {expected}), "
                f"got {self.rank}"
            )

    @classmethod
    def single(cls) -> "World":
        """The world of one process."""
        return cls(rank=0, num_ranks=1, node=0, num_nodes=1, rank_of_node=0, ranks_per_node=1)

    @property
    def is_first(self) -> bool:
        """True on the one rank that writes what all share."""
        return self.rank == 0
