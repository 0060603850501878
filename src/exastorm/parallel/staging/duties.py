"""What a node reads next from the shared store: its own part, then what others are slow with.

Files are claimed just before they are read, and each claim is given to one node. So what a slow
node has not begun is read by nodes that are done with their own (it is stolen); what a node began,
and then read nothing more for a while, is claimed again by one that needs it. Only nodes that keep
a file read it: what one node alone keeps, nobody steals.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator

from exastorm.parallel.staging.claims import Board
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.view import View

THEFTS_AT_ONCE = 2
"""Claims that a node without work of its own tries at once: others try the same."""

LOOKING_SHARE = 0.05
"""Part of the time that a node may spend on looking for more to read: one look at 63,000 files
takes 0.04 s (measured), on a core that also sums what comes."""


class Duties:
    """What one node is to read. Used by one thread; files go by their place in the manifest."""

    def __init__(
        self,
        files: tuple[StagedFile, ...],
        node: int,
        steal_after_s: float,
        board: Board,
        view: View,
        needed: set[int],
    ) -> None:
        """Have nothing to read.

        Args:
            files: All files.
            node: This one.
            steal_after_s: How long a node may read nothing before others take its files.
            board: Where files are claimed.
            view: What is known of the others.
            needed: What this node still needs; others change it.
        """
        self._files, self._node, self._steal_after_s = files, node, steal_after_s
        self._board, self._view, self._needed = board, view, needed
        self._own: deque[int] = deque()
        self._num_claims: Counter[int] = Counter()
        self._stole_at, self._look_s = float("-inf"), 0.0

    @property
    def is_over(self) -> bool:
        """Whether this node has begun all of its own."""
        return not self._own

    def take_on(self, files: Iterable[int]) -> int:
        """Add files to this node's own part; how many there are."""
        self._own.extend(files)
        return len(self._own)

    def own(self, most: int) -> Iterator[int]:
        """Files of its own part, claimed, to be read now.

        Args:
            most: How many to give.
        """
        while self._own and most > 0:
            file = self._own.popleft()
            if file in self._needed and file not in self._view.announced and self.claim(file):
                most -= 1
                yield file

    def stolen(self, under_way: set[int]) -> Iterator[int]:
        """Files of others, claimed, to be read now; none as long as there are own ones.

        Args:
            under_way: What is being read, or fetched.
        """
        now = time.monotonic()
        pause_s = max(self._board.look_every_s, self._look_s / LOOKING_SHARE)
        if self._own or not self._needed or now - self._stole_at < pause_s:
            return
        self._stole_at = now
        files = self._worth_stealing(under_way)
        self._look_s = time.monotonic() - now
        for file in files:
            if self.claim(file):
                yield file

    def claim(self, file: int) -> bool:
        """Whether this node may read a file, or be the one that says it has it.

        One may of those that ask for the first time, for the second time, and so on; nodes ask
        again when who may read it is stuck.
        """
        self._num_claims[file] += 1
        is_own = self._board.claim(f"{file}/{self._num_claims[file]}")
        if not is_own:
            # Who may is heard of soon; until then it has time.
            self._view.postpone(file)
        return is_own

    def _worth_stealing(self, under_way: set[int]) -> list[int]:
        """The last files of the node that has most left to begin; or one that is stuck."""
        left: dict[int, list[int]] = {}
        stuck: list[int] = []
        for file in sorted(self._needed - under_way - self._view.announced.keys()):
            if not self._num_claims[file]:
                left.setdefault(self._view.claimed_by(file), []).append(file)
            elif not stuck and self._view.is_stuck(file, self._steal_after_s):
                stuck.append(file)
        if left:
            most = max(left.values(), key=lambda own: sum(self._files[f].num_bytes for f in own))
            return most[-THEFTS_AT_ONCE:]
        # One at a time: where nobody can read, all are stuck, and need not be read by all.
        return [] if under_way else stuck


__all__ = ["Duties"]
