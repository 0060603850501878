"""What nodes tell one another while they stage: pages that each writes, and one publishes.

All goes through the key-value store of the cluster, which answers some 20,000 requests a second
from all nodes together, and hands out some 100,000 pages (measured): each reading what each of the
others has written would be a million pages for every round of 1,024 nodes. So a node writes a page
now and then; the first node, where the store is, gathers the pages and publishes them as one
digest; all read the digests, in order. All hear the same in the same order, and what follows from
that is the same everywhere.

Requests: one for each file, by the node that reads it (its claim); two for each page; for each
digest two by each node, and four by the first. Nodes look for a digest as often as makes
`ASKED_PER_S` requests of all together, and write `PAGES_PER_S` pages at most: every 0.2 and 0.5 s
on 1,024 nodes.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from exastorm.parallel.errors import exchanging
from exastorm.parallel.launch.stores import KeyStore

ASKED_PER_S = 5000
"""Questions of all nodes to the store together: a quarter of what it can answer (see above)."""

PAGES_PER_S = 2000
"""Pages of all nodes together, which the first node reads."""

FINEST_S = 0.05
"""What few nodes wait between questions, or pages."""

MOST_PAGES = 4096
"""Pages in a digest, so that no request grows without bounds."""

Page = dict[str, Any]


class Board:
    """One node's side of the board. Used by one thread."""

    def __init__(
        self,
        store: KeyStore,
        place: str,
        node: int,
        num_nodes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write nothing yet.

        Args:
            store: What all ranks see.
            place: What keys start with; the same on all nodes, and of no other board.
            node: This node; the first publishes.
            num_nodes: All nodes.
            clock: Tells seconds.
        """
        self._store, self._place, self._node = store, place, node
        self._clock = clock
        self.look_every_s = max(FINEST_S, num_nodes / ASKED_PER_S)
        self.write_every_s = max(FINEST_S, num_nodes / PAGES_PER_S)
        self._looked_at = self._wrote_at = float("-inf")
        self._num_published = self._num_heard = self._num_gathered = 0
        self._holes: list[int] = []

    def claim(self, what: str) -> bool:
        """Whether something is this node's: true on the first that asks for it.

        Raises:
            ExchangeError: If the store is gone.
        """
        with exchanging():
            return self._store.add(f"{self._place}/claim/{what}", 1) == 1

    @property
    def may_write(self) -> bool:
        """Whether it is time for another page that can wait."""
        return self._clock() - self._wrote_at >= self.write_every_s

    def write(self, page: Page) -> None:
        """Write a page, at once.

        Raises:
            ExchangeError: If the store is gone.
        """
        self._wrote_at = self._clock()
        text = json.dumps(page | {"node": self._node}, separators=(",", ":"))
        with exchanging():
            number = self._store.add(f"{self._place}/pages", 1)
            self._store.set(self._page_key(number), text)

    def hear(self, *, at_once: bool = False) -> list[Page]:
        """Pages of all nodes, own ones too, that were published since this was asked last.

        Args:
            at_once: Look also if it isn't time yet.

        Raises:
            ExchangeError: If the store is gone.
        """
        now = self._clock()
        if not at_once and now - self._looked_at < self.look_every_s:
            return []
        self._looked_at = now
        pages: list[Page] = []
        with exchanging():
            if self._node == 0:
                self._publish()
            while self._store.check([key := self._digest_key(self._num_heard + 1)]):
                pages.extend(json.loads(self._store.get(key)))
                self._num_heard += 1
        return pages

    def _publish(self) -> None:
        """Gather the pages that are new, and publish them."""
        newest = self._store.add(f"{self._place}/pages", 0)
        newest = min(newest, self._num_gathered + MOST_PAGES)
        numbers = [*self._holes, *range(self._num_gathered + 1, newest + 1)]
        self._num_gathered, self._holes = newest, []
        if numbers and not self._store.check([self._page_key(number) for number in numbers]):
            # A node that has drawn a number may be about to write, or be gone: none waits for it.
            is_there = {n: self._store.check([self._page_key(n)]) for n in numbers}
            self._holes = [n for n in numbers if not is_there[n]]
            numbers = [n for n in numbers if is_there[n]]
        if numbers:
            texts = self._store.multi_get([self._page_key(number) for number in numbers])
            self._num_published += 1
            digest = f"[{','.join(text.decode() for text in texts)}]"
            self._store.set(self._digest_key(self._num_published), digest)

    def _page_key(self, number: int) -> str:
        return f"{self._place}/page/{number}"

    def _digest_key(self, number: int) -> str:
        return f"{self._place}/digest/{number}"


__all__ = ["Board", "Page"]
