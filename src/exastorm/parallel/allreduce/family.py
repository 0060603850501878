"""Sum a buffer over all ranks, in place: what every way of doing so offers.

Buffers are started in the same order on all ranks, and any number may be under way. The sum is in
float32; whoever wants a mean divides first, so that 16-bit numbers on the wire don't overflow.
"""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.errors import told

AllReduceKind = Literal["auto", "flat", "hierarchical", "leader"]
Wire = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class AllReduceSettings:
    """How gradients are summed over ranks."""

    kind: AllReduceKind = "auto"
    """flat: one ring through all ranks; hierarchical: summed inside each node, across nodes by
    leaders_per_node ranks side by side, each its share, and spread inside the node again; leader:
    the same with one rank of each node; auto measures some sizes at the start and says which.
    Between GPUs, where NCCL has levels of its own, auto tries hierarchical beside flat only where
    nodes have several ranks."""

    leaders_per_node: int | None = None
    """Ranks of a node that talk to other nodes, of hierarchical; None takes all. The paper had 4
    of 6, one for each of the node's virtual network devices (Kurth et al. 2018, section V-A3)."""

    chunk_mb: float = 4.0
    """Megabytes that go through the stages of hierarchical and leader at once; smaller ones overlap
    better, larger ones wait less for the network. Between CPUs: NCCL cuts pieces of its own."""

    wire: Wire = "float32"
    """Numbers on the wire between nodes. With 16 bits each share is rounded once before it is sent
    and once after it was summed, in float32."""

    def __post_init__(self) -> None:
        for name, choices in (("kind", AllReduceKind), ("wire", Wire)):
            if getattr(self, name) not in get_args(choices):
                got, known = getattr(self, name), ", ".join(get_args(choices))
                raise ValueError(f"{name} must be one of {known}, got {got!r}")
        if self.leaders_per_node is not None and self.leaders_per_node < 1:
            raise ValueError(f"leaders_per_node must be at least 1, got {self.leaders_per_node}")
        if not self.chunk_mb > 0:
            raise ValueError(f"chunk_mb must be positive, got {self.chunk_mb}")


class Pending:
    """A sum under way."""

    def __init__(self, failure: Failure, num_parts: int = 1) -> None:
        """Expect so many parts to be done; a failure ends the wait."""
        self._failure = failure
        self._left = num_parts
        self._lock = threading.Lock()
        self._over = threading.Event()
        if num_parts == 0:
            self._over.set()

    def finish_part(self) -> None:
        """Note that one more part is done, well or not."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._over.set()

    def is_done(self) -> bool:
        """Whether `wait` would return at once."""
        return self._over.is_set()

    def wait(self) -> None:
        """Return when the sum is in the buffer; on a GPU let the current stream wait for it.

        Raises:
            ExchangeError: If a rank is gone or silent.
        """
        self._over.wait()
        if self._failure.error is not None:
            raise told(self._failure.error)


class AllReduce(ABC):
    """A way to sum buffers over all ranks."""

    @abstractmethod
    def start(self, buffer: Tensor) -> Pending:
        """Begin to sum a buffer in place.

        Args:
            buffer: (n,), contiguous, float32; not to be touched before the sum is waited for.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is under way, and let go of threads and memory."""

    def sum(self, buffer: Tensor) -> None:
        """Sum a buffer, and wait for it."""
        self.start(buffer).wait()
