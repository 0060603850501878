"""What was found, block by block on disk, while an archive is being labeled.

Each block of snapshots is a file of its own in a folder beside the output, put there whole or
not at all. So blocks may be made in any order and by several processes, a failure in the middle
loses none that are finished, and a second start makes only the missing ones. A signature tells
whether the finished blocks belong to the same archive, rules and version.
"""

import json
import os
import secrets
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.extent import Extent
from exastorm.labels.snapshot import Finds

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
        """Open the folder of an earlier start if it is of the same job, else a fresh one.

        Raises:
            InputError: If something else has its name.
        """
        self.path = out.with_name(out.name + ".part")
        text = json.dumps(signature, indent=1, sort_keys=True)
        mark = self.path / SIGNATURE
        if self.path.exists() and not mark.exists():
            raise InputError("is in the way, and not from labeling: move it", file=self.path)
        if not (mark.exists() and mark.read_text() == text):
            self.remove()
            self.path.mkdir(parents=True)
            mark.write_text(text)

    def file(self, block: Block) -> Path:
        """Where a block is or will be."""
        return self.path / f"block_{block.start:08d}_{block.stop:08d}.npz"

    def is_done(self, block: Block) -> bool:
        """Whether a block is finished; one that lost its end with the machine is not."""
        return zipfile.is_zipfile(self.file(block))

    def num_done(self, blocks: list[Block]) -> int:
        """Number of finished snapshots."""
        return sum(block.stop - block.start for block in blocks if self.is_done(block))

    def remove_if_idle(self, blocks: list[Block]) -> bool:
        """Delete the folder where no block is finished; returns whether it did."""
        idle = self.num_done(blocks) == 0
        if idle:
            self.remove()
        return idle

    def remove(self) -> None:
        """Delete the folder."""
        if self.path.exists():
            shutil.rmtree(self.path)


def write_block(path: Path, finds: list[Finds]) -> None:
    """Put a finished block in its place."""
    # A name that is never read: the block appears under its own only when it is whole. One of its
    # own each time: a worker that was given up may still be writing when another takes over.
    partial = path.with_suffix(f".{secrets.token_hex(4)}.writing.npz")
    extents = [extent for snapshot in finds for extent in snapshot.extents]
    groups = [cells for extent in extents for cells in extent.groups]
    shares = [s.river_share for s in finds if s.river_share is not None]
    centers = np.array([c for snapshot in finds for c in snapshot.centers], dtype=float)
    arrays: dict[str, Any] = {
        "shape": np.array(finds[0].rivers.shape),
        "river_bits": np.packbits(np.stack([s.rivers.ravel() for s in finds]), axis=1),
        "num_rivers": np.array([s.num_rivers for s in finds]),
        "member_rivers": np.array([s.member_rivers for s in finds], dtype=int),
        "num_centers": np.array([len(s.centers) for s in finds]),
        "centers": centers.reshape(-1, len(CycloneCenter._fields)),
        "boxes": np.array([extent.box for extent in extents], dtype=int).reshape(-1, 4),
        "num_cells": np.array([cells.size for cells in groups], dtype=int),
        "cells": np.concatenate([np.empty(0, dtype=np.int32), *groups]),
    }
    if shares:
        arrays["river_share"] = np.stack(shares)
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        # On disk before it has its name, so that a crash of the machine leaves no half of it.
        os.fsync(file.fileno())
    partial.replace(path)


def read_array(path: Path, name: str) -> NDArray[Any]:
    """One array of a block, without reading the others.

    They are `num_rivers` (T,), `num_centers` (T,), `member_rivers` (T, M) and `centers` (N, number
    of fields of `CycloneCenter`).
    """
    with np.load(path) as block:
        return np.asarray(block[name])


def read_block(path: Path, num_groups: int) -> list[Finds]:
    """What was found in each snapshot of a block.

    Args:
        path: The block.
        num_groups: Number of groups of cells of each extent.
    """
    with np.load(path) as block:
        arrays = {name: np.asarray(block[name]) for name in block.files}
    shape = tuple(arrays["shape"].tolist())
    cells = np.split(arrays["cells"], np.cumsum(arrays["num_cells"])[:-1])
    extents = [
        Extent(tuple(box), tuple(cells[n * num_groups : (n + 1) * num_groups]))
        for n, box in enumerate(arrays["boxes"].tolist())
    ]
    centers = [CycloneCenter(*row) for row in arrays["centers"]]
    ends = np.cumsum(arrays["num_centers"])
    finds = []
    for step, (end, num) in enumerate(zip(ends, arrays["num_centers"], strict=True)):
        mine = slice(int(end - num), int(end))
        bits = np.unpackbits(arrays["river_bits"][step], count=shape[0] * shape[1])
        share = arrays["river_share"][step] if "river_share" in arrays else None
        finds.append(
            Finds(
                centers[mine],
                extents[mine],
                bits.astype(bool).reshape(shape),
                int(arrays["num_rivers"][step]),
                share,
                tuple(arrays["member_rivers"][step].tolist()),
            )
        )
    return finds
