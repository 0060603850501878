"""The files that were staged to this node, as long as they are used, and their end."""

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging
from exastorm.parallel.staging.claims import ASKED_PER_S
from exastorm.parallel.staging.figures import StagingFigures
from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.local_store import LocalStore

FAREWELL_S = 30.0
"""How long the first rank of a node waits for the others to be done with the files."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What staging has brought to this node. A context manager; leaving it closes it.

    Until then no other job can stage into the folder.

    Attributes:
        folder: Where the files lie, by their names.
        entries: Each file that is there, by name.
        left_out: Names of corrupt files, which are nowhere; sorted, the same on all nodes.
        repaired: What was found wrong with files that were there, a line each.
        figures: What was moved.
    """

    folder: Path
    entries: dict[str, Entry]
    left_out: tuple[str, ...]
    repaired: tuple[str, ...]
    figures: StagingFigures
    cluster: Cluster
    local: LocalStore
    place: str
    keep: bool

    def close(self, *, failed: bool = False) -> None:
        """Give the folder back, when all ranks of this node do; all call it.

        Args:
            failed: Don't wait for the others, which may be gone, and leave the files to the next
                start.

        Raises:
            InputError: If files can't be removed.
            ExchangeError: If the store of all ranks is gone.
        """
        world, store = self.cluster.world, self.cluster.store
        key, pause_s = f"{self.place}/closed/{world.node}", world.num_nodes / ASKED_PER_S
        if not failed and world.ranks_per_node > 1:
            with exchanging():
                num_closed = store.add(key, 1)
                deadline = time.monotonic() + FAREWELL_S
                while world.is_leader and num_closed < world.ranks_per_node:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(max(0.05, pause_s))
                    num_closed = store.add(key, 0)
        if world.is_leader:
            if not (failed or self.keep):
                self.local.remove()
            self.local.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(failed=error is not None)


__all__ = ["Staged"]
