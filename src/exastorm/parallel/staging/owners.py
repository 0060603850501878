"""Which node reads which file from the shared store, and which nodes keep it: a plan, by numbers.

Every file is read by one node, which is one of those that keep it, and the bytes that nodes read
are balanced. All nodes work the plan out for themselves, and get the same: it depends on nothing
but the files, the number of nodes and a seed. How many nodes keep a file depends on the mode:

- replicate: all.
- partition: one; the bytes that nodes keep differ by no more than the largest file.
- sample: each node keeps a random subset of the files, with `samples_per_node` samples at least (or
  all there are), and less than a file more. Where the nodes together have room for all samples,
  each file is kept somewhere; where they don't, a random part of the files is kept nowhere, nor
  read. On average num_nodes * samples_per_node / num_samples nodes keep a file; for the paper's
  1,500 samples on each of 1,024 nodes and 63,000 in all that is 24 (its section V-A1: about 23).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from exastorm.parallel.staging.manifest import Mode, StagedFile

IntArray = NDArray[np.int64]

NOWHERE = -1
"""Reader of a file that no node keeps."""


@dataclass(frozen=True)
class StagingPlan:
    """Who reads and who keeps each file; files go by their place in the manifest.

    Attributes:
        reader: The node that reads each file, (F,); NOWHERE for one that is kept nowhere.
        holders: For each file the nodes that keep it, in rising order.
        kept: For each node the files that it keeps, in rising order.
    """

    reader: IntArray
    holders: Sequence[tuple[int, ...]]
    kept: Sequence[IntArray]

    @property
    def num_nodes(self) -> int:
        """All nodes."""
        return len(self.kept)

    def of_node(self, node: int) -> IntArray:
        """The files that a node keeps, in rising order."""
        return self.kept[node]

    def read_by(self, node: int) -> IntArray:
        """The files that a node reads, in rising order."""
        return np.flatnonzero(self.reader == node)


def plan_staging(
    files: Sequence[StagedFile],
    num_nodes: int,
    mode: Mode = "replicate",
    samples_per_node: int | None = None,
    seed: int = 0,
) -> StagingPlan:
    """Plan who reads and who keeps what.

    Files of each group, and of each mode where some have their own, are planned by themselves.

    Args:
        files: What there is.
        num_nodes: Nodes that stage.
        mode: How many nodes keep a file; see above.
        samples_per_node: How many samples a node keeps in mode sample.
        seed: Another one gives other nodes to files, and other subsets to nodes.

    Raises:
        ValueError: If there is no node, or mode sample is without its number.
    """
    if num_nodes < 1:
        raise ValueError(f"num_nodes must be at least 1, got {num_nodes}")
    modes = {mode, *(file.mode for file in files)}
    if "sample" in modes and (samples_per_node is None or samples_per_node < 1):
        raise ValueError(
            f"samples_per_node must be at least 1 in mode sample, got {samples_per_node}"
        )
    groups: dict[tuple[str, Mode], list[int]] = {}
    for index, file in enumerate(files):
        groups.setdefault((file.group, file.mode or mode), []).append(index)
    if len(groups) == 1:
        ((_, mode),) = groups
        return _plan_group(files, num_nodes, mode, samples_per_node, seed)
    reader = np.full(len(files), NOWHERE, dtype=np.int64)
    holders: list[tuple[int, ...]] = [()] * len(files)
    kept = [[np.empty(0, dtype=np.int64)] for _ in range(num_nodes)]
    for (_, mode_of_group), own in groups.items():
        part = _plan_group(
            [files[i] for i in own], num_nodes, mode_of_group, samples_per_node, seed
        )
        places = np.array(own)
        reader[places] = part.reader
        for index, nodes in zip(own, part.holders, strict=True):
            holders[index] = nodes
        for node in range(num_nodes):
            kept[node].append(places[part.kept[node]])
    return StagingPlan(reader, holders, [np.sort(np.concatenate(parts)) for parts in kept])


def _plan_group(
    files: Sequence[StagedFile], num_nodes: int, mode: Mode, samples_per_node: int | None, seed: int
) -> StagingPlan:
    """`plan_staging` for files that are dealt out together."""
    num_bytes = np.array([file.num_bytes for file in files], dtype=np.int64)
    if mode == "sample":
        assert samples_per_node is not None
        num_samples = np.array([file.num_samples for file in files], dtype=np.int64)
        kept = _subsets(num_samples, num_nodes, samples_per_node, seed)
        holders = _holders(kept, len(files))
        return StagingPlan(_lightest_holders(holders, num_bytes, num_nodes), holders, kept)
    reader = _deal(num_bytes, num_nodes, seed)
    if mode == "partition":
        kept = [np.flatnonzero(reader == node) for node in range(num_nodes)]
        return StagingPlan(reader, [(int(node),) for node in reader], kept)
    # One object for all: a list for each of 63,000 files and 1,024 nodes would take gigabytes.
    return StagingPlan(
        reader, [tuple(range(num_nodes))] * len(files), [np.arange(len(files))] * num_nodes
    )


def _deal(weights: IntArray, num_nodes: int, seed: int, enough: int | None = None) -> IntArray:
    """Give each file to one node, always to the one with the least weight so far.

    Heaviest files go first, so that nodes differ by one file at most; those of equal weight in
    random order.

    Args:
        weights: Of the files, (F,).
        num_nodes: Nodes to deal to.
        seed: Of the order.
        enough: Deal in random order whatever the weights, until each node has so much.

    Returns:
        The node of each file, (F,); NOWHERE for files that were not needed.
    """
    order = np.random.default_rng(seed).permutation(len(weights))
    if enough is None:
        order = order[np.argsort(-weights[order], kind="stable")]
    node_of = np.full(len(weights), NOWHERE, dtype=np.int64)
    loads = [(0, node) for node in range(num_nodes)]
    for file in order:
        load, node = loads[0]
        if enough is not None and load >= enough:
            break
        node_of[file] = node
        heapq.heapreplace(loads, (load + int(weights[file]), node))
    return node_of


def _subsets(
    num_samples: IntArray, num_nodes: int, samples_per_node: int, seed: int
) -> list[IntArray]:
    """The files of each node in mode sample, in rising order."""
    all_fit = int(num_samples.sum()) <= num_nodes * samples_per_node
    first = _deal(num_samples, num_nodes, seed, None if all_fit else samples_per_node)
    subsets = []
    for node in range(num_nodes):
        own = np.flatnonzero(first == node)
        missing = samples_per_node - int(num_samples[own].sum())
        if missing > 0:
            others = np.random.default_rng((seed, node)).permutation(len(num_samples))
            others = others[first[others] != node]
            num_more = int(np.searchsorted(np.cumsum(num_samples[others]), missing)) + 1
            own = np.sort(np.concatenate([own, others[:num_more]]))
        subsets.append(own)
    return subsets


def _holders(kept: Sequence[IntArray], num_files: int) -> list[tuple[int, ...]]:
    """For each file the nodes that keep it, in rising order."""
    file = np.concatenate(kept)
    node = np.repeat(np.arange(len(kept)), [len(own) for own in kept])
    by_file = node[np.argsort(file, kind="stable")].tolist()
    ends = np.cumsum(np.bincount(file, minlength=num_files)).tolist()
    return [tuple(by_file[start:end]) for start, end in pairwise([0, *ends])]


def _lightest_holders(
    holders: Sequence[tuple[int, ...]], num_bytes: IntArray, num_nodes: int
) -> IntArray:
    """A reader for each file among those that keep it: who has the fewest bytes to read so far.

    Files with the least choice are given away first, and of those the largest.
    """
    loads = [0] * num_nodes
    reader = np.full(len(holders), NOWHERE, dtype=np.int64)
    for file in sorted(range(len(holders)), key=lambda f: (len(holders[f]), -num_bytes[f])):
        if holders[file]:
            reader[file] = node = min(holders[file], key=loads.__getitem__)
            loads[node] += int(num_bytes[file])
    return reader


__all__ = ["NOWHERE", "Mode", "StagingPlan", "plan_staging"]
