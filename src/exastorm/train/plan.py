"""What a training on many ranks will do, worked out on one: who reads what, what goes over wires.

Nothing is connected and nothing is trained; only the network is built, to know its weights.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from exastorm.errors import InputError
from exastorm.networks.build import build_network
from exastorm.networks.operations import count_layers
from exastorm.parallel.buckets import FLOAT_BYTES, bucket_layout
from exastorm.parallel.control.tree import Tree
from exastorm.samples.index import SampleIndex
from exastorm.train.data import training_epochs
from exastorm.train.settings import TrainSettings
from exastorm.train.staging_forecast import StagingForecast, plan_stage
from exastorm.train.together import NUM_EXTRA
from exastorm.variables import NUM_CLASSES

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that a plan is for."""

    num_nodes: int = 1
    """Nodes."""

    ranks_per_node: int = 1
    """Processes on each node, one for each GPU."""

    link_gbit: float = 100.0
    """Rate of a node's link to the others, each way, Gbit/s; Summit's two EDR InfiniBand ports have
    100 each (Kurth et al. 2018, section VI-A)."""

    def __post_init__(self) -> None:
        for name in ("num_nodes", "ranks_per_node"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.link_gbit > 0:
            raise ValueError(f"link_gbit must be positive, got {self.link_gbit}")

    @property
    def num_ranks(self) -> int:
        """All processes."""
        return self.num_nodes * self.ranks_per_node

    @property
    def placement(self) -> tuple[int, ...]:
        """Node of each rank: those of a node follow one another, as launchers deal them out."""
        return tuple(node for node in range(self.num_nodes) for _ in range(self.ranks_per_node))


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a training will do.

    Attributes:
        num_nodes: Nodes.
        num_ranks: Processes.
        global_batch: Samples of a step.
        steps_per_epoch: Steps that go once through the training split.
        samples_per_rank: Samples that a rank reads in an epoch.
        samples_left_over: Samples of an epoch that fill no batch; others every time. Where nodes
            have samples of their own, each copy of a sample counts.
        num_epochs: Epochs in all steps.
        num_parameters: Weights that are learned.
        bucket_mb: Size of each sum of gradients, in the order they are started.
        node_link_mb: What each node sends in a step, by way of summing.
        least_exchange_ms: Time of the hierarchical sum at the rate of the link.
        tree_depth: Levels of the control tree.
        messages_per_rank: Most messages that a rank of the tree receives for each thing agreed on.
        rank_memory_mb: Weights, gradients and the optimizer's state of a rank, without features.
        checkpoint_mb: Size of a checkpoint.
        step_tflop: Dense operations of a step over all ranks.
        staging: What staging does first; None without a folder to stage to.
    """

    num_nodes: int
    num_ranks: int
    global_batch: int
    steps_per_epoch: int
    samples_per_rank: int
    samples_left_over: int
    num_epochs: float
    num_parameters: int
    bucket_mb: tuple[float, ...]
    node_link_mb: dict[str, float] = field(default_factory=dict)
    least_exchange_ms: float
    tree_depth: int
    messages_per_rank: int
    rank_memory_mb: float
    checkpoint_mb: float
    step_tflop: float
    staging: StagingForecast | None = None

    def to_dict(self) -> dict[str, Any]:
        """Figures, JSON-able."""
        figures = {**asdict(self), "num_buckets": len(self.bucket_mb)}
        if self.staging is None:
            del figures["staging"]
        return figures


def plan_training(index: SampleIndex, settings: TrainSettings, machine: Machine) -> TrainingPlan:
    """Work out what a training will do.

    Args:
        index: Of the prepared samples.
        settings: Of the training.
        machine: Where.

    Raises:
        InputError: If a global batch is larger than the training split, or what ranks of a node
            take in a step than what it holds.
    """
    height, width = len(index.lat), len(index.lon)
    staging, node_sizes = plan_stage(index, settings.stage, machine.num_nodes)
    try:
        samples = training_epochs(
            settings, machine.placement, index.num_of_split("train"), node_sizes
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    network = build_network(settings.network, len(index.channels), NUM_CLASSES, width)
    weights = [p for p in network.parameters() if p.requires_grad]
    layout = bucket_layout(weights, settings.exchange.bucket_mb)
    buckets = [FLOAT_BYTES * sum(weights[i].numel() for i in numbers) for numbers in layout]
    buckets[-1] += FLOAT_BYTES * NUM_EXTRA
    links = link_bytes(sum(buckets), machine)
    tree = Tree(num_ranks=machine.num_ranks, radix=settings.control.radix)
    num_parameters = sum(w.numel() for w in weights)
    states = optimizer_states(settings)
    generations = settings.exchange.lag + 1
    table = count_layers(network, len(index.channels), height, width)
    return TrainingPlan(
        num_nodes=machine.num_nodes,
        num_ranks=machine.num_ranks,
        global_batch=samples.global_batch,
        steps_per_epoch=samples.num_steps,
        samples_per_rank=samples.num_steps * settings.batch_size,
        samples_left_over=samples.num_samples - samples.num_steps * samples.global_batch,
        num_epochs=settings.num_steps / samples.num_steps,
        num_parameters=num_parameters,
        bucket_mb=tuple(size / MEGABYTE for size in buckets),
        node_link_mb={way: sent / MEGABYTE for way, sent in links.items()},
        least_exchange_ms=1e3 * 8.0 * links["hierarchical"] / (1e9 * machine.link_gbit),
        tree_depth=tree.depth,
        messages_per_rank=most_messages(tree),
        rank_memory_mb=FLOAT_BYTES * num_parameters * (1 + generations + states) / MEGABYTE,
        checkpoint_mb=FLOAT_BYTES
        * num_parameters
        * (1 + settings.exchange.lag + states)
        / MEGABYTE,
        step_tflop=samples.global_batch * float(table.totals()["training_tflop_dense"]),
        staging=staging,
    )


def link_bytes(num_bytes: float, machine: Machine) -> dict[str, float]:
    """What each node sends to sum so many bytes, by way of summing.

    A ring through P ranks sends 2 M (P - 1) / P from each rank to the next; in blocks one rank of a
    node has its next one elsewhere, dealt out in turn all have. Across N nodes, after a sum inside
    each, 2 M (N - 1) / N in all.
    """
    nodes, ranks = machine.num_nodes, machine.num_ranks
    if nodes == 1:
        return {"flat": 0.0, "flat, ranks dealt out in turn": 0.0, "hierarchical": 0.0}
    ring = 2.0 * num_bytes * (ranks - 1) / ranks
    return {
        "flat": ring,
        "flat, ranks dealt out in turn": ring * machine.ranks_per_node,
        "hierarchical": 2.0 * num_bytes * (nodes - 1) / nodes,
    }


def most_messages(tree: Tree) -> int:
    """Most messages that a rank receives for each thing agreed on: one from each neighbor.

    Those of rank 0, which has no parent, or of rank 1, which has the largest subtree below it.
    """
    ranks = range(min(tree.num_ranks, 2))
    return max(len(tree.children(rank)) + (rank > 0) for rank in ranks)


def optimizer_states(settings: TrainSettings) -> int:
    """Copies of the weights that optimizer and average keep."""
    optimizer = settings.optimizer
    states = 2 if optimizer.name != "sgd" else int(optimizer.momentum > 0)
    return states + (settings.ema_decay is not None)
