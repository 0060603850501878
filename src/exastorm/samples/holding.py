"""Which shards of an index a folder holds, and so which samples can be read from it.

A whole folder holds all. A folder that staging filled may lack shards: those that were corrupt and
left out on all nodes, and in modes that deal shards out to nodes those that other nodes hold.
Samples keep the numbers of the whole index in either case, so that all nodes mean the same sample
by the same number.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.samples.index import SampleIndex
from exastorm.samples.splits import SPLITS


def held_shards(
    folder: Path, index: SampleIndex, left_out: Iterable[str], only: Iterable[str] | None
) -> NDArray[np.bool_]:
    """Whether each shard of an index is held (num_shards,); those that are must have their sizes.

    Args:
        folder: Where the shards lie.
        index: Of all samples.
        left_out: Names of shards that are not used, there or not.
        only: Names of the shards that the folder holds; None for all.

    Raises:
        InputError: If a shard that is held is missing or cut short, or a name is no shard's.
    """
    left_out, names = set(left_out), [shard.name for shard in index.shards]
    wanted = set(names if only is None else only)
    unknown = sorted((left_out | wanted) - set(names))
    if unknown:
        raise InputError(
            f"shards held and left out must be in the index, got {', '.join(unknown[:3])}",
            file=folder,
        )
    held = np.array([name in wanted and name not in left_out for name in names], dtype=bool)
    for number in np.flatnonzero(held):
        shard = index.shards[number]
        file = folder / shard.name
        got = file.stat().st_size if file.is_file() else None
        if got != shard.num_bytes:
            found = "no such file" if got is None else f"{got}"
            raise InputError(f"shard must have {shard.num_bytes} bytes, got {found}", file=file)
    return held


def held_samples(
    folder: Path,
    index: SampleIndex,
    split: str,
    holds: NDArray[np.bool_],
    left_out: Collection[str] = (),
) -> NDArray[np.int64]:
    """Numbers of the samples of a split that are held, in order of time.

    Args:
        folder: For messages.
        index: Of all samples.
        split: "train", "validation" or "test".
        holds: `held_shards`.
        left_out: Names of shards that are not used.

    Raises:
        InputError: If there is no such split, or nothing in it on any node.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    in_split = [k for k, shard in enumerate(index.shards) if shard.split == split]
    if all(index.shards[k].name in left_out for k in in_split):
        why = ": all its shards are left out" if in_split else ""
        raise InputError(f"the {split} split has no samples{why}", file=folder)
    starts = index.shard_starts
    ranges = [np.arange(starts[k], starts[k + 1]) for k in in_split if holds[k]]
    return np.concatenate([np.empty(0, np.int64), *ranges])
