"""Processes of a benchmark that work together, on emulated nodes or on this machine as it is.

Emulated, a node is a network namespace on a link of a stated rate or delay (`fabric.py`). Not
emulated, ranks talk over the loopback interface, or NCCL between GPUs: nothing is shaped then, and
who is on which node is only said.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal, get_args

from exastorm.errors import InputError
from exastorm.parallel.launch.launchers import LOOPBACK, RANKS_PER_NODE
from exastorm.performance.fabric import Fabric

Placement = Literal["blocks", "round_robin"]
Device = Literal["cpu", "cuda"]

PORT = 29400
"""Of rank 0 on its own emulated node, where nobody else is."""

NOT_HANDED_DOWN = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", RANKS_PER_NODE)
"""Variables that would put ranks on another network, or on other nodes, than is asked for."""


@dataclass(frozen=True, kw_only=True)
class RankSettings:
    """Which processes take part, and what is between them."""

    num_nodes: int = 4
    """Nodes."""

    ranks_per_node: int = 2
    """Processes on each node."""

    placement: Placement = "blocks"
    """blocks: ranks fill node after node; round_robin: they are dealt out in turn."""

    emulate: bool = True
    """Make each node a network namespace of this machine, on a link of its own (needs root and
    iproute2). Without, all ranks run on this machine as it is, and its links are not shaped."""

    rate_mbit: float = 1000.0
    """Rate of each emulated link, each way, Mbit/s; not with a delay."""

    delay_ms: float | None = None
    """Time from node to node, milliseconds, in place of a rate, for small messages."""

    device: Device = "cpu"
    """Where ranks compute; cuda takes one GPU for each rank, and can't be emulated."""

    def __post_init__(self) -> None:
        for name in ("num_nodes", "ranks_per_node"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, choices in (("placement", Placement), ("device", Device)):
            if getattr(self, name) not in get_args(choices):
                got, known = getattr(self, name), ", ".join(get_args(choices))
                raise ValueError(f"{name} must be one of {known}, got {got!r}")
        if self.emulate and self.device != "cpu":
            raise ValueError(f"device must be cpu on emulated nodes, got {self.device!r}")
        if not self.emulate and self.placement != "blocks":
            raise ValueError(f"placement must be blocks without emulation, got {self.placement!r}")
        if not self.emulate and self.delay_ms is not None:
            raise ValueError(f"delay_ms must be None without emulation, got {self.delay_ms}")

    @property
    def num_ranks(self) -> int:
        """All processes."""
        return self.num_nodes * self.ranks_per_node

    @property
    def shaped_mbit(self) -> float | None:
        """Rate of a node's link, Mbit/s; None where it has none."""
        return self.rate_mbit if self.emulate and self.delay_ms is None else None

    def links(self) -> str:
        """What is between nodes, in words."""
        if not self.emulate:
            return "this machine's own, not shaped"
        if self.delay_ms is not None:
            return f"emulated, {self.delay_ms:g} ms from node to node"
        return f"emulated, {self.rate_mbit:g} Mbit/s each way"


def node_of_ranks(settings: RankSettings) -> list[int]:
    """The node of each rank."""
    if settings.placement == "blocks":
        return [rank // settings.ranks_per_node for rank in range(settings.num_ranks)]
    return [rank % settings.num_nodes for rank in range(settings.num_ranks)]


def run_ranks(module: str, plan: Mapping[str, Any], settings: RankSettings) -> list[dict[str, Any]]:
    """Run a module in each rank, with a plan as JSON; what each wrote, JSON again, by rank.

    Raises:
        InputError: If the emulated network can't be made, or a rank fails.
    """
    words = [sys.executable, "-m", module, json.dumps(plan)]
    nodes = node_of_ranks(settings)
    if not settings.emulate:
        shared = {
            "MASTER_ADDR": LOOPBACK,
            "MASTER_PORT": str(_free_port()),
            RANKS_PER_NODE: str(settings.ranks_per_node),
        }
        return run_commands([words for _ in nodes], shared)
    with Fabric(settings.num_nodes, settings.shaped_mbit, settings.delay_ms) as fabric:
        shared = {"MASTER_ADDR": fabric.address(nodes[0]), "MASTER_PORT": str(PORT)}
        return run_commands([[*fabric.prefix(node), *words] for node in nodes], shared)


def run_commands(commands: Sequence[list[str]], shared: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run the command of each rank; what each wrote. If one fails the others are killed.

    Raises:
        InputError: If one fails, with the last it said.
    """
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_DOWN}
    kept |= {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(len(commands)), **shared}
    processes = [
        subprocess.Popen(
            words,
            env=kept | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, words in enumerate(commands)
    ]
    told: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(len(processes)) as pool:
        ends = [pool.submit(_end_of(rank, process)) for rank, process in enumerate(processes)]
        try:
            for end in as_completed(ends):
                rank, output = end.result()
                told[rank] = json.loads(output)
        finally:
            for process in processes:
                process.kill()
    return [told[rank] for rank in range(len(processes))]


def _end_of(rank: int, process: "subprocess.Popen[str]") -> Callable[[], tuple[int, str]]:
    """What waits for a rank to end, and gives its number and what it wrote."""

    def wait() -> tuple[int, str]:
        output, errors = process.communicate()
        if process.returncode:
            last = errors.strip().rpartition("\n")[2] or f"exit code {process.returncode}"
            raise InputError(f"rank {rank} of the benchmark must end well, got: {last}")
        return rank, output

    return wait


def _free_port() -> int:
    """A TCP port of this machine that nobody has."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])
