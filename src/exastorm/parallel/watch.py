"""What ranks agree on beside gradients: to stop, that weights are equal, who is late or lost.

A step's votes are counted while the next step runs, so agreeing costs no wait. When a rank is lost
the others may be stuck in a collective that will never end; then this rank's process is ended.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.control.greeting import Addresses
from exastorm.parallel.control.messages import Outcome, Status
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.stragglers import Straggler
from exastorm.parallel.errors import ControlError, ExchangeError

LAST_WORDS_S = 5.0
"""How long a main thread may take to end by itself, once it is known that the run has to."""

EXIT_CODE = 1


class Watch:
    """One rank's part in the agreement of all, as a context manager.

    Attributes:
        control: The control plane.
    """

    def __init__(self, cluster: Cluster, settings: ControlSettings, num_buckets: int = 0) -> None:
        """Connect to the tree; all ranks do so at the same time.

        Args:
            cluster: All ranks.
            settings: Of the control plane.
            num_buckets: Buckets of a step on whose order ranks agree.
        """
        world = cluster.world
        self._num_ranks = world.num_ranks
        self._over = threading.Event()
        self._last_step: int | None = None
        self._voice = cluster.voice
        self._different: int | None = None
        name, store = cluster.unique("control"), cluster.store
        patience = timedelta(seconds=settings.connect_s)

        def lookup(rank: int) -> str:
            try:
                store.wait([f"{name}/{rank}"], patience)
            except RuntimeError as error:  # So torch says that time is over, or the store gone.
                raise TimeoutError(str(error)) from error
            return store.get(f"{name}/{rank}").decode()

        addresses = Addresses(
            publish=lambda rank, text: store.set(f"{name}/{rank}", text),
            lookup=lookup,
            host=cluster.host,
        )
        self.control = ControlPlane(
            world.rank,
            world.num_ranks,
            addresses,
            settings,
            num_buckets=num_buckets,
            report=tell if world.is_first else self._tell_once,
            on_failure=self._end,
        )

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave, when all do; after an error tell all ranks which.

        Raises:
            ControlError: With the cause, where an exchange failed because a rank was lost.
        """
        why = error
        if isinstance(error, ExchangeError) and not isinstance(error, ControlError):
            why = self._cause_of(error)
        self._over.set()
        try:
            self.control.__exit__(type(why) if why else None, why, trace)
        except ControlError as lost:
            raise lost from error
        if isinstance(why, ControlError) and why is not error:
            raise why from error

    def agree(
        self,
        step: int,
        wish: Status,
        *,
        seconds: float = 0.0,
        fingerprint: tuple[int, ...] | None = None,
        number: float = 0.0,
    ) -> Outcome | None:
        """Vote on a step, and hear what all voted on the one before.

        Args:
            step: Higher than before.
            wish: What this rank wants.
            seconds: How long the step took here, without waits for others.
            fingerprint: Of its weights, a number for each tensor.
            number: That of rank 0 is in the outcome.

        Returns:
            The outcome of one step before; None after the first.

        Raises:
            ControlError: If a rank is lost.
        """
        self.control.vote(step, wish, seconds=seconds, fingerprint=fingerprint, number=number)
        before, self._last_step = self._last_step, step
        return None if before is None else self._outcome_of(before)

    def last_outcome(self) -> Outcome | None:
        """The outcome of the last step that this rank voted on; None before the first.

        Raises:
            ControlError: If a rank is lost.
        """
        return None if self._last_step is None else self._outcome_of(self._last_step)

    def _outcome_of(self, step: int) -> Outcome:
        """The outcome of a step, and who differed in it, kept for the end."""
        outcome = self.control.outcome(step)
        if outcome.different is not None:
            self._different = outcome.different.rank
        return outcome

    def stragglers(self) -> tuple[Straggler, ...]:
        """Who was late over the last steps; on rank 0."""
        return self.control.stragglers()

    def _cause_of(self, error: ExchangeError) -> ExchangeError:
        """Why an exchange failed, if the control plane hears of it within a moment."""
        if self._different is not None:
            # All have heard so, and end with the same line: none need be told by the others.
            return ControlError(str(error), (self._different,))
        deadline = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < deadline:
            try:
                self.control.check()
            except ControlError as cause:
                return cause
            time.sleep(0.02)
        return error

    def _end(self, error: ControlError) -> None:
        """On the control thread: end the process, if its main thread can't."""

        def end() -> None:
            if not self._over.wait(LAST_WORDS_S):
                try:
                    self._voice.end(error, say=lambda lost: tell(f"error: {lost}"))
                finally:
                    os._exit(EXIT_CODE)

        threading.Thread(target=end, name="last words", daemon=True).start()

    def _tell_once(self, line: str) -> None:
        """On the control thread: tell what several ranks find out, without keeping it waiting.

        No cause is named to the voice: it is rank 0, whose whole node may be lost, and none of
        those who know need be the first rank of another.
        """
        what = line, lambda: tell(line)
        threading.Thread(target=self._voice.say, args=what, name="stall", daemon=True).start()


def tell(line: str) -> None:
    """Tell the user, in one line, where that can be written: the run must end without it too."""
    with suppress(OSError, ValueError, AttributeError):  # Full disk, closed pipe, file, or none.
        sys.stderr.write(f"exastorm: {line}\n")
        sys.stderr.flush()
