"""A tree over all ranks, from integers alone: who is above, below and under whom.

The tree comes from recursive contiguous subdivision, as in the Horovod of "Exascale Deep Learning
for Climate Analytics" (SC18; streichler/horovod 5602f52): the first rank of a range is its root,
the rest is cut into `radix` nearly equal ranges, each a tree of its own. So a subtree is a range of
consecutive ranks (ranks of one node stay close to one another), its root is its lowest rank, and
each question costs O(depth), also at 27,360 ranks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The tree over ranks 0 to num_ranks - 1, with rank 0 at its root.

    Attributes:
        num_ranks: All ranks.
        radix: Most children of a rank; 0 (or anything from num_ranks - 1 on) is the flat tree, in
            which rank 0 is the parent of all others.
    """

    num_ranks: int
    radix: int

    def __post_init__(self) -> None:
        if self.num_ranks < 1:
            raise ValueError(f"num_ranks must be at least 1, got {self.num_ranks}")
        if self.radix < 0:
            raise ValueError(f"radix must be 0 (flat) or at least 1, got {self.radix}")

    @property
    def depth(self) -> int:
        """Levels from the root to the lowest leaf, both counted: 1 for a lone rank."""
        return self._height_of(self.num_ranks)

    def subtree(self, rank: int) -> range:
        """The ranks under a rank, itself first."""
        return self._find(rank)[1]

    def parent(self, rank: int) -> int | None:
        """The rank above, None for the root."""
        return self._find(rank)[0]

    def children(self, rank: int) -> tuple[int, ...]:
        """The ranks directly below, in ascending order."""
        below = self.subtree(rank)
        num_parts = self._num_parts(len(below))
        return tuple(self._part(below, part).start for part in range(num_parts))

    def level(self, rank: int) -> int:
        """Steps down from the root to a rank."""
        return self._find(rank)[2]

    def height(self, rank: int) -> int:
        """Levels of the subtree under a rank: 1 for a leaf."""
        return self._height_of(len(self.subtree(rank)))

    def _find(self, rank: int) -> tuple[int | None, range, int]:
        """Parent, subtree and level of a rank, going down from the root."""
        if not 0 <= rank < self.num_ranks:
            raise ValueError(f"rank must be from 0 to {self.num_ranks - 1}, got {rank}")
        parent, below, level = None, range(self.num_ranks), 0
        while below.start != rank:
            parent = below.start
            below = self._part(below, self._part_of(below, rank))
            level += 1
        return parent, below, level

    def _num_parts(self, size: int) -> int:
        """Children of the root of a range of so many ranks."""
        return size - 1 if self.radix == 0 else min(self.radix, size - 1)

    def _part(self, below: range, part: int) -> range:
        """One of the ranges under the root of a range; the first ones take the remainder."""
        size, extra = divmod(len(below) - 1, self._num_parts(len(below)))
        first = below.start + 1 + part * size + min(part, extra)
        return range(first, first + size + (part < extra))

    def _part_of(self, below: range, rank: int) -> int:
        """Which of the ranges under the root of a range holds a rank."""
        size, extra = divmod(len(below) - 1, self._num_parts(len(below)))
        offset = rank - below.start - 1
        in_longer = extra * (size + 1)
        return offset // (size + 1) if offset < in_longer else extra + (offset - in_longer) // size

    def _height_of(self, size: int) -> int:
        """Levels of a tree of so many ranks: the first range under its root is the largest."""
        height = 1
        while size > 1:
            size = -(-(size - 1) // self._num_parts(size))
            height += 1
        return height
