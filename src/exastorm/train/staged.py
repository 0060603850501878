"""Samples brought to this node before a training reads them, or read where they are.

Each shard is read from the shared store by one node (`parallel/staging`). The first rank reads the
index, and all get it from there. In modes partition and sample a node learns from shards of its
own; validation and test shards are then dealt out, each to one node, so that scores count each
sample once. Who holds what follows from the plan of staging, so that no node has to be asked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path, PurePath

import numpy as np

from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import exchanging
from exastorm.parallel.sharing import share
from exastorm.parallel.staging.figures import StagingFigures
from exastorm.parallel.staging.manifest import AS_IT_IS, Manifest, Mode, StagedFile
from exastorm.parallel.staging.owners import StagingPlan, plan_staging
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.stager import stage
from exastorm.samples.converting import SampleConverter, converted_index
from exastorm.samples.index import INDEX_NAME, SampleIndex, write_index
from exastorm.samples.loader import LoaderSettings
from exastorm.samples.reading import read_index
from exastorm.samples.shards import SampleStore
from exastorm.samples.source import SampleSource, open_samples
from exastorm.samples.splits import SPLITS
from exastorm.samples.zarr_source import is_address
from exastorm.train.stage_settings import SampleStageSettings

NODE = "{node}"
"""Stands for the number of the node in the name of a folder."""

WAIT_S = 60.0
"""How long a rank waits for the first of its node to write an index, which has some megabytes."""


@dataclass
class SamplesHere:
    """The samples of a run, as its node has them.

    Attributes:
        path: Where they are read, a folder or an address.
        left_out: Shards that nobody has, for they are corrupt.
        only: Shards that this node has; None for all.
        node_sizes: Samples that each node has of each split; empty where all have all.
        shares_id: Tells this deal of samples to nodes from others.
        figures: What staging moved; None without.
        is_needed_again: Keep what was staged, for the run will go on.
    """

    path: str | Path
    left_out: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    node_sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    shares_id: str = ""
    figures: StagingFigures | None = None
    is_needed_again: bool = False

    def open(self, loader: LoaderSettings) -> SampleSource:
        """Open them.

        Args:
            loader: Where samples of a Zarr store are kept, and how many.

        Raises:
            InputError: If they can't be read.
        """
        if self.figures is None:
            return open_samples(self.path, loader.cache, loader.cache_gb)
        return SampleStore(self.path, self.left_out, self.only)


@contextmanager
def samples_here(
    cluster: Cluster, samples: str | Path, settings: SampleStageSettings
) -> Iterator[SamplesHere]:
    """Bring samples to the nodes, if that is asked for; all ranks enter and leave together.

    At the end what was staged is removed, unless it is to be kept, or the run failed or goes on.

    Args:
        cluster: All ranks.
        samples: Folder of the samples, which the first rank of each node must see; unless they are
            staged also an address.
        settings: Where to, and how.

    Raises:
        InputError: If they are no shards, or can't be staged.
    """
    if settings.folder is None:
        yield SamplesHere(samples)
        return
    if is_address(samples):
        raise InputError(
            "must be a folder to be staged, got an address; loader.cache keeps what is read",
            file=samples,
        )
    samples = Path(samples)
    # Nodes that share a disk, as emulated ones do, need a folder each.
    folder = settings.folder.replace(NODE, str(cluster.world.node))
    settings = replace(settings, folder=folder)
    index = share(cluster, lambda: read_index(samples))
    converter = settings.converter(index)
    manifest = manifest_of(index, samples, settings, converter)
    staged = stage(cluster, manifest, settings, converter)
    if converter is not None:
        index = converted_index(index, converter)
    try:
        in_folder = staged.folder / INDEX_NAME
        _on_each_node(cluster, lambda: write_index(index, staged.folder))
        here = SamplesHere(staged.folder, left_out=staged.left_out, figures=staged.figures)
        if settings.mode != "replicate":
            here.only = tuple(staged.entries)
            plan = plan_of(manifest, settings, cluster.world.num_nodes)
            here.node_sizes = node_sizes_of(index, plan, here.left_out)
            here.shares_id = manifest.fingerprint
        yield here
    except BaseException:
        staged.close(failed=True)
        raise
    keep = settings.keep or here.is_needed_again
    if cluster.world.is_leader and not keep:
        in_folder.unlink(missing_ok=True)
    replace(staged, keep=keep).close()


def manifest_of(
    index: SampleIndex,
    samples: PurePath,
    settings: StageSettings,
    converter: SampleConverter | None = None,
) -> Manifest:
    """The shards of some samples, as staging takes them.

    Args:
        index: Of the samples.
        samples: Their folder.
        settings: How they are staged.
        converter: Changes them on the way; None for none.
    """
    # A subset drawn for each node is what a network learns from; scores count each sample once.
    scored: Mode | None = "partition" if settings.mode == "sample" else None
    return Manifest(
        root=str(samples),
        form=AS_IT_IS if converter is None else converter.form,
        files=tuple(
            StagedFile(
                name=shard.name,
                num_bytes=shard.num_bytes,
                sha256=shard.sha256,
                num_samples=shard.num_samples,
                mode=None if shard.split == "train" else scored,
                group=shard.split,
            )
            for shard in index.shards
        ),
    )


def plan_of(manifest: Manifest, settings: StageSettings, num_nodes: int) -> StagingPlan:
    """Who reads and who keeps each shard, as staging has it."""
    return plan_staging(
        manifest.files, num_nodes, settings.mode, settings.samples_per_node, settings.seed
    )


def node_sizes_of(
    index: SampleIndex, plan: StagingPlan, left_out: tuple[str, ...] = ()
) -> dict[str, tuple[int, ...]]:
    """Samples of each node, by split.

    Args:
        index: Of the samples.
        plan: Who keeps which shard.
        left_out: Shards that nobody has.
    """
    count = np.array([0 if s.name in left_out else s.num_samples for s in index.shards])
    split_of = np.array([shard.split for shard in index.shards])
    return {
        split: tuple(int(count[own][split_of[own] == split].sum()) for own in plan.kept)
        for split in SPLITS
    }


def _on_each_node(cluster: Cluster, work: Callable[[], None]) -> None:
    """Let the first rank of each node do something, and the others of the node wait for it."""
    world = cluster.world
    place = cluster.unique("on-each-node")
    if world.is_leader:
        try:
            work()
        except OSError as error:
            raise InputError(error.strerror or str(error), file=error.filename) from error
        with exchanging():
            cluster.store.set(f"{place}/{world.node}", "")
    else:
        with exchanging():
            cluster.store.wait([f"{place}/{world.node}"], timedelta(seconds=WAIT_S))
