"""What ranks agree on beside gradients: to stop, that weights are equal, who is late or lost.

A step's votes are counted while the next step runs, so agreeing costs no wait. When a rank is lost
the others may be stuck in a collective that will never end; then this rank's process is ended.
"""

import os
import sys
import threading
import time
from types import TracebackType

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.control.greeting import Addresses
from exastorm.parallel.control.messages import Status
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
        self._rank, self._num_ranks = world.rank, world.num_ranks
        self._over = threading.Event()
        self._last_step: int | None = None
        addresses = Addresses(
            publish=lambda rank, text: cluster.store.set(f"control/{rank}", text),
            lookup=lambda rank: cluster.store.get(f"control/{rank}").decode(),
            host=cluster.host,
        )
        self.control = ControlPlane(
            world.rank,
            world.num_ranks,
            addresses,
            settings,
            num_buckets=num_buckets,
            report=tell,
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
        if isinstance(error, ExchangeError) and not isinstance(error, ControlError):
            error = self._cause_of(error)
        self._over.set()
        try:
            self.control.__exit__(type(error) if error else None, error, trace)
        except ControlError as lost:
            raise self._addressed(lost) from error
        if isinstance(error, ControlError):
            raise self._addressed(error)

    def agree(
        self,
        step: int,
        wish: Status,
        *,
        seconds: float = 0.0,
        fingerprint: tuple[int, ...] | None = None,
    ) -> tuple[Status, tuple[int, int] | None]:
        """Vote on a step, and hear what all voted on the one before.

        Args:
            step: Higher than before.
            wish: What this rank wants.
            seconds: How long the step took here, without waits for others.
            fingerprint: Of its weights, a number for each tensor.

        Returns:
            What any rank wanted one step before, and the first rank whose fingerprint differed then
            from rank 0's, with the number of the tensor.

        Raises:
            ControlError: If a rank is lost.
        """
        self.control.vote(step, wish, seconds=seconds, fingerprint=fingerprint)
        if self._num_ranks == 1:
            return wish, None
        before, self._last_step = self._last_step, step
        if before is None:
            return Status.NONE, None
        outcome = self.control.outcome(before)
        return outcome.status, outcome.different

    def stragglers(self) -> tuple[Straggler, ...]:
        """Who was late over the last steps; on rank 0."""
        return self.control.stragglers()

    def _cause_of(self, error: ExchangeError) -> ExchangeError:
        """Why an exchange failed, if the control plane hears of it within a moment."""
        deadline = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < deadline:
            try:
                self.control.check()
            except ControlError as cause:
                return cause
            time.sleep(0.02)
        return error

    def _addressed(self, error: ControlError) -> ControlError:
        """An error that one rank alone tells: the first that is not its cause."""
        others = [rank for rank in range(self._num_ranks) if rank not in error.ranks]
        is_told = bool(others) and others[0] != self._rank
        return ControlError(str(error), error.ranks, is_told=is_told or error.is_told)

    def _end(self, error: ControlError) -> None:
        """On the control thread: end the process, if its main thread can't."""

        def end() -> None:
            if not self._over.wait(LAST_WORDS_S):
                told = self._addressed(error)
                if not told.is_told:
                    tell(f"error: {told}")
                os._exit(EXIT_CODE)

        threading.Thread(target=end, name="last words", daemon=True).start()


def tell(line: str) -> None:
    """Tell the user, in one line."""
    sys.stderr.write(f"exastorm: {line}\n")
    sys.stderr.flush()
