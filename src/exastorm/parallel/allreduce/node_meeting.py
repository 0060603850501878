"""How the ranks of one node share something: a name that nobody else knows, and waiting by it.

Whether they can is a question to all nodes: either all share, or none does and all say so.
"""

import secrets
from datetime import timedelta

from exastorm.errors import ExchangeError
from exastorm.parallel.launch.stores import KeyStore
from exastorm.parallel.world import World


class UnsharedError(ExchangeError):
    """Ranks of some node can't share what they should, the same line on all ranks."""


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
            purpose: What tells this from all other meetings at the same store, as a name of
                `Cluster.unique`; the same on all ranks.
            timeout_s: Longest wait for another rank.
        """
        self._store, self._key = store, f"node/{purpose}/{world.node}"
        self._timeout_s, self._num_ranks = timeout_s, world.ranks_per_node
        self._is_leader = world.is_leader
        self._everywhere, self._num_everywhere = f"everywhere/{purpose}", world.num_ranks
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
        self._gather(f"{self._key}/{self._num_meetings}", self._num_ranks)

    def agree(self, problem: ExchangeError | None) -> None:
        """Return when all ranks of all nodes have called it, none with a problem.

        Raises:
            UnsharedError: The problem of a rank, on all.
            ExchangeError: If a rank doesn't come.
        """
        told = [f"{self._everywhere}/problem-{who}" for who in ("leader", "mate")]
        if problem is not None:
            self._store.set(told[0 if self._is_leader else 1], str(problem))
        self._gather(self._everywhere, self._num_everywhere)
        # What a leader could not make, its mates only miss.
        for key in told:
            if self._store.check([key]):
                raise UnsharedError(self._store.get(key).decode())

    def _gather(self, key: str, num_ranks: int) -> None:
        """Return when so many ranks have come to a key."""
        if self._store.add(key, 1) == num_ranks:
            self._store.set(f"{key}/all", "")
        self._wait(f"{key}/all")

    def _wait(self, key: str) -> None:
        """Wait until a key is set."""
        try:
            self._store.wait([key], timedelta(seconds=self._timeout_s))
        except RuntimeError as error:
            raise ExchangeError(
                f"a rank did not come to share memory within {self._timeout_s:g} s"
            ) from error
