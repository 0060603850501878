"""The sum of a small share over nodes in the time of one message or two, each node to every other.

A ring through N nodes waits for 2 (N - 1) messages, one after the other, and a small share is all
waiting. Here every node sends to all others at once: a tiny share whole, so that each adds up all
of them; a larger one as N pieces, each to the node that adds it up and sends the sum to all, which
is as few bytes as a ring needs (Thakur, Rabenseifner and Gropp 2005, Int. J. High Perform. Comput.
Appl. 19, sections 4.3 and 4.4, weigh such ways against each other).

All nodes add in the same order, so all have the same bits.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

MOST_NODES = 32
"""Nodes up to which each sends to all others: messages of a node grow with their number."""

MOST_BYTES = 1_000_000
"""Largest share; for larger ones a ring, whose messages go to neighbors alone, waits little."""

MOST_SENT_WHOLE = 200_000
"""Most bytes that a node may send of a share that goes whole, (N - 1) M, where N pieces would need
2 M (N - 1) / N and a second round: 160 us at 10 Gbit/s, the time of some messages of TCP."""


def serves(share: Tensor, num_nodes: int) -> bool:
    """Whether a share is summed so: small, of few nodes, not on a GPU, whose library knows ways."""
    is_small = share.numel() * share.element_size() <= MOST_BYTES
    return is_small and num_nodes <= MOST_NODES and share.device.type == "cpu"


def start_direct(share: Tensor, group: Any, num_nodes: int) -> Callable[[], Any]:
    """Begin to sum a share over the ranks of a group in place; what is returned waits for it.

    Args:
        share: (n,), float32.
        group: Of one rank of each node; nobody else uses it.
        num_nodes: Ranks in it.
    """
    if share.numel() * share.element_size() * (num_nodes - 1) <= MOST_SENT_WHOLE:
        received, exchange = _to_all(share.expand(num_nodes, -1).contiguous(), group)

        def finish_whole() -> None:
            exchange.wait()
            torch.sum(received, dim=0, out=share)

        return finish_whole
    size = -(-len(share) // num_nodes)
    pieces = share.new_zeros(num_nodes, size)
    pieces.view(-1)[: len(share)] = share
    received, exchange = _to_all(pieces, group)

    def finish_pieces() -> None:
        exchange.wait()
        own = received.sum(dim=0)
        sums, second = _to_all(own.expand(num_nodes, -1).contiguous(), group)
        second.wait()
        share.copy_(sums.view(-1)[: len(share)])

    return finish_pieces


def _to_all(rows: Tensor, group: Any) -> tuple[Tensor, Any]:
    """Begin to send row i to rank i of a group; rows that come (N, n), and the wait for them."""
    received = torch.empty_like(rows)
    return received, dist.all_to_all_single(received, rows, group=group, async_op=True)
