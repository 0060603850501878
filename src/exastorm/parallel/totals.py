"""Small sums over all ranks, beside the gradients: of loss weights and scores; and a few words."""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging
from exastorm.parallel.streams import WaitClock


class Totals:
    """Sums over all ranks, on connections of their own.

    Attributes:
        waiting: Makes a context around waits for other ranks, as `ControlPlane.waiting`.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Connect; all ranks do so at the same time."""
        everyone = range(cluster.world.num_ranks)
        # One is used while a step runs, the other between steps: their calls never mix.
        self._cluster = cluster
        self._clock = WaitClock(cluster.device)
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        self._name = cluster.unique("totals")
        self._num_gathered = self._num_heard = 0
        self._ahead: Any = cluster.make_group(everyone)
        self._between: Any = cluster.make_group(everyone)

    @property
    def waited_s(self) -> float:
        """Seconds that this rank, or its GPU, has waited for others so far."""
        return self._clock.seconds

    def start(self, value: Tensor) -> Callable[[], Tensor]:
        """Begin to sum a tensor; what is returned waits for the sum and gives it."""
        if self._ahead is None:
            return lambda: value
        total = value.clone()
        works: list[Any] = [dist.all_reduce(total, group=self._ahead, async_op=True)]
        lock = threading.Lock()

        def finish() -> Tensor:
            # Parts of a batch that are learned side by side ask together: they wait once.
            with lock:
                while works:
                    self._wait(works[-1].wait)
                    works.pop()
            return total

        return finish

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors in place, wherever they are."""
        if self._between is not None:
            for tensor in tensors:
                # A rank that has counted nothing may have its zeros on the CPU.
                total = tensor.to(self._cluster.device)
                self._wait(partial(dist.all_reduce, total, group=self._between))
                if total is not tensor:
                    tensor.copy_(total)

    def gather(self, texts: list[str]) -> list[str]:
        """The texts of all ranks, rank by rank."""
        world, store = self._cluster.world, self._cluster.store
        self._num_gathered += 1
        place = f"{self._name}/texts/{self._num_gathered}"
        keys = [f"{place}/{rank}" for rank in range(world.num_ranks)]
        store.set(keys[world.rank], json.dumps(texts))
        return [text for part in store.multi_get(keys) for text in json.loads(part)]

    def leave(self, text: str) -> None:
        """Leave a text for rank 0; nobody waits for anybody."""
        store = self._cluster.store
        place = f"{self._name}/left"
        store.set(f"{place}/{store.add(place, 1)}", text)

    def left(self) -> list[str]:
        """What ranks have left since this was asked last, in order; rank 0 alone may ask."""
        store, place, texts = self._cluster.store, f"{self._name}/left", []
        # A rank that has just drawn a number may be about to write, or be gone.
        while store.check([key := f"{place}/{self._num_heard + 1}"]):
            texts.append(store.get(key).decode())
            self._num_heard += 1
        return texts

    def share_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give all ranks what rank 0 has."""
        if self._between is not None:
            for tensor in tensors:
                with exchanging():
                    dist.broadcast(tensor.detach(), src=0, group=self._between)

    def _wait(self, wait: Callable[[], Any]) -> None:
        """Wait for a sum, and count how long.

        Raises:
            ExchangeError: If it fails.
        """
        with self.waiting(), exchanging(), self._clock.counting():
            wait()
