"""What the ranks of a training do together: sum gradients, loss weights and scores; agree.

A training of one process without lag asks for none of it, and pays for none of it.
"""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, get_args

import torch
from torch import Tensor, nn

from exastorm.parallel.allreduce import AllReduceSettings
from exastorm.parallel.choosing import make_allreduce
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.gradients import GradientExchange, Lag
from exastorm.parallel.totals import Totals
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

    allreduce: AllReduceSettings = field(default_factory=AllReduceSettings)

    def __post_init__(self) -> None:
        if self.lag not in get_args(Lag):
            raise ValueError(f"lag must be 0 or 1, got {self.lag!r}")
        if not self.bucket_mb > 0:
            raise ValueError(f"bucket_mb must be positive, got {self.bucket_mb}")


class Together:
    """One rank's part in what all do together.

    Attributes:
        cluster: All ranks.
        exchange: Of gradients; None where there is nobody to exchange with, and no lag.
    """

    def __init__(
        self, cluster: Cluster, network: nn.Module, settings: ExchangeSettings, timeout_s: float
    ) -> None:
        """Connect what is needed; all ranks do so at the same time.

        The weights of rank 0 become those of all.

        Args:
            cluster: All ranks.
            network: What is trained, on its device.
            settings: How gradients are exchanged.
            timeout_s: Longest wait for another rank.
        """
        self.cluster = cluster
        self._totals = Totals(cluster)
        parameters = [p for p in network.parameters() if p.requires_grad]
        self._totals.share_from_first([*parameters, *network.buffers()])
        self.exchange: GradientExchange | None = None
        if cluster.world.num_ranks > 1 or settings.lag:
            self.exchange = GradientExchange(
                parameters,
                make_allreduce(cluster, settings.allreduce, timeout_s),
                lag=settings.lag,
                bucket_mb=settings.bucket_mb,
                num_extra=NUM_EXTRA,
            )

    def __enter__(self) -> "Together":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way, unless something went wrong."""
        if self.exchange is not None and error is None:
            self.exchange.close()

    @property
    def is_first(self) -> bool:
        """True on the rank that writes what all share."""
        return self.cluster.world.is_first

    def whole_of(self, batch: Batch) -> Whole:
        """What a batch is a part of; all ranks ask at the same step."""
        num_samples = len(batch.field) * self.cluster.world.num_ranks
        return Whole(self._totals.start(batch.total_weight), num_samples)

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each of some flags is set on any rank, the same answer on all."""
        counts = torch.tensor(flags, dtype=torch.float32, device=self.cluster.device)
        self._totals.sum([counts])
        return tuple(count > 0 for count in counts.tolist())

    def gather(self, texts: list[str]) -> list[str]:
        """The texts of all ranks, in order; all ranks ask at the same step."""
        return self._totals.gather(texts)

    def sum(self, *tensors: Tensor) -> None:
        """Sum tensors of any type over ranks, exactly, in place."""
        self._totals.sum(tensors)

    def state_dict(self) -> dict[str, Any] | None:
        """Gradients in flight, the same on all ranks."""
        return None if self.exchange is None else self.exchange.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint, also one of another number of ranks."""
        if self.exchange is not None and state is not None:
            self.exchange.load_state_dict(state)
