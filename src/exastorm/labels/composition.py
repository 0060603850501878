"""From the storms that count and the rivers to the maps of one snapshot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.extent import Extent, Sc18MaskRules, exact_cyclones
from exastorm.labels.masks import compose

Bools = NDArray[np.bool_]


def cyclone_cells(
    extents: list[Extent], chosen: Bools, masks: Sc18MaskRules, shape: tuple[int, int]
) -> Bools:
    """Cells of the chosen storms of a snapshot, bool (H, W).

    Args:
        extents: The cells of each candidate.
        chosen: Which candidates count, (N,).
        masks: How extents were made.
        shape: Of the grid, (H, W).
    """
    storms = [extent for extent, keep in zip(extents, chosen, strict=True) if keep]
    if masks.form == "exact":
        return exact_cyclones(storms, shape)
    cells = np.zeros(shape[0] * shape[1], dtype=bool)
    for storm in storms:
        cells[storm.groups[0]] = True
    return cells.reshape(shape)


def compose_snapshot(
    extents: list[Extent],
    chosen: Bools,
    rivers: Bools,
    masks: Sc18MaskRules,
    members: Bools,
    river_share: NDArray[np.float32] | None,
) -> dict[str, NDArray[Any]]:
    """The maps of one snapshot.

    Args:
        extents: The cells of each candidate.
        chosen: Which candidates count, (N,).
        rivers: Cells of rivers (H, W).
        masks: How extents were made.
        members: Which candidates count in each member of a threshold ensemble, (M, N); without
            members there is no `cyclone_share`.
        river_share: Share of an ensemble that flags each cell as a river, (H, W), or None.

    Returns:
        `class_map` and `rule` int8 (H, W); `cyclone_share` and `river_share` float32 (H, W) where
        there is an ensemble.
    """
    shape = (rivers.shape[0], rivers.shape[1])
    class_map, rule = compose(cyclone_cells(extents, chosen, masks, shape), rivers)
    layers: dict[str, NDArray[Any]] = {"class_map": class_map, "rule": rule}
    if members.size or members.shape[0]:
        total = np.zeros(shape, dtype=np.float32)
        for member in members:
            total += cyclone_cells(extents, member, masks, shape)
        layers["cyclone_share"] = total / np.float32(members.shape[0])
    if river_share is not None:
        layers["river_share"] = river_share
    return layers
