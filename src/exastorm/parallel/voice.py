"""One voice for all ranks: a line that several have to say, one says.

Who comes first claims the line at the store, says it, and notes there that it has; the others wait
for that note. Nothing counts as said before: who can't ask the store, or waits for the note in
vain, says the line itself. So a line may be said twice, but none is lost. The rank with the store
leaves last, as far as it knows who asks.

Where the store has gone with a rank, nobody can ask. Then whoever sits on the node of a rank that
is the cause says the line, and on other nodes the first rank; where no cause is known, all do.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from queue import Empty, Queue
from typing import Any, TypeVar

from exastorm.errors import ExchangeError, InputError
from exastorm.parallel.launch.meeting import ASKED_PER_S
from exastorm.parallel.launch.stores import KeyStore
from exastorm.parallel.world import World

Answer = TypeVar("Answer")
Say = Callable[[Exception], None]

ANSWER_S = 2.0
"""How long the store may take to answer, and others to say what they have claimed. Who waits longer
goes on as if alone, so that all ranks end soon after a fault."""

_SAID = "said"
_ANY, _CAME, _PARTED = f"{_SAID}/any", f"{_SAID}/came", f"{_SAID}/parted"


class Voice:
    """What one rank does for a line to be said by one.

    Attributes:
        world: Who sits where; None as long as ranks have not met.
    """

    world: World | None = None

    def __init__(
        self,
        store: KeyStore,
        num_ranks: int,
        say: Say | None = None,
        *,
        place: tuple[str, int] | None = None,
        is_host: bool = False,
        open_again: Callable[[], KeyStore] | None = None,
    ) -> None:
        """Say nothing yet.

        Args:
            store: What all ranks see.
            num_ranks: All ranks.
            say: Tells the user of an error; None leaves that to whoever catches it.
            place: Address and port of the store, where another process keeps it.
            is_host: Whether the others lose the store with this process.
            open_again: Makes a connection to the store of its own; None takes that of `store`,
                which a main thread that is stuck may keep.
        """
        self._store, self._num_ranks, self._say = store, num_ranks, say
        self._place, self._is_host, self._open_again = place, is_host, open_again
        self._has_come = self._is_deaf = False

    def end(self, error: BaseException, say: Say | None = None) -> None:
        """Say why this rank ends, unless another has said, or says, the same.

        An error that is marked as told (`is_told`) is left to the rank that tells it, if that does.
        Where it was told, here or elsewhere, it is marked so.

        Args:
            error: Why. What is neither a mistake nor a loss shows itself by its traceback.
            say: In place of that of this voice.
        """
        say = say or self._say
        if say is not None and isinstance(error, InputError | OSError | ExchangeError):
            if not (getattr(error, "is_told", False) and self._hear()):
                self.say(str(error), lambda: say(error), getattr(error, "ranks", ()))
            marked: Any = error  # An OSError has no such attribute of its own.
            marked.is_told = True
        self._part()

    def say(self, line: str, say: Callable[[], None], causes: Sequence[int] = ()) -> None:
        """Say a line, unless another rank has said it, or says it within a moment.

        Args:
            line: The same on all ranks that have it to say.
            say: Does it.
            causes: Ranks that are the reason for it, and may be gone.
        """
        key = f"{_SAID}/{sha256(line.encode()).hexdigest()[:16]}"
        is_mine = True if self._num_ranks == 1 else self._ask(lambda: self._claim(key))
        if is_mine or (is_mine is None and self._has_to(causes)):
            say()
            self._ask(lambda: self._note(key))

    def _hear(self) -> bool:
        """Whether another rank has said anything, or does so within a moment."""
        return self._ask(lambda: self._is_there(_ANY)) is True

    def _part(self) -> None:
        """Say no more; the rank with the store waits a moment for those that may, or are at it."""
        self._ask(self._leave)

    def _has_to(self, causes: Sequence[int]) -> bool:
        """Whether this rank says a line where none can ask."""
        if self.world is None or not causes:
            return True
        nodes = {self.world.placement[rank] for rank in causes}
        return self.world.node in nodes or self.world.is_leader

    def _claim(self, key: str) -> bool:
        """Whether a line is for this rank to say."""
        return self._store.add(key, 1) == 1 or not self._is_there(f"{key}/done")

    def _note(self, key: str) -> None:
        """Let the others know that a line was said."""
        self._store.set(f"{key}/done", "")
        self._store.set(_ANY, "")

    def _leave(self) -> None:
        """Count this rank as gone.

        Who has begun to ask is waited for once more: torch writes pages about a store that goes
        while it is asked.
        """
        self._store.add(_PARTED, 1)
        if self._is_host and not self._holds(lambda: self._num(_PARTED) >= self._num_ranks):
            self._holds(lambda: self._num(_PARTED) >= self._num(_CAME))

    def _num(self, key: str) -> int:
        """How many ranks have come or gone."""
        return self._store.add(key, 0)

    def _is_there(self, key: str) -> bool:
        """Whether a key is set within a moment."""
        return self._holds(lambda: self._store.check([key]))

    def _holds(self, happened: Callable[[], bool]) -> bool:
        """Whether something happens within a moment; asked so that the store can answer all."""
        deadline = time.monotonic() + ANSWER_S
        while not happened():
            if time.monotonic() > deadline:
                return False
            time.sleep(max(0.02, self._num_ranks / ASKED_PER_S))
        return True

    def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        """What the store answers; None where it can't be asked, or does not answer in time.

        Asked on another thread, since torch waits for ever for a machine that can't be reached, and
        by a connection of its own, since one answers nobody while a call to it waits. Whether the
        store is there at all is tried first: torch writes pages about one that is gone.
        """
        if self._num_ranks == 1 or self._is_deaf:
            return None
        answers: Queue[tuple[Answer] | None] = Queue()

        def ask() -> None:
            answer = None
            with suppress(RuntimeError, OSError):
                if self._place is not None:
                    socket.create_connection(self._place, ANSWER_S).close()
                if self._open_again is not None:
                    self._store, self._open_again = self._open_again(), None
                if not self._has_come:
                    self._store.add(_CAME, 1)
                    self._has_come = True
                answer = (question(),)
            answers.put(answer)

        threading.Thread(target=ask, name="voice", daemon=True).start()
        answer = None
        with suppress(Empty):
            answer = answers.get(timeout=self._patience_s())
        self._is_deaf = answer is None
        return None if answer is None else answer[0]

    def _patience_s(self) -> float:
        """How long all ranks' questions may take together, one of them after a wait, or two."""
        wait_s = 2 * ANSWER_S if self._is_host else ANSWER_S
        return wait_s + 1.0 + 5 * self._num_ranks / ASKED_PER_S


__all__ = ["ANSWER_S", "Voice"]
