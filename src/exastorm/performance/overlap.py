"""How much of an exchange of gradients a step hides: at once (lag 0), and one step late (lag 1).

A step is timed without an exchange, with one at lag 0 and with one at lag 1, and the exchange is
timed alone, in the same run. What a step takes longer than its work is the part that shows; the
rest is hidden. On emulated nodes all ranks share the machine's cores, so that work which computes
slows the exchange down, as it would not on nodes of their own: so a sleep may stand in for it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from exastorm.networks.build import NetworkSettings
from exastorm.parallel.allreduce.family import AllReduceSettings
from exastorm.performance.ranks import RankSettings, run_ranks

Work = Literal["sleep", "network"]


@dataclass(frozen=True, kw_only=True)
class OverlapBenchSettings(RankSettings):
    """What a step does, and what is exchanged in it, over which nodes."""

    work: Work = "sleep"
    """sleep: layers that sleep, a third of the time in forward and two thirds in backward, each
    giving its gradient when it wakes; network: forward and backward of a real one."""

    sleep_s: float = 8.0
    """Seconds that the layers of sleep take together."""

    size_mb: float = 174.7
    """Megabytes of gradients of sleep; those of DeepLabv3+ are 174.7."""

    num_layers: int = 32
    """Layers of sleep, of equal size."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    """What network computes."""

    height: int = 96
    """Latitudes of the network's sample."""

    width: int = 144
    """Longitudes of the network's sample."""

    allreduce: AllReduceSettings = field(
        default_factory=lambda: AllReduceSettings(kind="hierarchical")
    )
    """How gradients are summed."""

    bucket_mb: float = 25.0
    """Megabytes of gradients that are summed at once."""

    num_steps: int = 3
    """Steps that are timed, of each kind."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.work not in get_args(Work):
            raise ValueError(f"work must be sleep or network, got {self.work!r}")
        for name in ("sleep_s", "size_mb", "bucket_mb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("num_layers", "height", "width", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def bench_overlap(settings: OverlapBenchSettings) -> dict[str, Any]:
    """Time steps with and without an exchange.

    Returns:
        Seconds of the exchange alone and of a step without it, with lag 0 and with lag 1, each of
        the slowest rank; of both lags the share of the exchange that is hidden, against the step
        without it and, where layers sleep, against the sleep asked for (then what it costs to put
        gradients into buckets counts as not hidden); and numbers of the sums that are wrong.

    Raises:
        InputError: If the emulated network can't be made, or a rank fails.
    """
    told = run_ranks("exastorm.performance.overlap_rank", asdict(settings), settings)
    found = {name: max(rank["times"][name] for rank in told) for name in told[0]["times"]}
    figures: dict[str, Any] = {
        "num_ranks": len(told),
        "num_nodes": settings.num_nodes,
        "placement": settings.placement,
        "device": told[0]["device"],
        "links": settings.links(),
        "work": settings.work,
        "exchange_mb": told[0]["exchange_mb"],
        **found,
        "num_wrong": sum(rank["num_wrong"] for rank in told),
    }
    for lag in (0, 1):
        figures[f"hidden_lag{lag}"] = _hidden(found, lag, found["step_alone_s"])
    if settings.work == "sleep":
        figures["sleep_s"] = settings.sleep_s
        for lag in (0, 1):
            figures[f"hidden_lag{lag}_of_sleep"] = _hidden(found, lag, settings.sleep_s)
    return figures


def _hidden(found: dict[str, float], lag: int, work_s: float) -> float | None:
    """Share of the exchange that a step does not take longer than its work; None without one."""
    if found["exchange_s"] == 0:
        return None
    return 1.0 - (found[f"step_lag{lag}_s"] - work_s) / found["exchange_s"]
