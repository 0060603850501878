"""Which rank reads which sample where each node holds samples of its own: also a pure function.

Staging deals the samples out to the nodes, each sample to one node (a partition) or to several (a
random subset for each node). An epoch of a node is a shuffle of its own list, cut into batches of
the node in order, of which each of its ranks takes its own run: so the samples of a node change
hands among its ranks from epoch to epoch, and nothing crosses the network. A rank sorts the list of
its own node alone, which at full size is a few samples in place of all of them.

All ranks do equally many steps, as training in lockstep needs. Where lists are uneven, the node
whose list is the shortest for its ranks decides how many (tail "drop"): the others leave out the
rest of their shuffle, and as each epoch shuffles anew, no sample is left out for good. With "keep"
the longest list decides, each sample of a list is read once, and ranks that have none left get
empty batches, as scoring needs.

Where a run stands is told in samples of all ranks together, as for shared samples. Each node has
done its ranks' part of them, so a run goes on exactly, with none read twice and none missed, with
any number of ranks that are spread over the same nodes in the same proportion (always so if nodes
have equally many ranks each). Another number of nodes, or another deal of the samples, is another
order: `order_id` tells, and `resume_at` goes on with the next epoch. Of the epoch that is broken
off no sample is read twice, those not yet read are left out once, and all that come after are
whole.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from exastorm.samples.sampler import IntArray, SamplePosition, Tail, deal, sample_order

NODE_STREAM = 4
"""Counter word of the nodes' shuffles; other random numbers of samples have 0 to 3 there."""


@dataclass(frozen=True, kw_only=True)
class LocalPlan:
    """The integers that decide who reads what of the lists that nodes hold.

    Attributes:
        node_sizes: Samples in the list of each node (N,).
        batch_size: Samples per rank and step.
        placement: Node of each rank (R,), from 0, as in `World`.
        seed: Of the shuffles.
        shuffle: False reads each list in order, as scoring does.
        tail: What becomes of samples that do not fill the last batch of the shortest list.
        shares_id: What tells these lists from others of the same sizes, such as the fingerprint of
            the staging; it matters for resuming alone.
    """

    node_sizes: tuple[int, ...]
    batch_size: int
    placement: tuple[int, ...]
    seed: int = 0
    shuffle: bool = True
    tail: Tail = "drop"
    shares_id: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.tail not in ("drop", "keep"):
            raise ValueError(f"tail must be drop or keep, got {self.tail!r}")
        if not self.node_sizes or min(self.node_sizes) < 0:
            raise ValueError(f"node_sizes must be at least one, none negative, got {self._briefly}")
        if sorted(set(self.placement)) != list(range(len(self.node_sizes))):
            raise ValueError(
                f"placement must have ranks on each of the {len(self.node_sizes)} nodes of"
                f" node_sizes and on no other, got {len(set(self.placement))} nodes"
            )
        if self.num_steps == 0:
            node = int(np.argmin(self._sizes // self._ranks))
            raise ValueError(
                f"batch_size x ranks of node {node} must be at most its {self.node_sizes[node]}"
                f" samples, got {self.batch_size} x {self._ranks[node]}"
            )

    @property
    def num_samples(self) -> int:
        """Samples in the lists of all nodes; of a sample that several hold, each copy counts."""
        return sum(self.node_sizes)

    @property
    def global_batch(self) -> int:
        """Samples of all ranks in a full step."""
        return self.batch_size * len(self.placement)

    @cached_property
    def num_steps(self) -> int:
        """Steps in an epoch, as many on each rank."""
        return self.steps_left(0)

    @cached_property
    def order_id(self) -> str:
        """Of the lists, the seed, and the proportion of ranks on each node: 64 digits."""
        proportion = self._ranks // np.gcd.reduce(self._ranks)
        digest = hashlib.sha256(f"{self.shares_id}\n{self.seed} {self.shuffle}\n".encode())
        digest.update(self._sizes.astype("<i8").tobytes())
        digest.update(proportion.astype("<i8").tobytes())
        return digest.hexdigest()

    def num_held(self, rank: int) -> int:
        """Samples in the list of a rank's node."""
        return self.node_sizes[self.placement[rank]]

    def steps_left(self, samples_done: int) -> int:
        """Steps from a place in an epoch to its end, as many on each rank.

        Args:
            samples_done: Samples of the epoch done by all ranks, as `SamplePosition` has them. In
                a kept tail those that short lists lack are counted too.

        Raises:
            ValueError: If a list of a dropped tail has fewer, or the samples are no multiple of
                what all nodes do in turn, as after another order.
        """
        done = self._done_of(samples_done)
        if self.tail == "drop":
            if np.any(done > self._sizes):
                raise ValueError(
                    f"samples_done must be at most what the shortest list holds, got {samples_done}"
                )
            return int(np.min((self._sizes - done) // (self.batch_size * self._ranks)))
        left = np.maximum(self._sizes - done, 0)
        return int(np.max(-(-left // (self.batch_size * self._ranks))))

    def batches_of(self, rank: int, start: SamplePosition) -> list[IntArray]:
        """What a rank reads in each step from a place in an epoch to its end.

        Returns:
            Places in the list of the rank's node: a batch (batch_size,) for each step, in a kept
            tail fewer or none.
        """
        node = self.placement[rank]
        peers = np.flatnonzero(np.array(self.placement) == node)
        num_steps = self.steps_left(start.samples_done)
        order = self._order_of(node, start.epoch)[self._done_of(start.samples_done)[node] :]
        rank_of_node = int(np.searchsorted(peers, rank))
        return deal(order, num_steps, self.batch_size, len(peers), rank_of_node)

    @cached_property
    def _sizes(self) -> IntArray:
        """Samples of each node (N,)."""
        return np.array(self.node_sizes, dtype=np.int64)

    @cached_property
    def _ranks(self) -> IntArray:
        """Ranks of each node (N,)."""
        return np.bincount(np.array(self.placement), minlength=len(self.node_sizes))

    @property
    def _briefly(self) -> str:
        """The sizes of the first nodes."""
        return f"{list(self.node_sizes[:4])}{'...' if len(self.node_sizes) > 4 else ''}"

    def _done_of(self, samples_done: int) -> IntArray:
        """Samples that each node has done (N,), of those that all ranks together have done."""
        parts, rests = np.divmod(samples_done * self._ranks, len(self.placement))
        if samples_done < 0 or rests.any():
            raise ValueError(
                "samples_done must be a number of samples, as many for each rank of a node, got"
                f" {samples_done} on {len(self.node_sizes)} nodes"
            )
        return np.asarray(parts)

    def _order_of(self, node: int, epoch: int) -> IntArray:
        """Order in which an epoch goes through the list of a node: places (size,)."""
        size = self.node_sizes[node]
        if not self.shuffle:
            return np.arange(size, dtype=np.int64)
        return sample_order(size, self.seed, epoch, stream=NODE_STREAM, item=node)
