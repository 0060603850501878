"""What the control plane costs: among real processes, and simulated at any number of ranks.

A coordinator to whom all ranks talk (the flat tree) gets a message from each rank for each bucket;
in a tree of radix r no rank gets more than r + 1 for each bucket. The same code decides in both
parts: real processes over the loopback show that it works and what a packet costs, the simulation
(`control_model`) what follows from that at sizes that nobody has at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exastorm.parallel.control.tree import Tree
from exastorm.performance.control_model import ControlCosts, ControlTraffic, negotiated_and_cached
from exastorm.performance.control_processes import run_processes
from exastorm.progress import ProgressBar


@dataclass(frozen=True, kw_only=True)
class ControlBenchSettings:
    """How many ranks agree on what, and what the simulated machine is like."""

    num_processes: int = 64
    """Real processes on this machine; 0 runs none."""

    simulated_ranks: tuple[int, ...] = (64, 1024, 27_360)
    """Numbers of ranks that are simulated; 27,360 is the paper's largest run (abstract)."""

    radixes: tuple[int, ...] = (2, 4, 8, 0)
    """Most children of a rank in each tree that is tried; 0 is the flat one, a lone coordinator.
    The paper tried 2 to 8 (section V-A3)."""

    num_buckets: int = 7
    """Buckets of each step; the gradients of DeepLabv3+, 174.7 MB, make 7 of 25 MB."""

    num_steps: int = 10
    """Steps of the real processes that are counted, with each of a changing and a kept order."""

    step_ms: float = 100.0
    """Time over which a rank submits its buckets, evenly, as backward does (milliseconds)."""

    batch_ms: float = 2.0
    """While an order is negotiated, a rank sends what is ready upward at most this often
    (milliseconds); 2 is the cycle of Horovod in the paper's runs (HOROVOD_SLEEP_INTERVAL)."""

    handling_us: float | None = None
    """Simulated time of a rank for each packet it receives or sends (microseconds); None takes the
    CPU time for each packet of the busiest root among the real processes."""

    latency_us: float = 5.0
    """Simulated time of a packet on its way (microseconds); 5 is our assumption for Summit's
    network."""

    jitter_ms: float = 1.0
    """Standard deviation of a simulated rank's delay in a step (milliseconds)."""

    timeout_s: float = 300.0
    """The longest that the processes of one tree may run (seconds)."""

    seed: int = 0
    """Of the orders and of the simulated delays."""

    def __post_init__(self) -> None:
        for name, least in (
            ("num_buckets", 2), ("num_steps", 1), ("step_ms", 0), ("batch_ms", 0),
            ("latency_us", 0), ("jitter_ms", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, got {self.timeout_s}")
        self._check_ranks()

    def _check_ranks(self) -> None:
        if self.num_processes < 0 or self.num_processes == 1:
            raise ValueError(f"num_processes must be 0 or at least 2, got {self.num_processes}")
        if any(number < 2 for number in self.simulated_ranks):
            raise ValueError(f"simulated_ranks must be at least 2, got {self.simulated_ranks}")
        if not self.radixes or any(radix < 0 for radix in self.radixes):
            raise ValueError(f"radixes must be 0 (flat) or more, got {self.radixes}")
        if self.handling_us is None and not self.num_processes and self.simulated_ranks:
            raise ValueError("handling_us must be given where no processes measure it, got None")
        if self.handling_us is not None and not self.handling_us >= 0:
            raise ValueError(f"handling_us must be at least 0, got {self.handling_us}")


def bench_control(settings: ControlBenchSettings) -> dict[str, Any]:
    """Count what a step costs in every tree, negotiated and with a cached order.

    Returns:
        `processes` and `simulated`, a row for each tree and order; packets and messages are those
        of a step that rank 0 (`root`) and the busiest rank (`max`) receive and send, a message
        tells of one bucket; `busy_ms` is the CPU time of a step (simulated: of its packets alone),
        `agreement_ms` the time of a step beyond `step_ms`. `handling_us` is what was simulated.

    Raises:
        InputError: If a process fails.
    """
    num_runs = len(settings.radixes) * (
        bool(settings.num_processes) + len(settings.simulated_ranks)
    )
    with ProgressBar("control planes", num_runs) as bar:
        processes = _run_processes(settings, bar) if settings.num_processes else []
        handling_us = settings.handling_us
        if handling_us is None:
            handling_us = handling_time_us(processes)
        simulated = _simulate(settings, handling_us, bar)
    return {
        "num_buckets": settings.num_buckets,
        "step_ms": settings.step_ms,
        "latency_us": settings.latency_us,
        "handling_us": handling_us,
        "processes": processes,
        "simulated": simulated,
    }


def handling_time_us(rows: Sequence[dict[str, Any]]) -> float | None:
    """CPU time for each packet, of the root that had most of them; None without rows.

    All that its process did is in it, so it is rather too long.
    """
    if not rows:
        return None
    row = max(rows, key=_num_root_packets)
    return 1e3 * float(row["root_busy_ms"]) / _num_root_packets(row)


def _num_root_packets(row: dict[str, Any]) -> float:
    return float(row["root_packets_sent"] + row["root_packets_received"])


def _run_processes(settings: ControlBenchSettings, bar: ProgressBar) -> list[dict[str, Any]]:
    num_ranks, rows = settings.num_processes, []
    for radix in settings.radixes:
        plan = {
            "num_ranks": num_ranks,
            "radix": radix,
            "num_buckets": settings.num_buckets,
            "num_steps": settings.num_steps,
            "step_s": settings.step_ms / 1e3,
            "batch_s": settings.batch_ms / 1e3,
            "timeout_s": settings.timeout_s,
            "seed": settings.seed,
        }
        negotiated, cached = run_processes(num_ranks, plan, settings.timeout_s)
        depth = Tree(num_ranks=num_ranks, radix=radix).depth
        place = {"num_ranks": num_ranks, "radix": radix, "depth": depth}
        rows += [place | {"order": "negotiated"} | negotiated, place | {"order": "cached"} | cached]
        bar.advance()
    return rows


def _simulate(
    settings: ControlBenchSettings, handling_us: float | None, bar: ProgressBar
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if handling_us is None:
        return rows
    costs = ControlCosts(
        latency_s=settings.latency_us / 1e6,
        handling_s=handling_us / 1e6,
        step_s=settings.step_ms / 1e3,
        jitter_s=settings.jitter_ms / 1e3,
        seed=settings.seed,
    )
    for num_ranks in settings.simulated_ranks:
        for radix in settings.radixes:
            negotiated, cached = negotiated_and_cached(
                num_ranks, settings.num_buckets, radix, costs, settings.batch_ms / 1e3
            )
            rows.append(_simulated_row(negotiated, "negotiated", handling_us))
            rows.append(_simulated_row(cached, "cached", handling_us))
            bar.advance()
    return rows


def _simulated_row(traffic: ControlTraffic, order: str, handling_us: float) -> dict[str, Any]:
    return {
        "num_ranks": traffic.num_ranks,
        "radix": traffic.radix,
        "depth": traffic.depth,
        "order": order,
        "root_packets_sent": traffic.root_sent,
        "max_packets_sent": traffic.max_sent,
        "root_packets_received": traffic.root_received,
        "max_packets_received": traffic.max_received,
        "root_messages_sent": traffic.root_said,
        "max_messages_sent": traffic.max_said,
        "root_messages_received": traffic.root_heard,
        "max_messages_received": traffic.max_heard,
        "root_busy_ms": (traffic.root_received + traffic.root_sent) * handling_us / 1e3,
        "max_busy_ms": 1e3 * traffic.busiest_s,
        "agreement_ms": 1e3 * traffic.agreement_s,
    }
