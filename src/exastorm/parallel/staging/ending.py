"""How staging ends: what the first rank of a node tells its others, and all ranks of a failure."""

import json
import time
from typing import Any

from exastorm.errors import ExchangeError, InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging
from exastorm.parallel.staging.claims import ASKED_PER_S
from exastorm.parallel.staging.view import Failure


class Ending:
    """The end of staging, as the ranks of a node tell and hear it."""

    def __init__(self, cluster: Cluster, place: str) -> None:
        """Tell nothing yet.

        Args:
            cluster: All ranks.
            place: What keys of the store start with.
        """
        self._cluster, self._place = cluster, place

    def tell(self, node: int, end: dict[str, Any]) -> None:
        """Tell the other ranks of a node how staging ended.

        Raises:
            ExchangeError: If the store is gone.
        """
        if len(self._cluster.world.ranks_of(node)) > 1:
            with exchanging():
                self._cluster.store.set(self._key(node), json.dumps(end))

    def wait(self) -> dict[str, Any]:
        """Wait for the first rank of this node; what it told.

        Raises:
            InputError: If staging failed by a mistake.
            ExchangeError: If it failed otherwise, or the store is gone.
        """
        world, store = self._cluster.world, self._cluster.store
        pause_s, rarely_s = 0.05, max(0.5, world.num_ranks / ASKED_PER_S)
        with exchanging():
            while not store.check([self._key(world.node)]):
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, rarely_s)
            end: dict[str, Any] = json.loads(store.get(self._key(world.node)))
        if "failure" in end:
            self.hear()
            raise error_of(Failure(**end["failure"]))
        return end

    def hear(self) -> None:
        """Count this rank as one that knows of the failure."""
        with exchanging():
            self._cluster.store.add(f"{self._place}/heard", 1)

    def all_heard(self, num_gone: int = 0) -> bool:
        """Whether all ranks know of the failure, but for some that are gone."""
        with exchanging():
            num_heard = self._cluster.store.add(f"{self._place}/heard", 0)
        return num_heard + num_gone >= self._cluster.world.num_ranks

    def failure_of(self, error: BaseException) -> Failure:
        """What is told of an error on this node."""
        world = self._cluster.world
        where = f" (node {world.node})" if world.num_nodes > 1 else ""
        if isinstance(error, ExchangeError):
            return Failure(str(error), is_mistake=False)
        if isinstance(error, OSError):
            error = InputError(error.strerror or str(error), file=error.filename)
        if isinstance(error, InputError):
            return Failure(f"{error}{where}", is_mistake=True)
        reason = str(error).strip().rpartition("\n")[2]
        return Failure(f"staging ended{where}: {type(error).__name__} {reason}", is_mistake=False)

    def _key(self, node: int) -> str:
        return f"{self._place}/end/{node}"


def error_of(failure: Failure) -> InputError | ExchangeError:
    """The error that tells a failure."""
    return InputError(failure.line) if failure.is_mistake else ExchangeError(failure.line)


__all__ = ["Ending", "error_of"]
