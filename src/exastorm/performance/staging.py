"""Staging over emulated nodes, beside what the links allow, and beside scripts that just copy.

Nodes are network namespaces of this machine, and so is the shared file store, whose link is the
slower: an HTTP server, whose link every byte has to pass that is read (`file_server.py`). Files of
D bytes can't be read in less than D over the rate of that link (the read bound), nor can a node get
what it needs in less than that over the rate of its own, nor send (the network bound). Naive is
what scripts do: each node reads all it needs from the shared store.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from exastorm.performance.fabric import Fabric
from exastorm.performance.ranks import PORT, run_commands

SERVER_PORT = 8000


@dataclass(frozen=True, kw_only=True)
class StagingBenchSettings:
    """Which files go over which links."""

    num_nodes: int = 4
    """Nodes that stage."""

    store_mbit: float = 300.0
    """Rate of the shared store's link, Mbit/s."""

    node_mbit: float = 1000.0
    """Rate of each node's link, each way, Mbit/s."""

    num_files: int = 48
    """Files, each of as many bytes as the others."""

    file_mb: float = 8.0
    """Megabytes of each file."""

    mode: Literal["replicate", "partition", "sample"] = "sample"
    """What a node keeps; sample: a random subset."""

    share: float = 0.75
    """With sample: the part of the files that a node keeps. With 4 nodes and 3/4 scripts read each
    byte three times."""

    num_readers: int = 2
    """Processes of a node that read side by side; few, for all nodes start theirs on the cores of
    one machine."""

    num_transfers: int = 4
    """Files that a node fetches from others at once."""

    def __post_init__(self) -> None:
        for name in ("num_nodes", "num_files", "num_readers", "num_transfers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("store_mbit", "node_mbit", "file_mb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        if self.mode not in ("replicate", "partition", "sample"):
            raise ValueError(f"mode must be replicate, partition or sample, got {self.mode!r}")


def bench_staging(folder: Path, settings: StagingBenchSettings) -> dict[str, Any]:
    """Stage made-up files, then copy them naively.

    Args:
        folder: Where files lie meanwhile, those of all nodes too; all are removed.
        settings: What and over which links.

    Returns:
        Of `staged` and `naive`: seconds of the slowest node; bytes that the shared store sent, over
        all there are; the bound on time, and the time over it. Beside them the bounds, and what
        nodes sent to one another.

    Raises:
        InputError: If the network can't be made, or a node fails.
    """
    with tempfile.TemporaryDirectory(prefix="exastorm-", dir=folder) as place:
        files = _make_files(Path(place, "store"), settings)
        told = _run(Path(place), files, settings)
    total = sum(num_bytes for _, num_bytes, _ in files)
    needed = [node["needed_bytes"] for node in told]
    moved = [node["staged"]["figures"] for node in told]
    busiest = max(
        max(f["read_bytes"] + f["received_bytes"], f["sent_bytes"]) for f in moved
    )  # A link is as busy one way as the other.
    read_s = _seconds(total, settings.store_mbit)
    network_s = _seconds(busiest, settings.node_mbit)
    naive_s = max(
        _seconds(sum(needed), settings.store_mbit), _seconds(max(needed), settings.node_mbit)
    )
    return {
        "num_nodes": settings.num_nodes,
        "mode": settings.mode,
        "dataset_mb": total / 1e6,
        "needed_mb": sum(needed) / 1e6,
        "store_mbit": settings.store_mbit,
        "node_mbit": settings.node_mbit,
        "read_bound_s": read_s,
        "network_bound_s": network_s,
        "sent_between_nodes_mb": sum(f["sent_bytes"] for f in moved) / 1e6,
        "num_stolen": sum(f["num_stolen"] for f in moved),
        "num_again": sum(f["num_again"] for f in moved),
        "staged": _figures([node["staged"] for node in told], total, max(read_s, network_s)),
        "naive": _figures([node["naive"] for node in told], total, naive_s),
    }


def _seconds(num_bytes: float, rate_mbit: float) -> float:
    """Time that bytes take over a link, s."""
    return 8 * num_bytes / (1e6 * rate_mbit)


def _figures(told: list[dict[str, Any]], total: int, bound_s: float) -> dict[str, float]:
    """Figures of one way over all nodes."""
    seconds = max(node["seconds"] for node in told)
    # All nodes ask when all are done; whoever asks first hears the same as the last.
    read = max(node["server_bytes"] for node in told)
    return {
        "seconds": seconds,
        "read_over_dataset": read / total,
        "bound_s": bound_s,
        "time_over_bound": seconds / bound_s,
    }


def _make_files(folder: Path, settings: StagingBenchSettings) -> list[tuple[str, int, str]]:
    """Files of random bytes; name, bytes and SHA-256 of each."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for number in range(settings.num_files):
        content = generator.bytes(round(settings.file_mb * 1e6))
        name = f"train-{number:05d}.bin"
        (folder / name).write_bytes(content)
        rows.append((name, len(content), hashlib.sha256(content).hexdigest()))
    return rows


def _run(
    place: Path, files: list[tuple[str, int, str]], settings: StagingBenchSettings
) -> list[dict[str, Any]]:
    """Make nodes and store, and let each node measure; what each found."""
    store = settings.num_nodes
    with Fabric(settings.num_nodes + 1, settings.node_mbit) as fabric:
        fabric.shape(store, settings.store_mbit)
        root = f"http://{fabric.address(store)}:{SERVER_PORT}/"
        sampled = settings.mode == "sample"
        plan = {
            "root": root,
            "files": files,
            "folder": str(place / "nodes"),
            "mode": settings.mode,
            "samples_per_node": round(settings.share * len(files)) if sampled else None,
            "num_readers": settings.num_readers,
            "num_transfers": settings.num_transfers,
        }
        words = ["-m", "exastorm.performance.file_server", str(place / "store")]
        server = subprocess.Popen(
            [*fabric.prefix(store), sys.executable, *words, fabric.address(store), str(SERVER_PORT)]
        )
        try:
            return _run_nodes(fabric, plan, settings.num_nodes)
        finally:
            server.kill()
            server.wait()


def _run_nodes(fabric: Fabric, plan: dict[str, Any], num_nodes: int) -> list[dict[str, Any]]:
    """Let each node measure."""
    words = [sys.executable, "-m", "exastorm.performance.staging_rank", json.dumps(plan)]
    commands = [[*fabric.prefix(node), *words] for node in range(num_nodes)]
    shared = {"MASTER_ADDR": fabric.address(0), "MASTER_PORT": str(PORT)}
    return run_commands(commands, shared)
