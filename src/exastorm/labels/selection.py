"""Which candidates of an archive are storms: linked in time, and numbered.

Candidates are few, so all of an archive are selected at once, whatever files and blocks they came
from. That is why the tracks of an archive depend neither on how its files are cut nor on the
number of workers.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.labels.blocks import Block, BlockFolder, read_array
from exastorm.labels.cyclones.centers import center_table
from exastorm.labels.plan import Plan

Identities = NDArray[np.int64]


class Selection(NamedTuple):
    """Which candidates of an archive are storms.

    Attributes:
        table: All candidates, as `exastorm.labels.cyclones.centers.center_table` has them.
        storms: Number of the storm of each candidate (N,), from 0 in order of first appearance;
            -1 of those that are none.
        members: The same in each member of the threshold ensemble (M, N).
    """

    table: pd.DataFrame
    storms: Identities
    members: Identities

    def of_block(self, block: Block) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which candidates of a block count, (n,), and which do in each member, (M, n)."""
        steps = self.table["step"].to_numpy()
        here = slice(*np.searchsorted(steps, [block.start, block.stop]))
        return self.storms[here] >= 0, self.members[:, here] >= 0


def select_storms(
    times: Any, folder: BlockFolder, blocks: list[Block], plan: Plan, spacing_deg: float
) -> Selection:
    """Select the storms of an archive from the candidates of its blocks.

    Args:
        times: Times of the archive (T,), cftime.
        folder: The blocks.
        blocks: All of them, in order.
        plan: Rules.
        spacing_deg: Grid spacing.
    """
    hours = [(time - times[0]).total_seconds() / 3600.0 for time in times]
    centers = np.concatenate([read_array(folder.file(b), "centers") for b in blocks])
    counts = np.concatenate([read_array(folder.file(b), "num_centers") for b in blocks])
    table = center_table(centers, np.repeat(np.arange(counts.size), counts), hours, spacing_deg)
    if plan.cyclones is None:
        return Selection(table, np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.int64))
    members = [in_order(member.select(table)) for member in plan.cyclone_members]
    return Selection(
        table,
        in_order(plan.cyclones.select(table)),
        np.array(members, dtype=np.int64).reshape(len(members), len(table)),
    )


def in_order(storms: Identities) -> Identities:
    """Identities renumbered from 0 in order of first appearance; -1 stays."""
    found, first, which = np.unique(storms, return_index=True, return_inverse=True)
    real = found >= 0
    number = np.full(found.size, -1, dtype=np.int64)
    number[np.flatnonzero(real)[np.argsort(first[real])]] = np.arange(np.count_nonzero(real))
    return np.asarray(number[which], dtype=np.int64)


def track_table(times: Any, selection: Selection) -> pd.DataFrame:
    """The storms of an archive, one row each and time.

    Args:
        times: Times of the archive (T,), cftime.
        selection: Which candidates are storms.

    Returns:
        Columns time (ISO), track, those of `CycloneCenter` but row and column, and with an ensemble
        `share`, the share of its members in which this center belongs to a storm.
    """
    kept = selection.storms >= 0
    table = selection.table[kept]
    out = table.drop(columns=["step", "hour", "row", "column"])
    out.insert(0, "time", [times[n].isoformat() for n in table["step"]])
    out.insert(1, "track", selection.storms[kept])
    if selection.members.shape[0]:
        out["share"] = (selection.members[:, kept] >= 0).mean(axis=0)
    return out.reset_index(drop=True)
