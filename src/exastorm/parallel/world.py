"""Where this process sits among all that train together, in one frozen object.

Each process is a rank; ranks that share a machine form a node, and any rank may sit on any node:
launchers fill nodes one after the other or deal ranks out in turn, and nodes may differ in size.
A run in one process is a world of one rank, so that no caller asks whether it is alone.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, kw_only=True)
class World:
    """The place of this process.

    Attributes:
        rank: This process, from 0.
        placement: The node of each rank; nodes are numbered as they first appear, from 0.
    """

    rank: int
    placement: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.placement:
            raise ValueError("placement must hold at least one rank, got none")
        num_nodes = 0
        for rank, node in enumerate(self.placement):
            if not 0 <= node <= num_nodes:
                raise ValueError(
                    "placement must number nodes as they first appear "
                    f"(rank {rank} from 0 to {num_nodes}), got node {node}"
                )
            num_nodes = max(num_nodes, node + 1)
        if not 0 <= self.rank < self.num_ranks:
            raise ValueError(f"rank must be from 0 to {self.num_ranks - 1}, got {self.rank}")

    @classmethod
    def single(cls) -> "World":
        """The world of one process."""
        return cls(rank=0, placement=(0,))

    @property
    def num_ranks(self) -> int:
        """All processes."""
        return len(self.placement)

    @property
    def node(self) -> int:
        """The node of this rank."""
        return self.placement[self.rank]

    @cached_property
    def num_nodes(self) -> int:
        """All nodes."""
        return max(self.placement) + 1

    @cached_property
    def _peers(self) -> tuple[int, ...]:
        """The ranks of this node."""
        return self.ranks_of(self.node)

    @cached_property
    def rank_of_node(self) -> int:
        """This process among those of its node, from 0."""
        return self._peers.index(self.rank)

    @property
    def ranks_per_node(self) -> int:
        """Processes on this rank's own node."""
        return len(self._peers)

    @property
    def is_first(self) -> bool:
        """True on the one rank that writes what all share."""
        return self.rank == 0

    @property
    def is_leader(self) -> bool:
        """True on the first rank of each node."""
        return self.rank_of_node == 0

    @cached_property
    def is_even(self) -> bool:
        """True if all nodes hold equally many ranks."""
        return len(set(Counter(self.placement).values())) == 1

    def ranks_of(self, node: int) -> tuple[int, ...]:
        """The ranks of a node, in rising order; one pass over the placement.

        Raises:
            ValueError: If there is no such node.
        """
        if not 0 <= node < self.num_nodes:
            raise ValueError(f"node must be from 0 to {self.num_nodes - 1}, got {node}")
        return tuple(rank for rank, where in enumerate(self.placement) if where == node)
