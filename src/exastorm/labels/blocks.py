"""Blocks of labels on disk while an archive is being labeled.

Each block of snapshots is a file of its own in a folder beside the output, put there whole or
not at all. So blocks may be made in any order and by several processes, a failure in the middle
loses none that are finished, and a second start makes only the missing ones. A signature tells
whether the finished blocks belong to the same archive, rules and version.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from exastorm.labels.cyclones import CycloneCenter
from exastorm.labels.snapshot import SnapshotLabels

LAYERS = ("class_map", "rule")
"""Names of the maps in a block, int8 (T, H, W) each."""

SIGNATURE = "signature.json"


class Block(NamedTuple):
    """Snapshots from `start` up to, not including, `stop`, counted from the archive's first."""

    start: int
    stop: int


class BlockFolder:
    """The blocks of one job.

    Attributes:
        path: The folder, `<out>.part`.
    """

    def __init__(self, out: Path, signature: dict[str, Any]) -> None:
        """Open the folder of an earlier start if it is of the same job, else a fresh one."""
        self.path = out.with_name(out.name + ".part")
        text = json.dumps(signature, indent=1, sort_keys=True)
        mark = self.path / SIGNATURE
        if not (mark.exists() and mark.read_text() == text):
            self.remove()
            self.path.mkdir(parents=True)
            mark.write_text(text)

    def file(self, block: Block) -> Path:
        """Where a block is or will be."""
        return self.path / f"block_{block.start:08d}_{block.stop:08d}.npz"

    def is_done(self, block: Block) -> bool:
        """Whether a block is finished."""
        return self.file(block).exists()

    def num_done(self, blocks: list[Block]) -> int:
        """Number of finished snapshots."""
        return sum(block.stop - block.start for block in blocks if self.is_done(block))

    def layer(self, name: str, blocks: list[Block], shape: tuple[int, int]) -> Any:
        """One map of all blocks as a lazy array, int8 (time, H, W)."""
        from_delayed: Any = da.from_delayed
        concatenate: Any = da.concatenate
        return concatenate(
            [
                from_delayed(
                    delayed(read_layer)(self.file(b), name), (b.stop - b.start, *shape), np.int8
                )
                for b in blocks
            ]
        )

    def remove(self) -> None:
        """Delete the folder."""
        if self.path.exists():
            shutil.rmtree(self.path)


def write_block(path: Path, labels: list[SnapshotLabels]) -> None:
    """Put a finished block in its place."""
    # A name that is never read: the block appears under its own only when it is whole.
    partial = path.with_suffix(".writing.npz")
    np.savez_compressed(
        partial,
        class_map=np.stack([snapshot.class_map for snapshot in labels]),
        rule=np.stack([snapshot.rule for snapshot in labels]),
        num_rivers=np.array([snapshot.num_rivers for snapshot in labels]),
        num_centers=np.array([len(snapshot.centers) for snapshot in labels]),
        centers=np.array([c for snapshot in labels for c in snapshot.centers], dtype=float).reshape(
            -1, len(CycloneCenter._fields)
        ),
    )
    partial.replace(path)


def read_layer(path: Path, name: str) -> NDArray[Any]:
    """One array of a block: a map of `LAYERS`, `num_rivers`, `num_centers` (T,), or `centers`."""
    with np.load(path) as block:
        return np.asarray(block[name])
