"""Regions of one time after the other get the identity of the one they overlap.

The linker remembers one time alone. Identities are whole numbers from 0 in order of first
appearance and are never used again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.regions import Labels

Identities = NDArray[np.int64]


class RegionLinker:
    """Gives the regions of one time after the other the identity of the one they overlap.

    A region takes the identity of the earlier region with which it shares the largest area; where
    two claim one identity (a split), the larger overlap keeps it and the other begins anew. Where
    two merge, the identity with the larger overlap goes on.

    Attributes:
        num_regions: Number of identities given so far.
    """

    def __init__(self, cell_areas_km2: Any) -> None:
        self.num_regions = 0
        self._areas = np.asarray(cell_areas_km2, dtype=float)
        self._labels: Labels | None = None
        self._ids: Identities = np.empty(0, dtype=np.int64)

    def link(self, labels: Labels, num: int) -> Identities:
        """Identities (num,) of the regions of one time.

        Args:
            labels: Labels (H, W) as `exastorm.regions.label_regions` gives them.
            num: Number of regions.
        """
        ids = np.full(num, -1, dtype=np.int64)
        taken: set[int] = set()
        for before, now in self._overlaps(labels):
            if ids[now - 1] < 0 and before not in taken:
                taken.add(before)
                ids[now - 1] = self._ids[before - 1]
        fresh = ids < 0
        ids[fresh] = self.num_regions + np.arange(np.count_nonzero(fresh))
        self.num_regions += int(np.count_nonzero(fresh))
        self._labels, self._ids = labels, ids
        return ids

    def _overlaps(self, labels: Labels) -> list[tuple[int, int]]:
        """Pairs (label before, label now) that share cells, by shared area, largest first."""
        if self._labels is None:
            return []
        shared = (self._labels > 0) & (labels > 0)
        pairs = np.stack([self._labels[shared], labels[shared]])
        unique, which = np.unique(pairs, axis=1, return_inverse=True)
        area = np.bincount(which.ravel(), self._areas[shared], minlength=unique.shape[1])
        order = np.argsort(-area, kind="stable")
        return [(int(before), int(now)) for before, now in unique[:, order].T]
