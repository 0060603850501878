"""A name that the ranks of one node, and nobody else, know; and waiting for one another by it."""

import secrets
from datetime import timedelta

from exastorm.errors import ExchangeError
from exastorm.parallel.launch.stores import KeyStore
from exastorm.parallel.world import World


class NodeMeeting:
    """The ranks of one node, about to share something.

    Attributes:
        name: The same on all ranks of the node, and that of no other meeting on this machine.
    """

    def __init__(self, store: KeyStore, world: World, purpose: str, timeout_s: float) -> None:
        """Agree on the name.

        Args:
            store: Of the cluster.
            world: Who sits where.
            purpose: What tells this from other meetings of the same run, the same on all ranks.
            timeout_s: Longest wait for another rank.
        """
        self._store, self._key = store, f"node/{purpose}/{world.node}"
        self._timeout_s, self._num_ranks = timeout_s, world.ranks_per_node
        self._num_meetings = 0
        if world.is_leader:
            store.set(f"{self._key}/name", secrets.token_hex(8))
        self._wait(f"{self._key}/name")
        self.name = store.get(f"{self._key}/name").decode()

    def meet(self) -> None:
        """Return when all ranks of the node have called it as often.

        Raises:
            ExchangeError: If one of them doesn't.
        """
        self._num_meetings += 1
        key = f"{self._key}/{self._num_meetings}"
        if self._store.add(key, 1) == self._num_ranks:
            self._store.set(f"{key}/all", "")
        self._wait(f"{key}/all")

    def _wait(self, key: str) -> None:
        """Wait until a key is set."""
        try:
            self._store.wait([key], timedelta(seconds=self._timeout_s))
        except RuntimeError as error:
            raise ExchangeError(
                f"a rank of this node did not come within {self._timeout_s:g} s"
            ) from error
