"""Atmospheric rivers by the vote of an ensemble of thresholds, after TECA-BARD.

Each member damps vapor transport toward the equator, flags the cells above a percentile of that
snapshot, and drops regions smaller than an area (O'Brien et al. 2020, Geoscientific Model
Development 13; TECA, teca_bayesian_ar_detect). The share of the members that flag a cell says how
sure they are; a cell with at least two thirds is a river's. Nothing is asked about length or width.

As in TECA the percentile counts grid points, not area, with linear interpolation between two
values, and regions touch over corners. Other than in TECA, the members are drawn from a summary of
BARD's posterior and are not its own table (`exastorm.labels.rivers.bard_members`); areas use the
mean Earth radius (TECA: that of the equator, 0.2 % more area) and count the first and last rows
and columns of the grid (TECA: leaves them out, so that a river at 0 degrees is too small); and a
cell without transport is never a river's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2
from exastorm.labels.rivers.bard_members import Members, Spread, check_spread, draw_members
from exastorm.labels.rivers.level_sets import LevelSets
from exastorm.labels.rivers.nearby import Cell, highest_near, objects_near
from exastorm.labels.rivers.sc18 import damping
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, Rivers, Verdict
from exastorm.labels.transport import (
    Moisture,
    check_moisture,
    lacking_moisture,
    moisture_fields,
    moisture_values,
)
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import label_regions, region_areas_km2

HALF_WIDTH_OVER_SIGMA = float(np.sqrt(2 * np.log(2)))
"""Half width at half maximum of a bell curve over its standard deviation."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BardRules:
    """An ensemble of threshold sets after TECA-BARD, with its ranges and quartiles."""

    moisture: Moisture = "IVT"
    """What is looked at: IVT, or a proxy (TMQV850, QV850) for archives without it."""
    num_members: int = 1024
    """Number of members (BARD: 1024)."""
    seed: int = 0
    """Seed of the draw of members."""
    percentile: Spread = (80.0, 90.8, 94.1, 95.2, 99.0)
    """Lowest value, quartiles and highest value of the percentile that a cell must reach, percent
    (BARD)."""
    half_width_deg: Spread = (5.3, 15.4, 19.3, 22.4, 25.0)
    """Lowest value, quartiles and highest value of the latitude where the damping toward the
    equator leaves half, degrees (BARD)."""
    min_area_km2: Spread = (0.35e6, 0.98e6, 1.53e6, 2.71e6, 5.0e6)
    """Lowest value, quartiles and highest value of the least area of a river, km2 (BARD)."""
    min_share: float = 2 / 3
    """Least share of the members that flag a cell of a river (TECA, segment_threshold)."""

    def __post_init__(self) -> None:
        check_moisture(self.moisture)
        if self.num_members < 2:
            raise ValueError(f"num_members must be at least 2, got {self.num_members}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        check_spread("percentile", self.percentile, 1.0, 100.0)
        check_spread("half_width_deg", self.half_width_deg, 0.0, 90.0)
        check_spread("min_area_km2", self.min_area_km2, 0.0, 5.2e8)
        if not 0 < self.min_share <= 1:
            raise ValueError(f"min_share must be in (0, 1], got {self.min_share}")

    @property
    def thresholds(self) -> Members:
        """The thresholds of the members."""
        return draw_members(
            self.num_members, self.seed, self.percentile, self.half_width_deg, self.min_area_km2
        )

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        lacking = lacking_moisture(available, self.moisture)
        notes = {"bard": "members drawn from a summary of BARD's posterior, not BARD's own table"}
        if self.moisture != "IVT":
            notes["bard_moisture"] = f"{self.moisture} stands in for vapor transport"
        return FieldPlan(moisture_fields(available, self.moisture), lacking, notes)

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot, with the share of the members that flag each cell.

        Missing values are no river's and don't enter the percentiles. The length is not measured.
        """
        areas = cell_areas_km2(grid.lat, grid.lon)
        members = self.thresholds
        share = _share(moisture_values(fields, self.moisture), grid, areas, members)
        mask = share >= np.float32(self.min_share)
        labels, num = label_regions(mask, wrap=grid.wraps)
        area_km2 = region_areas_km2(labels, num, areas)
        return Rivers(mask, area_km2, np.full(num, np.nan), share)

    def members(self) -> "list[BardRules]":
        """The rule set alone: it is an ensemble, whose shares `find` gives."""
        return [self]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the moist objects near a place, the nearest first.

        Objects are regions that half as many members as a river needs find moist, whatever their
        size; a river inside is judged by its most agreed cell. Where there are none, the verdict is
        on the cell that most members find moist.
        """
        areas = cell_areas_km2(grid.lat, grid.lon)
        transport, members = moisture_values(fields, self.moisture), self.thresholds
        large = _share(transport, grid, areas, members)
        no_area = members._replace(min_area_km2=np.zeros(self.num_members))
        moist = _share(transport, grid, areas, no_area)
        labels, _ = label_regions(moist >= 0.5 * self.min_share, wrap=grid.wraps)

        def verdict(what: str, cell: Cell, inside: Any) -> Verdict:
            checks = (
                self._check("find it moist", moist[inside]),
                self._check("find it moist and large", large[inside]),
            )
            return Verdict(what, float(grid.lat[cell[0]]), float(grid.lon[cell[1]]), checks)

        near = objects_near(labels, grid, lat, lon, within_deg)
        if near:
            return [verdict("moist object", cell, labels == n) for n, cell in near.items()]
        return [
            verdict("moistest cell", cell, cell)
            for cell in highest_near(moist, grid, lat, lon, within_deg)
        ]

    def _check(self, what: str, share: Any) -> Check:
        most = share.max()
        passed = bool(most >= np.float32(self.min_share))
        return Check(f"share of members that {what}, 1", float(most), self.min_share, passed)


def _share(
    transport: Any, grid: Surroundings, areas: FloatArray, members: Members
) -> NDArray[np.float32]:
    """Share of the members that flag each cell, (H, W)."""
    # Single precision as in TECA, which damps in the precision of the field.
    transport = np.asarray(transport, dtype=np.float32)
    finite = np.isfinite(transport)
    everywhere = bool(finite.all())
    level_sets = LevelSets(areas, wraps=grid.wraps)
    if finite.any():
        for half_width in np.unique(members.half_width_deg):
            own = members.half_width_deg == half_width
            factor = damping(grid.lat, half_width / HALF_WIDTH_OVER_SIGMA)
            damped = transport * factor[:, None].astype(np.float32)
            values = damped.ravel() if everywhere else damped[finite]
            thresholds = _thresholds(values, members.percentile[own])
            level_sets.add(damped, thresholds, members.min_area_km2[own])
    return level_sets.counts().astype(np.float32) / np.float32(members.percentile.size)


def _thresholds(values: NDArray[np.float32], percentile: FloatArray) -> NDArray[np.float32]:
    """Least values that reach percentiles of the values, between two by linear interpolation."""
    position = (values.size - 1) * percentile / 100.0
    below = position.astype(np.intp)
    above = np.minimum(below + 1, values.size - 1)
    lowest = int(below.min())
    # Only what lies above the lowest percentile is sorted.
    top = np.sort(np.partition(values, lowest)[lowest:]).astype(np.float64)
    low, high = top[below - lowest], top[above - lowest]
    exact = low + (high - low) * (position - below)
    rounded = exact.astype(np.float32)
    up = np.nextafter(rounded, np.float32(np.inf))
    # The next number of the field's precision, so that a cell between the two stays below; where
    # most of the field is zero, its dry cells must not make one river.
    tiny = np.finfo(np.float32).tiny
    return np.asarray(np.maximum(np.where(rounded < exact, up, rounded), tiny))
