"""What a node knows of the others while files are staged, from the pages that all hear.

All nodes hear the same pages in the same order, and so agree on what follows from them: which files
are left out, when all are done, and which of several failures is the one that is told.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from exastorm.parallel.staging.claims import Page
from exastorm.parallel.staging.figures import NodeFigures
from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.owners import StagingPlan

LOOKS = 20
"""How often silent nodes are looked for, in the time that one may be silent: turns are many more,
and so are nodes."""


@dataclass
class Peer:
    """What is known of one node, this one included.

    Attributes:
        heard_at: When it was heard last, by the own clock.
        read_at: When it was last known to have read more from the shared store.
        read_bytes: What it has read so far.
        come_bytes: What it has read and received so far.
        address: Of its server; None until it has said so, or if there is none.
        token: Of its server.
        fingerprint: Of what it stages; None until it has said so.
        num_lacking: Files that it is to read, and lacks.
        num_present: Files that it had at the start.
        is_ready: Whether it has said what others lack.
        figures: What it has moved; None until it is done.
    """

    heard_at: float
    read_at: float
    read_bytes: int = 0
    come_bytes: int = 0
    address: tuple[str, int] | None = None
    token: str = ""
    fingerprint: str | None = None
    num_lacking: int = 0
    num_present: int = 0
    is_ready: bool = False
    figures: NodeFigures | None = None


@dataclass(frozen=True)
class Failure:
    """Why staging ends on all nodes.

    Attributes:
        line: What is told, the same everywhere.
        is_mistake: Whether it is the user's to mend, rather than a loss.
    """

    line: str
    is_mistake: bool


class View:
    """What is known so far; files go by their place in the manifest.

    Attributes:
        peers: Of each node.
        announced: Checksum and size of each file that some node has.
        sources: The nodes that said they have a file.
        left_out: Files that are corrupt, and why.
        failure: The first that was told; None as long as all goes well.
        come_bytes: What all nodes have read and received so far, as far as known.
    """

    def __init__(
        self,
        files: tuple[StagedFile, ...],
        plan: StagingPlan,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet."""
        self._files, self._plan, self._clock = files, plan, clock
        now = clock()
        self.peers = [Peer(heard_at=now, read_at=now) for _ in range(plan.num_nodes)]
        self.announced: dict[int, Entry] = {}
        self.sources: dict[int, list[int]] = {}
        self.left_out: dict[int, str] = {}
        self.failure: Failure | None = None
        self.come_bytes = 0
        self._taken: dict[int, tuple[int, float]] = {}
        self._looked_at = float("-inf")

    def take(self, pages: Iterable[Page]) -> list[int]:
        """Take in pages; the files that nobody was known to have before."""
        new: list[int] = []
        now = self._clock()
        for page in pages:
            node: int = page["node"]
            peer = self.peers[node]
            peer.heard_at = now
            if page.get("read", 0) > peer.read_bytes:
                peer.read_bytes, peer.read_at = page["read"], now
            more = max(page.get("come", 0) - peer.come_bytes, 0)
            peer.come_bytes, self.come_bytes = peer.come_bytes + more, self.come_bytes + more
            self._take_milestones(peer, page)
            for file in page.get("took", ()):
                self._taken[file] = (node, now)
            for file, problem in page.get("corrupt", ()):
                self.left_out.setdefault(file, problem)
            for file, crc32c, num_bytes in page.get("has", ()):
                if file not in self.announced:
                    name = self._files[file].name
                    self.announced[file] = Entry(name=name, num_bytes=num_bytes, crc32c=crc32c)
                    new.append(file)
                self.sources.setdefault(file, []).append(node)
        return new

    def _take_milestones(self, peer: Peer, page: Page) -> None:
        """Take in what a page says of its node as a whole."""
        if "hello" in page:
            hello = page["hello"]
            peer.fingerprint, peer.token = hello["fingerprint"], hello["token"]
            peer.address = None if hello["address"] is None else tuple(hello["address"])
            peer.num_lacking, peer.num_present = hello["num_lacking"], hello["num_present"]
        peer.is_ready |= "ready" in page
        if "done" in page:
            peer.figures = NodeFigures(**page["done"])
        if "failure" in page and self.failure is None:
            self.failure = Failure(**page["failure"])

    def begin(self) -> None:
        """Count all nodes as reading from now on."""
        for peer in self.peers:
            peer.read_at = self._clock()

    @property
    def all_said_hello(self) -> bool:
        """Whether all nodes have said what they have."""
        return all(peer.fingerprint is not None for peer in self.peers)

    @property
    def all_ready(self) -> bool:
        """Whether all nodes have also said what they have of that which others lack."""
        return all(peer.is_ready for peer in self.peers)

    @property
    def all_done(self) -> bool:
        """Whether all nodes have all they need."""
        return all(peer.figures is not None for peer in self.peers)

    def claimed_by(self, file: int) -> int:
        """The node that reads a file, as far as known."""
        return self._taken[file][0] if file in self._taken else int(self._plan.reader[file])

    def postpone(self, file: int) -> None:
        """Count a file as claimed just now, by whoever was known to have claimed it."""
        self._taken[file] = (self.claimed_by(file), self._clock())

    def is_stuck(self, file: int, after_s: float) -> bool:
        """Whether who reads a file that nobody has seems to have stopped reading so long ago."""
        node, since = self._taken.get(file, (int(self._plan.reader[file]), float("-inf")))
        return self._clock() - max(since, self.peers[node].read_at) > after_s

    def silent_node(self, after_s: float) -> int | None:
        """A node that has not been heard for so long, if any; looked for now and then."""
        if self._clock() - self._looked_at < after_s / LOOKS:
            return None
        self._looked_at = self._clock()
        return next((n for n in range(len(self.peers)) if self.is_silent(n, after_s)), None)

    def is_silent(self, node: int, after_s: float) -> bool:
        """Whether a node has not been heard for so long.

        Where the first node, which publishes all pages, is gone, nobody is heard.
        """
        return self._clock() - self.peers[node].heard_at > after_s


def figures_to_tell(figures: NodeFigures) -> dict[str, float]:
    """Figures as pages carry them."""
    return asdict(figures)


__all__ = ["Failure", "Peer", "View", "figures_to_tell"]
