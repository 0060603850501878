"""What the first rank finds out, for all: settings, a checkpoint, or why there is none."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging

Found = TypeVar("Found")


def share(cluster: Cluster, find: Callable[[], Found]) -> Found:
    """Let the first rank find something, and give it to all; all ranks call this together.

    Files need be seen by the first rank alone, and are read once.

    Args:
        cluster: All ranks.
        find: What the first rank does.

    Raises:
        InputError: On all ranks, if `find` raised it on the first, which alone need tell it.
    """
    everyone: Any = cluster.make_group(range(cluster.world.num_ranks))
    if everyone is None:
        return find()
    error: InputError | None = None
    found: Any = None
    if cluster.world.is_first:
        try:
            found = find()
        except InputError as problem:
            error = problem
    with exchanging():
        found, error = _broadcast((found, error), cluster, everyone)
    if error is not None:
        error.is_told = not cluster.world.is_first
        raise error
    result: Found = found
    return result


def _broadcast(values: Any, cluster: Cluster, everyone: Any) -> Any:
    """The first rank's values, on all ranks."""
    text = pickle.dumps(values) if cluster.world.is_first else b""
    size = torch.tensor([len(text)], device=cluster.device)
    dist.broadcast(size, src=0, group=everyone)
    buffer = torch.empty(int(size), dtype=torch.uint8, device=cluster.device)
    if cluster.world.is_first:
        buffer.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    dist.broadcast(buffer, src=0, group=everyone)
    # Written by the first rank of this run, a moment ago.
    return pickle.loads(buffer.cpu().numpy().tobytes())
