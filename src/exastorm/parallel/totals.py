"""Small sums over all ranks, beside the gradients: of loss weights, scores and checks."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging


class Totals:
    """Sums over all ranks, on connections of their own."""

    def __init__(self, cluster: Cluster) -> None:
        """Connect; all ranks do so at the same time."""
        everyone = range(cluster.world.num_ranks)
        # One is used while a step runs, the other between steps: their calls never mix.
        self._cluster = cluster
        self._num_gathered = 0
        self._ahead: Any = cluster.make_group(everyone)
        self._between: Any = cluster.make_group(everyone)

    def start(self, value: Tensor) -> Callable[[], Tensor]:
        """Begin to sum a tensor; what is returned waits for the sum and gives it."""
        if self._ahead is None:
            return lambda: value
        total = value.clone()
        work: Any = dist.all_reduce(total, group=self._ahead, async_op=True)

        def finish() -> Tensor:
            with exchanging():
                work.wait()
            return total

        return finish

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors in place."""
        if self._between is not None:
            for tensor in tensors:
                with exchanging():
                    dist.all_reduce(tensor, group=self._between)

    def gather(self, texts: list[str]) -> list[str]:
        """The texts of all ranks, rank by rank."""
        world, store = self._cluster.world, self._cluster.store
        self._num_gathered += 1
        keys = [f"texts/{self._num_gathered}/{rank}" for rank in range(world.num_ranks)]
        store.set(keys[world.rank], json.dumps(texts))
        return [text for part in store.multi_get(keys) for text in json.loads(part)]

    def share_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give all ranks what rank 0 has."""
        if self._between is not None:
            for tensor in tensors:
                with exchanging():
                    dist.broadcast(tensor.detach(), src=0, group=self._between)
