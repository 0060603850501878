"""The cells of a cyclone round its center, as the SC18 labels draw them: corrected, or exact.

A cyclone's cells are found in a box round its center whose half-width is the radius of
17.5 m/s winds plus 6.6 degrees: for each of four fields the cells above the box's 93rd
percentile, of these the largest 8-connected group; of the union of the four groups again the
largest (Kurth et al. 2018; published label maker, create_multichannel_multithreshold_labels.py).

The corrected form differs from the published script: the box is as wide in kilometers as it is high
and wraps in longitude (the script counts degrees of longitude and clips at 0/360); every storm
gets the union of all four fields (in the script only the last storm of a snapshot does); and the
winds enter by their magnitude (the script takes U850 and V850 with their sign, so that it sees
only the sides with westerly and southerly wind, and other sides in the other hemisphere).

The exact form keeps all of that. What its last storm gets depends on the storms before it, so a
storm's four groups are kept apart until all storms of a snapshot are known (`exact_cyclones`).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import keep_regions, label_regions, largest_region, num_cells

Cells = NDArray[np.int32]
Box = tuple[int, int, int, int]

MASK_FIELDS = ("TMQ", "U850", "V850", "PRECT")
"""Fields of the percentile test; those that an archive lacks are left out."""
SIGNED_FIELDS = ("U850", "V850")
"""Fields that enter by their magnitude in the corrected form."""


@dataclass(frozen=True, kw_only=True)
class Sc18MaskRules:
    """Extent of a cyclone round its center (Kurth et al. 2018; published label maker)."""

    form: Literal["corrected", "exact"] = "corrected"
    """corrected, or exact: with the defects of the published script, for comparison."""
    box_margin_deg: float = 6.6
    """Half-width of the box beyond the radius of 17.5 m s-1 winds, degrees (SC18)."""
    percentile: float = 93.0
    """Cells above this percentile of the box are the storm's, percent (SC18)."""

    def __post_init__(self) -> None:
        if self.form not in ("corrected", "exact"):
            raise ValueError(f"form must be corrected or exact, got {self.form!r}")
        if not self.box_margin_deg > 0:
            raise ValueError(f"box_margin_deg must be positive, got {self.box_margin_deg}")
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile must be between 0 and 100, got {self.percentile}")


class Extent(NamedTuple):
    """The cells of one storm.

    Attributes:
        box: First row, row after the last, first column, column after the last, as the published
            script cuts its box; zeros in the corrected form, which needs no box any more.
        groups: Flat numbers of cells: in the corrected form one group, the storm; in the exact form
            one for each of `MASK_FIELDS`.
    """

    box: Box
    groups: tuple[Cells, ...]


def storm_extent(
    fields: Any, grid: Surroundings, center: CycloneCenter, rules: Sc18MaskRules
) -> Extent:
    """The cells of one storm.

    Args:
        fields: Fields of one snapshot (H, W), at least one of `MASK_FIELDS`.
        grid: The grid they are on.
        center: The storm.
        rules: Extent.
    """
    if rules.form == "exact":
        return _exact_extent(fields, grid, center, rules)
    return Extent((0, 0, 0, 0), (_corrected_cells(fields, grid, center, rules),))


def num_groups(rules: Sc18MaskRules) -> int:
    """Number of groups of an extent."""
    return len(MASK_FIELDS) if rules.form == "exact" else 1


def _corrected_cells(
    fields: Any, grid: Surroundings, center: CycloneCenter, rules: Sc18MaskRules
) -> Cells:
    """Flat numbers of the cells of one storm."""
    row, column = int(center.row), int(center.column)
    box = grid.box(row, column, np.nan_to_num(center.radius_17_deg) + rules.box_margin_deg)
    union = np.zeros(box.distance_deg.shape, dtype=bool)
    for name in MASK_FIELDS:
        if name in fields:
            values = fields[name][box.rows, box.columns]
            values = np.abs(values) if name in SIGNED_FIELDS else values
            if np.isfinite(values).any():
                high = values > np.nanpercentile(values, rules.percentile)
                union |= largest_region(high, wrap=False, near=box.distance_deg)
    inside = largest_region(union, wrap=False, near=box.distance_deg)
    cells = box.rows * grid.lon.size + box.columns
    return cells[inside].astype(np.int32)


def _exact_extent(
    fields: Any, grid: Surroundings, center: CycloneCenter, rules: Sc18MaskRules
) -> Extent:
    """The four groups of one storm, in a box of degrees that is clipped at the grid's edges."""
    half = np.nan_to_num(center.radius_17_deg) + rules.box_margin_deg
    box = (
        _nearest(grid.lat, center.lat - half),
        _nearest(grid.lat, center.lat + half),
        _nearest(grid.lon, center.lon - half),
        _nearest(grid.lon, center.lon + half),
    )
    window = slice(box[0], box[1]), slice(box[2], box[3])
    cells = np.arange(grid.lat.size * grid.lon.size, dtype=np.int32)
    cells = cells.reshape(grid.lat.size, grid.lon.size)[window]
    nothing = cells[:0, :0].ravel()
    # The script leaves a storm out where precipitable water is the same in all of its box.
    if cells.size == 0 or np.unique(fields["TMQ"][window]).size < 2:
        return Extent(box, (nothing,) * len(MASK_FIELDS))
    groups = [
        cells[_largest_groups(values > np.percentile(values, rules.percentile))]
        for values in (fields[name][window] for name in MASK_FIELDS)
    ]
    return Extent(box, tuple(groups))


def _nearest(points: NDArray[np.float64], value: float) -> int:
    """Number of the nearest point; the first or last beyond the ends."""
    return int(np.abs(points - value).argmin())


def _largest_groups(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 8-connected group, and all others as large as it, as the script keeps them."""
    labels, num = label_regions(mask, wrap=False, connectivity=8)
    sizes = num_cells(labels, num)
    return keep_regions(labels, sizes == sizes.max(initial=0))


def exact_cyclones(extents: list[Extent], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells of all storms of a snapshot, bool (H, W), composed as the published script does.

    The script adds each storm's group of each field to a map of that field. After each storm the
    result becomes the map of the first field (TMQ), with the largest group, within the storm's
    box, of the union of all four maps. So it forgets that union when the next storm comes: every
    storm but the last keeps its TMQ group alone.

    Args:
        extents: The storms in the order of their table, with four groups each.
        shape: Of the grid, (H, W).
    """
    maps = np.zeros((len(MASK_FIELDS), shape[0] * shape[1]), dtype=bool)
    result = np.zeros(shape, dtype=bool)
    for extent in extents:
        if all(cells.size == 0 for cells in extent.groups):
            continue
        for field_map, cells in zip(maps, extent.groups, strict=True):
            field_map[cells] = True
        result = maps[0].reshape(shape).copy()
        window = slice(*extent.box[:2]), slice(*extent.box[2:])
        union = np.asarray(maps.any(axis=0)).reshape(shape)[window]
        result[window] |= _largest_groups(union)
    return result
