"""What staging will do before a training, in numbers: copies, bytes of each node, samples of each.

Worked out by the plan that the run itself goes by, from the index alone; nothing is moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from exastorm.parallel.staging.figures import PlanFigures, Spread, plan_figures
from exastorm.samples.index import SampleIndex
from exastorm.samples.splits import SPLITS
from exastorm.train.stage_settings import SampleStageSettings
from exastorm.train.staged import manifest_of, node_sizes_of, plan_of

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class StagingForecast:
    """What staging will do where nothing lies on the nodes yet; least, mean and most of each.

    Attributes:
        mode: What a node keeps.
        num_files: Shards.
        num_nowhere: Shards that no node keeps, nor reads.
        store_read_mb: What all nodes read from the shared store together.
        copies: Nodes that keep a shard, for the shards of each split.
        kept_mb: What a node keeps.
        read_mb: What a node reads from the shared store.
        sent_mb: What a node sends to others, if each gets a shard from the node that reads it.
        received_mb: What a node gets from others.
        samples: Samples that a node holds, of each split.
    """

    mode: str
    num_files: int
    num_nowhere: int
    store_read_mb: float
    copies: dict[str, Spread]
    kept_mb: Spread
    read_mb: Spread
    sent_mb: Spread
    received_mb: Spread
    samples: dict[str, Spread]

    def to_line(self) -> str:
        """What matters most, in a few words."""
        return (
            f"staging reads {self.store_read_mb / 1e3:.2f} GB once, each node keeps"
            f" {self.kept_mb.mean / 1e3:.2f} GB and {self.samples['train'].mean:.0f} training"
            f" samples, {self.copies['train'].mean:.1f} copies of each shard"
        )


def plan_stage(
    index: SampleIndex, settings: SampleStageSettings, num_nodes: int
) -> tuple[StagingForecast | None, tuple[int, ...]]:
    """Work out what staging will do.

    Args:
        index: Of the samples.
        settings: How they are staged.
        num_nodes: Nodes that stage.

    Returns:
        What it will do, None where nothing is staged; and the training samples of each node, none
        where each node has all.
    """
    if settings.folder is None:
        return None, ()
    # Plans depend on what there is, not on where.
    converter = settings.converter(index)
    manifest = manifest_of(index, PurePath(), settings, converter)
    plan = plan_of(manifest, settings, num_nodes)
    sizes = node_sizes_of(index, plan)
    files = manifest.files
    kept = None if converter is None else [converter.num_bytes(file) for file in files]
    figures = plan_figures(plan, files, kept)
    copies = np.array([len(nodes) for nodes in plan.holders], dtype=np.int64)
    split_of = np.array([shard.split for shard in index.shards])
    forecast = StagingForecast(
        mode=settings.mode,
        num_files=figures.num_files,
        num_nowhere=figures.num_nowhere,
        store_read_mb=figures.read_bytes.mean * num_nodes / MEGABYTE,
        copies={split: Spread.of(copies[split_of == split]) for split in SPLITS},
        samples={split: spread(sizes[split]) for split in SPLITS},
        **megabytes(figures),
    )
    return forecast, () if settings.mode == "replicate" else sizes["train"]


def spread(counts: Sequence[int]) -> Spread:
    """Least, mean and most."""
    return Spread.of(np.array(counts, dtype=np.int64))


def megabytes(figures: PlanFigures) -> dict[str, Spread]:
    """Bytes of a node as megabytes, by the names they have here."""
    found = {
        "kept_mb": figures.kept_bytes,
        "read_mb": figures.read_bytes,
        "sent_mb": figures.sent_bytes,
        "received_mb": figures.received_bytes,
    }
    return {
        name: Spread(least=s.least / MEGABYTE, mean=s.mean / MEGABYTE, most=s.most / MEGABYTE)
        for name, s in found.items()
    }
