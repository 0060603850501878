"""Atmospheric rivers by moisture and shape: the rule of the SC18 labels, corrected or exact.

Precipitable water is damped toward the equator, so that the moist tropics stay below the
threshold and only moisture that has left them is flagged. What touches over cell edges is one
object; an object is a river if it is long, and narrow for its length.

The corrected form differs from the published script: objects join across 0/360, areas use the mean
Earth radius (the script has 6170 km), and the length is the greatest great-circle distance between
two cells of the object, and one cell side for the two halves at its ends. The script takes the
north-south extent of the bounding box for the length, which rejects rivers that run east (a 3560 x
490 km river fails below a tilt of 20 degrees), and the diagonal of the box for the test of extent;
one measure that does not change when a river is turned serves both.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2, great_circle_km
from exastorm.labels.rivers.nearby import Cell, highest_near, objects_near
from exastorm.labels.rivers.object_cells import may_reach
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, Rivers, Verdict
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import (
    Labels,
    RegionBox,
    keep_regions,
    label_regions,
    num_cells,
    region_areas_km2,
    region_boxes,
    region_span_km,
)

PUBLISHED_THRESHOLDS_KG_M2 = (18.0, 21.0, 24.0)
"""Thresholds of the published label maker: 24 of labels_0, 21 of labels_1, 18 of a third set that
it leaves commented out."""

SCRIPT_RADIUS_KM = 6170.0
"""Earth radius of the published script's areas, km: a slip for 6370."""


@dataclass(frozen=True, kw_only=True)
class Sc18RiverRules:
    """Thresholds of the SC18 river rule (Kurth et al. 2018; published label maker)."""

    form: Literal["corrected", "exact"] = "corrected"
    """corrected, or exact: with the defects of the published script, for comparison."""
    min_water_kg_m2: float = 24.0
    """Threshold of damped precipitable water, kg m-2 (SC18, labels_0; labels_1 has 21)."""
    tropics_sigma_deg: float = 19.0
    """Width of the damping 1 - exp(-lat^2 / (2 sigma^2)), degrees of latitude (SC18)."""
    min_length_km: float = 1500.0
    """A river is longer than this, km (SC18, there for the diagonal of the box)."""
    max_width_km: float = 1000.0
    """Area over length of a river is less than this, km (SC18)."""

    def __post_init__(self) -> None:
        if self.form not in ("corrected", "exact"):
            raise ValueError(f"form must be corrected or exact, got {self.form!r}")
        for name in self.__dataclass_fields__:
            if name != "form" and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        if "TMQ" not in available:
            return FieldPlan((), "the archive lacks TMQ")
        return FieldPlan(("TMQ",))

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot; missing values count as dry."""
        objects = find_objects(fields["TMQ"], grid, self)
        keep = self.long_enough(objects) & self.narrow_enough(objects)
        mask = keep_regions(objects.labels, keep)
        return Rivers(mask, objects.area_km2[keep], objects.length_km[keep])

    def long_enough(self, objects: "MoistObjects") -> NDArray[np.bool_]:
        """Which objects meet the threshold of extent."""
        return np.asarray(objects.extent_km > self.min_length_km)

    def narrow_enough(self, objects: "MoistObjects") -> NDArray[np.bool_]:
        """Which objects meet the threshold of area over length."""
        return np.asarray(objects.area_km2 < self.max_width_km * objects.length_km)

    def members(self) -> list["Sc18RiverRules"]:
        """One for each published threshold of precipitable water."""
        return [replace(self, min_water_kg_m2=water) for water in PUBLISHED_THRESHOLDS_KG_M2]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the moist objects near a place, the nearest first.

        Where there are none, on the cell near it with the most damped water.
        """
        # The small ones are measured, too.
        objects = find_objects(fields["TMQ"], grid, replace(self, min_length_km=1e-3))
        water = damping(grid.lat, self.tropics_sigma_deg)[:, None] * fields["TMQ"]

        def verdict(what: str, cell: Cell, is_moist: bool, shape: tuple[Check, Check]) -> Verdict:
            named = "damped precipitable water, kg m-2"
            moist = Check(named, float(water[cell]), self.min_water_kg_m2, is_moist, ">")
            return Verdict(
                what, float(grid.lat[cell[0]]), float(grid.lon[cell[1]]), (moist, *shape)
            )

        near = objects_near(objects.labels, grid, lat, lon, within_deg)
        if near:
            return [
                verdict("moist object", cell, True, self._shape_checks(objects.only(index)))
                for index, cell in near.items()
            ]
        return [
            verdict("moistest cell", cell, False, self._shape_checks(objects.none()))
            for cell in highest_near(water, grid, lat, lon, within_deg)
        ]

    def _shape_checks(self, one: "MoistObjects") -> tuple[Check, Check]:
        """The criteria for the shape of one object."""
        length_km, area_km2 = one.length_km[0], one.area_km2[0]
        width_km = float(area_km2 / length_km) if length_km > 0 else math.nan
        is_long, is_narrow = bool(self.long_enough(one)[0]), bool(self.narrow_enough(one)[0])
        what = "N-S extent" if self.form == "exact" else "length"
        return (
            Check("extent, km", float(one.extent_km[0]), self.min_length_km, is_long, ">"),
            Check(f"area over {what}, km", width_km, self.max_width_km, is_narrow, "<"),
        )


class MoistObjects(NamedTuple):
    """All connected moist areas of one snapshot, rivers or not.

    Attributes:
        labels: Number of the object of each cell, from 1, int32 (H, W).
        area_km2: Area of each, (N,).
        length_km: Length of each, (N,): the exact form's is the north-south extent.
        extent_km: What must exceed the least length, (N,): the exact form's is the diagonal of the
            box. Zero for objects with too few cells to reach it.
    """

    labels: Labels
    area_km2: NDArray[np.float64]
    length_km: NDArray[np.float64]
    extent_km: NDArray[np.float64]

    def only(self, index: int) -> "MoistObjects":
        """The measures of the object with a label."""
        here = slice(index - 1, index)
        return MoistObjects(
            self.labels, self.area_km2[here], self.length_km[here], self.extent_km[here]
        )

    def none(self) -> "MoistObjects":
        """The measures of what is no object."""
        return MoistObjects(self.labels, *(np.full((3, 1), np.nan)))


def damping(lat: Any, sigma_deg: float) -> NDArray[np.float64]:
    """Factor (H,) on precipitable water: 0 at the equator, near 1 beyond 2.5 sigma."""
    return np.asarray(1.0 - np.exp(-(np.asarray(lat, dtype=float) ** 2) / (2 * sigma_deg**2)))


def find_objects(tmq: Any, grid: Surroundings, rules: Sc18RiverRules) -> MoistObjects:
    """Flag and measure the moist objects of one snapshot.

    Args:
        tmq: Precipitable water (H, W), kg m-2; missing values count as dry.
        grid: The grid it is on.
        rules: Thresholds.
    """
    tmq = np.asarray(tmq)
    # The threshold is divided by the damping instead of the field multiplied: one pass less.
    with np.errstate(divide="ignore"):
        threshold = rules.min_water_kg_m2 / damping(grid.lat, rules.tropics_sigma_deg)
    moist = tmq > threshold[:, None].astype(tmq.dtype)
    exact = rules.form == "exact"
    wrap = grid.wraps and not exact
    labels, num = label_regions(moist, wrap=wrap, connectivity=4)
    sizes = num_cells(labels, num)
    large = np.flatnonzero(may_reach(labels, num, grid, rules.min_length_km)).tolist()
    boxes = region_boxes(labels, num, wrap=wrap) if large else []
    lengths, extents = np.zeros(num), np.zeros(num)
    areas = region_areas_km2(labels, num, _script_areas_km2(grid) if exact else _areas(grid))
    for n in large:
        if exact:
            lengths[n], extents[n] = _box_lengths_km(boxes[n], grid)
        else:
            # The area counts whole cells, so the length does too: on a grid of 2.5 degrees the two
            # half cells at the ends are 280 km.
            span = region_span_km(labels, n + 1, boxes[n], grid.lat, grid.lon)
            lengths[n] = extents[n] = np.sqrt(areas[n] / sizes[n]) + span
    return MoistObjects(labels, areas, lengths, extents)


def _areas(grid: Surroundings) -> NDArray[np.float64]:
    return cell_areas_km2(grid.lat, grid.lon)


def _script_areas_km2(grid: Surroundings) -> NDArray[np.float64]:
    """Cell areas of the published script: R^2 cos(lat) dlat dlon with its R, (H, W)."""
    # The script gives the last row and column the spacing of the first.
    dlat, dlon = (np.deg2rad(np.diff(p, append=p[-1] + p[1] - p[0])) for p in (grid.lat, grid.lon))
    bands = np.cos(np.deg2rad(grid.lat)) * dlat
    return np.asarray(SCRIPT_RADIUS_KM**2 * np.abs(bands[:, None] * dlon[None, :]))


def _box_lengths_km(box: RegionBox, grid: Surroundings) -> tuple[float, float]:
    """North-south extent and diagonal of a box, between cell centers, km.

    The extent is zero where the box has no width: the script drops those objects too.
    """
    south, north = grid.lat[box.row], grid.lat[box.row + box.num_rows - 1]
    west, east = grid.lon[box.column], grid.lon[box.column + box.num_columns - 1]
    diagonal = float(great_circle_km(north, east, south, west))
    width = max(float(great_circle_km(lat, east, lat, west)) for lat in (north, south))
    return (float(great_circle_km(north, east, south, east)) if width > 0 else 0.0), diagonal
