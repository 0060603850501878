"""What the ranks of a training do together: sum gradients, loss weights and scores; agree.

A training of one process without lag asks for none of it, and pays for none of it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, get_args

from torch import Tensor, nn

from exastorm.parallel.allreduce.choosing import ChosenAllReduce, make_allreduce
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings
from exastorm.parallel.buckets import bucket_layout
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.control.messages import Status
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.fingerprints import check_same, fingerprint_of
from exastorm.parallel.gradients import GradientExchange, Lag
from exastorm.parallel.totals import Totals
from exastorm.parallel.watch import Watch, tell
from exastorm.samples.batch import Batch
from exastorm.train.workers import Whole

NUM_EXTRA = 2
"""Summed with the gradients of a step: its loss, and the weight of its samples."""


@dataclass(frozen=True, kw_only=True)
class ExchangeSettings:
    """How ranks exchange gradients."""

    lag: Lag = 0
    """Steps by which gradients are used later than they are made. With 1 their exchange has a whole
    step to finish, and the weights follow the gradients of the step before, as in the paper."""

    bucket_mb: float = 25.0
    """Megabytes of gradients that are summed at once: smaller buckets start earlier, larger ones
    wait less for the network. 25 is torch's own (DistributedDataParallel, bucket_cap_mb)."""

    order: Literal["fixed", "agreed"] = "fixed"
    """In which order buckets are summed: fixed, from the last layer to the first; or agreed, each
    when all ranks have it, for networks whose layers depend on the data."""

    check_interval: int = 100
    """Steps between checks that all ranks have the same weights."""

    allreduce: AllReduceSettings = field(default_factory=AllReduceSettings)

    def __post_init__(self) -> None:
        if self.lag not in get_args(Lag):
            raise ValueError(f"lag must be 0 or 1, got {self.lag!r}")
        if self.order not in ("fixed", "agreed"):
            raise ValueError(f"order must be fixed or agreed, got {self.order!r}")
        if not self.bucket_mb > 0:
            raise ValueError(f"bucket_mb must be positive, got {self.bucket_mb}")
        if self.check_interval < 1:
            raise ValueError(f"check_interval must be at least 1, got {self.check_interval}")


class Together:
    """One rank's part in what all do together, as a context manager.

    Attributes:
        cluster: All ranks.
        exchange: Of gradients; None where there is nobody to exchange with, and no lag.
        find: Gives all that this rank has found so far that the first should know, a line each.
    """

    def __init__(
        self,
        cluster: Cluster,
        network: nn.Module,
        settings: ExchangeSettings,
        control: ControlSettings,
        timeout_s: float,
    ) -> None:
        """Connect what is needed; all ranks do so at the same time.

        The weights of rank 0 become those of all.

        Args:
            cluster: All ranks.
            network: What is trained, on its device.
            settings: How gradients are exchanged.
            control: How ranks agree.
            timeout_s: Longest wait for another rank.
        """
        self.cluster = cluster
        self._totals = Totals(cluster)
        self._weights = dict(network.named_parameters()) | dict(network.named_buffers())
        self._totals.share_from_first(list(self._weights.values()))
        self._check_interval = settings.check_interval
        parameters = [p for p in network.parameters() if p.requires_grad]
        self._watch: Watch | None = None
        agreed: ControlPlane | None = None
        if cluster.world.num_ranks > 1:
            num_buckets = len(bucket_layout(parameters, settings.bucket_mb))
            is_agreed = settings.order == "agreed"
            self._watch = Watch(cluster, control, num_buckets if is_agreed else 0)
            agreed = self._watch.control if is_agreed else None
            self._totals.waiting = self._watch.control.waiting
        self.exchange: GradientExchange | None = None
        self._allreduce: AllReduce | None = None
        if cluster.world.num_ranks > 1 or settings.lag:
            self._allreduce = make_allreduce(cluster, settings.allreduce, timeout_s)
            self.exchange = GradientExchange(
                parameters,
                self._allreduce,
                lag=settings.lag,
                bucket_mb=settings.bucket_mb,
                num_extra=NUM_EXTRA,
                control=agreed,
            )
            if self._watch is not None:
                self.exchange.waiting = self._watch.control.waiting
        self._since, self._waited_s, self._agreed_s = time.perf_counter(), 0.0, 0.0
        self.find: Callable[[], Iterable[str]] = lambda: ()
        self._found: set[str] = set()

    def __enter__(self) -> "Together":
        return self

    def begin(self) -> None:
        """Choose how to sum, where no checkpoint did; all ranks do so at the same time.

        Raises:
            ExchangeError: If a rank is gone or silent.
        """
        if self._chosen is not None:
            self._chosen.choose()
            if self.is_first:
                tell(self._chosen.to_line())
        # The first step's time begins here: what came before makes no rank late.
        self._since = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way, unless something went wrong; then tell the others.

        Raises:
            ExchangeError: If a rank is gone or silent, with the cause where it is known, or if the
                weights of a rank are not those of the first after the last step.
        """
        problem = error
        try:
            if problem is None:
                self._finish()
        except BaseException as own:
            problem = own
            raise
        finally:
            if self._watch is not None:
                own_kind = None if problem is None else type(problem)
                self._watch.__exit__(own_kind, problem, trace)

    def _finish(self) -> None:
        """Wait for what is under way, and hear what all said last."""
        self._tell()
        if self.exchange is not None and self._allreduce is not None:
            self.exchange.close()
            with self.exchange.waiting():
                self._allreduce.close()
        if self._watch is not None:
            check_same(self._watch.last_outcome(), list(self._weights))

    @property
    def _chosen(self) -> ChosenAllReduce | None:
        """The way to sum, where it is to be chosen."""
        return self._allreduce if isinstance(self._allreduce, ChosenAllReduce) else None

    @property
    def lag(self) -> int:
        """Steps by which gradients are used later than they are made."""
        return 0 if self.exchange is None else self.exchange.lag

    @property
    def is_first(self) -> bool:
        """True on the rank that writes what all share."""
        return self.cluster.world.is_first

    def whole_of(self, batch: Batch) -> Whole:
        """What a batch is a part of; all ranks ask at the same step."""
        num_samples = len(batch.field) * self.cluster.world.num_ranks
        return Whole(self._totals.start(batch.total_weight), num_samples)

    def agree(self, step: int, *, stop: bool, clock: float) -> tuple[bool, float | None]:
        """Whether any rank wants to stop, and what the first rank's clock says; the same on all.

        With several ranks it is the answer of the step before, so that nobody waits.

        Args:
            step: Steps done.
            stop: Whether this rank was asked to.
            clock: How long the run has taken by this rank's clock. No two clocks are alike; ranks
                that went by their own would learn at different rates, and end at different steps.

        Returns:
            The clock is None as long as there is no answer.

        Raises:
            ControlError: If a rank is lost.
            ExchangeError: If the weights of a rank are no longer those of the first.
        """
        self._tell()
        if self._watch is None:
            return stop, clock
        wish = Status.STOP if stop else Status.NONE
        is_due = step % self._check_interval == 0
        fingerprint = fingerprint_of(self._weights.values()) if is_due else None
        seconds, start = self._own_seconds(), time.perf_counter()
        outcome = self._watch.agree(
            step, wish, seconds=seconds, fingerprint=fingerprint, number=clock
        )
        self._agreed_s += time.perf_counter() - start
        if outcome is None:
            return False, None
        check_same(outcome, list(self._weights))
        return bool(outcome.status & Status.STOP), outcome.number

    def stragglers(self) -> list[dict[str, float]]:
        """Who was late over the last steps, and by how much; on the first rank.

        A rank's time is that of a whole step, also to read samples, to score and to save, without
        what it waited for others: so the one that the others wait for is named, and not they.

        Returns:
            The fields of `Straggler` for each rank that was late, most lateness in total first.
        """
        rows = () if self._watch is None else self._watch.stragglers()
        return [row._asdict() for row in rows]

    def found(self) -> tuple[str, ...]:
        """What ranks have found so far, sorted; on the first rank that of all.

        Nobody waits for it: a rank tells what it found when it next agrees, sums, or is done.
        """
        self._tell()
        if self.is_first:
            self._found.update(self._totals.left())
        return tuple(sorted(self._found))

    def recall(self, found: Iterable[str]) -> None:
        """Take in what an earlier attempt found; all ranks do so."""
        self._found.update(found)

    def gather(self, texts: list[str]) -> list[str]:
        """The texts of all ranks, in order; all ranks ask at the same step."""
        return self._totals.gather(texts)

    def sum(self, *tensors: Tensor) -> None:
        """Sum tensors of any type over ranks, exactly, in place."""
        self._tell()
        self._totals.sum(tensors)

    def state_dict(self) -> dict[str, Any] | None:
        """Gradients in flight, and how they are summed; the same on all ranks."""
        if self.exchange is None:
            return None
        chosen = None if self._chosen is None else self._chosen.state_dict()
        return self.exchange.state_dict() | {"allreduce": chosen}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint, also one of another number of ranks; ahead of the context."""
        if self.exchange is None or state is None:
            return
        self.exchange.load_state_dict(state)
        # Checkpoints from before choices were kept have none.
        chosen = state.get("allreduce")
        if self._chosen is not None and chosen is not None:
            self._chosen.load_state_dict(chosen)

    def _tell(self) -> None:
        """Let the first rank know of what is new here."""
        new = [text for text in self.find() if text not in self._found]
        self._found.update(new)
        if not self.is_first:
            for text in new:
                self._totals.leave(text)

    def _own_seconds(self) -> float:
        """Time since the step before, without waits for others."""
        assert self.exchange is not None
        waited_s = self.exchange.waited_s + self._totals.waited_s + self._agreed_s
        now = time.perf_counter()
        seconds = now - self._since - (waited_s - self._waited_s)
        self._since, self._waited_s = now, waited_s
        return max(0.0, seconds)
