"""The sum of a share over nodes, in the numbers that the wire carries.

In float32 it is one all-reduce, or for a small share a direct exchange (`direct.py`). In 16 bits
each node rounds its numbers once and sends each other node the piece that it will sum, in float32;
the sums are rounded once and sent back. A plain all-reduce of 16-bit numbers would round after
every hop, and bfloat16 holds 8 bits.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from exastorm.parallel.allreduce import direct
from exastorm.parallel.allreduce.family import Wire

_torch: Any = dist  # whose names differ between versions

all_gather: Any = getattr(_torch, "all_gather_single", None) or dist.all_gather_into_tensor
"""torch 2.13 gave it its new name, and warns of the old one."""

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class CrossSum:
    """Sums a share over the ranks of a group."""

    def __init__(
        self, group: Any, num_ranks: int, wire: Wire, *, may_be_direct: bool = True
    ) -> None:
        """Take a process group that nobody else uses.

        Args:
            group: Of `Cluster.make_group`; None if this rank is alone in it.
            num_ranks: Ranks in it.
            wire: Numbers on the wire.
            may_be_direct: Whether small shares may go from each rank to all others.
        """
        self._group, self._num_ranks, self._type = group, num_ranks, TYPES.get(wire)
        self._may_be_direct = may_be_direct

    def start(self, share: Tensor) -> Callable[[], Any]:
        """Begin to sum a share (n,), float32, in place; what is returned waits for it."""
        if self._num_ranks == 1 or len(share) == 0:
            return _nothing
        if self._type is None:
            if self._may_be_direct and direct.serves(share, self._num_ranks):
                return direct.start_direct(share, self._group, self._num_ranks)
            work: Any = dist.all_reduce(share, group=self._group, async_op=True)
            finish: Callable[[], Any] = work.wait
            return finish
        return self._start_narrow(share)

    def _start_narrow(self, share: Tensor) -> Callable[[], Any]:
        """The same with 16-bit numbers on the wire."""
        size = -(-len(share) // self._num_ranks)
        sent = share.new_zeros(self._num_ranks, size, dtype=self._type)
        sent.view(-1)[: len(share)] = share
        received = torch.empty_like(sent)
        exchange = dist.all_to_all_single(received, sent, group=self._group, async_op=True)

        def finish() -> None:
            exchange.wait()
            own = received.sum(dim=0, dtype=torch.float32).to(self._type)
            all_gather(sent.view(-1), own, group=self._group)
            share.copy_(sent.view(-1)[: len(share)])

        return finish


def _nothing() -> None:
    """Nothing is under way."""
