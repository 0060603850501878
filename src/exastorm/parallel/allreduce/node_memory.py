"""Memory that the ranks of one node share: a chunk of each rank, and of their sum, several deep.

The file is gone from its folder as soon as all have mapped it, so that nothing is left behind,
however a rank ends; the memory goes with the last process.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from exastorm.errors import ExchangeError

SHARED_FOLDER = Path("/dev/shm")
"""Where Linux keeps files in memory (shm_overview(7))."""

FLOAT_BYTES = 4


class NodeMemory:
    """Slots of float32 numbers that all ranks of a node see.

    Attributes:
        chunk_size: Numbers in a slot.
        num_slots: Chunks that may be under way at once.
    """

    def __init__(
        self,
        name: str,
        num_ranks: int,
        index: int,
        meet: Callable[[], None],
        *,
        chunk_size: int,
        num_slots: int,
    ) -> None:
        """Map the memory; all ranks of the node do so at the same time.

        Args:
            name: Of this meeting, the same on all ranks of the node and no other's.
            num_ranks: Ranks of the node.
            index: Place of this rank among them.
            meet: Returns when all ranks of the node have called it.
            chunk_size: Numbers in a slot.
            num_slots: Chunks that may be under way at once.

        Raises:
            ExchangeError: If there is no memory that they share.
        """
        self.chunk_size, self.num_slots = chunk_size, num_slots
        self._num_columns = num_ranks + 1
        num_bytes = FLOAT_BYTES * chunk_size * num_slots * self._num_columns
        path = SHARED_FOLDER / f"exastorm-{name}"
        problem: Exception | None = None
        try:
            try:
                if index == 0:
                    _make(path, num_bytes)
            except OSError as error:
                problem = error
            # All come to both meetings, also those for whom it is over: others would wait.
            meet()
            try:
                with path.open("r+b") as file:
                    self._map = mmap.mmap(file.fileno(), num_bytes)
            except (OSError, ValueError) as error:
                # mmap's word for a file that is too short is a ValueError.
                problem = problem or error
            meet()
        finally:
            if index == 0:
                path.unlink(missing_ok=True)
        if problem is not None:
            raise ExchangeError(
                f"ranks of a node must share {num_bytes / 1e6:.0f} MB in {SHARED_FOLDER} (or "
                f"exchange.allreduce.chunk_mb be smaller, or its kind flat), got: {problem}"
            )
        numbers = torch.frombuffer(self._map, dtype=torch.float32)
        self._slots = numbers.view(num_slots, self._num_columns, chunk_size)

    def slot_of(self, number: int, index: int) -> Tensor:
        """Where the rank at a place of the node puts its part of a chunk: (chunk_size,)."""
        return self._slots[number % self.num_slots, index]

    def sum_of(self, number: int) -> Tensor:
        """Where the sum of a chunk is put: (chunk_size,)."""
        return self._slots[number % self.num_slots, self._num_columns - 1]

    def parts_of(self, number: int) -> Tensor:
        """The parts of all ranks of the node: (num_ranks, chunk_size)."""
        return self._slots[number % self.num_slots, : self._num_columns - 1]


def _make(path: Path, num_bytes: int) -> None:
    """Make a file of memory, all of it had now: later a lack of it would be a bus error."""
    with path.open("xb") as file:
        os.posix_fallocate(file.fileno(), 0, num_bytes)
