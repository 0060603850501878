"""What staging moves, in numbers: as planned, for a dry run, and as it was."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.owners import NOWHERE, StagingPlan


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The least, the mean and the most of a number."""

    least: float
    mean: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.int64]) -> "Spread":
        """That of some values; zeros where there are none."""
        if not len(values):
            return cls(least=0.0, mean=0.0, most=0.0)
        return cls(least=float(values.min()), mean=float(values.mean()), most=float(values.max()))


@dataclass(frozen=True, kw_only=True)
class PlanFigures:
    """A plan in numbers.

    Attributes:
        num_files: All files.
        num_nowhere: Files that no node keeps.
        copies: Nodes that keep a file.
        kept_bytes: What a node keeps.
        read_bytes: What a node reads from the shared store.
        sent_bytes: What a node sends to others, if each gets a file from the node that reads it.
        received_bytes: What a node gets from others.
    """

    num_files: int
    num_nowhere: int
    copies: Spread
    kept_bytes: Spread
    read_bytes: Spread
    sent_bytes: Spread
    received_bytes: Spread


def plan_figures(
    plan: StagingPlan, files: Sequence[StagedFile], kept_bytes: Sequence[int] | None = None
) -> PlanFigures:
    """A plan in numbers.

    Args:
        plan: Who reads and who keeps what.
        files: What there is.
        kept_bytes: The size of each file as it is kept, where it is converted on the way.
    """
    source = np.array([file.num_bytes for file in files], dtype=np.int64)
    size = source if kept_bytes is None else np.array(kept_bytes, dtype=np.int64)
    copies = np.array([len(nodes) for nodes in plan.holders], dtype=np.int64)
    is_read = plan.reader != NOWHERE
    read, read_size, sent = (np.zeros(plan.num_nodes, dtype=np.int64) for _ in range(3))
    np.add.at(read, plan.reader[is_read], source[is_read])
    np.add.at(read_size, plan.reader[is_read], size[is_read])
    np.add.at(sent, plan.reader[is_read], (size * (copies - 1))[is_read])
    kept = np.array([size[own].sum() for own in plan.kept], dtype=np.int64)
    return PlanFigures(
        num_files=len(files),
        num_nowhere=int((~is_read).sum()),
        copies=Spread.of(copies),
        kept_bytes=Spread.of(kept),
        read_bytes=Spread.of(read),
        sent_bytes=Spread.of(sent),
        received_bytes=Spread.of(kept - read_size),
    )


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """What one node has moved.

    Attributes:
        read_bytes: Read from the shared store, also what had to be read twice.
        received_bytes: Got from other nodes, as far as it was right.
        sent_bytes: Sent to other nodes.
        present_bytes: There already, verified.
        num_stolen: Files read in place of another node.
        num_again: Transfers that failed and were made again.
        seconds: From the start to the last file.
    """

    read_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    present_bytes: int = 0
    num_stolen: int = 0
    num_again: int = 0
    seconds: float = 0.0

    @property
    def gbytes_per_s(self) -> float:
        """Rate at which files came in, 1e9 bytes per second."""
        return (self.read_bytes + self.received_bytes) / max(self.seconds, 1e-9) / 1e9


def total_of(nodes: Sequence[NodeFigures]) -> NodeFigures:
    """What all nodes have moved together; its seconds are those of the last."""
    sums = {
        field.name: sum(getattr(node, field.name) for node in nodes)
        for field in fields(NodeFigures)
    }
    return NodeFigures(**sums | {"seconds": max((node.seconds for node in nodes), default=0.0)})


@dataclass(frozen=True, kw_only=True)
class StagingFigures:
    """What staging has moved.

    Attributes:
        node: By this node.
        total: By all.
    """

    node: NodeFigures
    total: NodeFigures


__all__ = ["NodeFigures", "PlanFigures", "Spread", "StagingFigures", "plan_figures", "total_of"]
