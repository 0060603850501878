"""How often is often enough: readers that die or hang over a file, and a store that is silent."""

import time
from collections import Counter
from collections.abc import Callable

from exastorm.errors import InputError

MOST_DEATHS = 3
"""Readers that may die over one file, by then it is the file; or as soon as they start."""

MOST_HANGS = 2
"""Readers that may get no answer for one file: by then it is the store."""


class Attempts:
    """What went wrong so far, and what that means."""

    def __init__(self, root: str, patience_s: float, tell: Callable[[str], None]) -> None:
        """Begin with nothing wrong.

        Args:
            root: Folder of the shared store.
            patience_s: How long that may give no answer.
            tell: Told in a line what went wrong and goes on.
        """
        self._root, self._patience_s, self._tell = root, patience_s, tell
        self._deaths: Counter[str] = Counter()
        self._hangs: Counter[str] = Counter()
        self._num_broken_starts = 0
        self._silent_since: float | None = None

    def silence(self, line: str) -> None:
        """A reader waits for the store: told once."""
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self._tell(
                f"{self._root}: the shared store does not answer ({line}); "
                f"it is waited for up to {self._patience_s:g} s"
            )

    def answer(self) -> None:
        """The store answers: told once, if it did not before."""
        if self._silent_since is not None:
            gone_s = time.monotonic() - self._silent_since
            self._silent_since = None
            self._tell(f"{self._root}: the shared store answers again, after {gone_s:.1f} s")

    def gone(self, line: str) -> InputError:
        """What to raise where patience is at its end."""
        return InputError(
            f"the shared store gave no answer for {self._patience_s:g} s ({line})", file=self._root
        )

    def started(self, was_ready: bool, ending: str) -> None:
        """A reader is no more, and had started, or not.

        Raises:
            RuntimeError: If several in a row never did.
        """
        self._num_broken_starts = 0 if was_ready else self._num_broken_starts + 1
        if self._num_broken_starts >= MOST_DEATHS:
            raise RuntimeError(f"readers don't start: the last one {ending}")

    def lost(self, name: str, ending: str, hung: bool) -> str | None:
        """A reader was lost in a file.

        Returns:
            What is wrong with the file; None if another reader should try.

        Raises:
            InputError: If it is the store that gives no answer.
        """
        if hung:
            self._hangs[name] += 1
            if self._hangs[name] >= MOST_HANGS:
                raise self.gone(f"{MOST_HANGS} times, when {name} was read")
            return None
        self._deaths[name] += 1
        if self._deaths[name] >= MOST_DEATHS:
            return f"{MOST_DEATHS} readers died over it; the last one {ending}"
        return None
