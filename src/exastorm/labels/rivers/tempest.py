"""Atmospheric rivers where vapor transport is ridged: the rule of TempestExtremes' DetectBlobs.

A cell belongs to a ridge where the Laplacian of vapor transport, over a ring of points at a
great-circle distance, lies at or below a threshold, away from the tropics; cells that touch over
edges are one object, and an object with a large enough area is a river. Nothing is asked about
length or width.

The mask is that of `DetectBlobs --thresholdcmd "_LAPLACIAN{8,10}(_VECMAG(IVTX,IVTY)),<=,-20000,0"
--minabslat 15 --geofiltercmd "area,>=,850000km2"` (TempestExtremes 80d2b54) to the last cell: see
`exastorm.physics.laplacian` for the numbers, `exastorm.labels.rivers.tempest_grid` for areas and
edges of a grid, which can be had corrected. Other than there, a cell is no river's if a value
that its Laplacian needs is missing; there missing values count as no transport, which makes ridges
around them.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.rivers.nearby import highest_near, objects_near
from exastorm.labels.rivers.tempest_grid import label_blobs, sphere_areas
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, Rivers, Verdict
from exastorm.physics.laplacian import laplacian, reaches_latitude
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels, keep_regions

EARTH_RADIUS_KM = 6371.22
"""Radius by which TempestExtremes turns km2 into steradians, km (src/base/Constants.h)."""

LACKING = (
    "the archive lacks IVTX and IVTY (or IVT): the threshold is one of vapor transport in"
    " kg m-1 s-1, and a proxy such as TMQ times wind has other values"
)


@dataclass(frozen=True, kw_only=True)
class TempestRiverRules:
    """Thresholds of atmospheric rivers by the Laplacian of vapor transport (TempestExtremes)."""

    num_points: int = 8
    """Number of points on the ring of the Laplacian (Ullrich et al. 2021, Geosci. Model Dev. 14,
    5023)."""
    distance_deg: float = 10.0
    """Great-circle distance of the ring, degrees (Ullrich et al. 2021)."""
    max_laplacian: float = -20000.0
    """A cell of a ridge has at most this Laplacian, kg m-1 s-1 rad-2 (Ullrich et al. 2021; scripts
    for ERA5 and regional grids have -30000)."""
    min_lat_deg: float = 15.0
    """Cells nearer to the equator belong to no river, degrees of latitude (Ullrich et al. 2021;
    scripts for ERA5 have 20)."""
    min_area_km2: float = 850000.0
    """Least area of a river, km2 (public scripts for ERA5, with -30000; others have 400000)."""
    corners_touch: bool = False
    """Whether cells that share a corner are one object (DetectBlobs --diag_connect)."""
    edges: Literal["tempest", "corrected"] = "tempest"
    """Whether the edges of a grid are taken as DetectBlobs does (cells of the first and last
    column of a regional grid join to no side by themselves; the first and last row of a grid that
    goes round the globe reach to the poles) or as any other cells."""

    def __post_init__(self) -> None:
        if self.num_points < 3:
            raise ValueError(f"num_points must be at least 3, got {self.num_points}")
        if not 0 < self.distance_deg < 90:
            raise ValueError(f"distance_deg must be in (0, 90), got {self.distance_deg}")
        if not self.max_laplacian < 0:
            raise ValueError(f"max_laplacian must be negative, got {self.max_laplacian}")
        if not 0 <= self.min_lat_deg < 90:
            raise ValueError(f"min_lat_deg must be in [0, 90), got {self.min_lat_deg}")
        if not self.min_area_km2 >= 0:
            raise ValueError(f"min_area_km2 must not be negative, got {self.min_area_km2}")
        if self.edges not in ("tempest", "corrected"):
            raise ValueError(f"edges must be 'tempest' or 'corrected', got {self.edges!r}")

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        if {"IVTX", "IVTY"} <= available:
            return FieldPlan(("IVTX", "IVTY"))
        return FieldPlan(("IVT",)) if "IVT" in available else FieldPlan((), LACKING)

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot; their length is not measured."""
        labels, areas = self._blobs(self._laplacian(fields, grid), grid)
        is_river = areas >= self._least_area()
        mask = keep_regions(labels, is_river)
        area_km2 = areas[is_river] * EARTH_RADIUS_KM**2
        return Rivers(mask, area_km2, np.full(area_km2.size, np.nan))

    def members(self) -> "list[TempestRiverRules]":
        """The thresholds in public use, the loosest first.

        -20000 from 15 degrees on and 400000 km2 (scripts for CESM and ERA5 after Ullrich et al.
        2021), the same with 850000 km2, and -30000 from 20 degrees on with either (scripts for
        ERA5).
        """
        return [
            replace(self, max_laplacian=strength, min_lat_deg=lat, min_area_km2=area)
            for strength, lat in ((-20000.0, 15.0), (-30000.0, 20.0))
            for area in (400000.0, 850000.0)
        ]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the ridges near a place, the nearest first.

        Where there are none, on the lowest Laplacian near it.
        """
        values = self._laplacian(fields, grid)
        labels, areas = self._blobs(values, grid)
        verdicts = []
        for index, (row, column) in objects_near(labels, grid, lat, lon, within_deg).items():
            lowest = float(values[labels == index].min())
            area = float(areas[index - 1])
            verdicts.append(self._verdict("ridge", grid, (row, column), lowest, area))
        if verdicts:
            return verdicts
        everywhere = replace(self, min_lat_deg=0.0)._laplacian(fields, grid)
        return [
            self._verdict("lowest value", grid, cell, float(everywhere[cell]), math.nan)
            for cell in highest_near(-everywhere, grid, lat, lon, within_deg)
        ]

    def _verdict(
        self, what: str, grid: Surroundings, cell: tuple[int, int], lowest: float, area: float
    ) -> Verdict:
        lat = float(grid.lat[cell[0]])
        strength = "lowest Laplacian of vapor transport, kg m-1 s-1 rad-2"
        checks = (
            Check(
                "distance from the equator, degrees",
                abs(lat),
                self.min_lat_deg,
                bool(reaches_latitude(np.array([lat]), self.min_lat_deg)[0]),
            ),
            Check(strength, lowest, self.max_laplacian, lowest <= self.max_laplacian, "<="),
            Check(
                "area, km2",
                area * EARTH_RADIUS_KM**2,
                self.min_area_km2,
                area >= self._least_area(),
            ),
        )
        return Verdict(what, lat, float(grid.lon[cell[1]]), checks)

    def _laplacian(self, fields: Fields, grid: Surroundings) -> NDArray[np.float32]:
        """Laplacian of vapor transport (H, W), NaN nearer to the equator than allowed."""
        return laplacian(
            transport(fields),
            grid,
            num_points=self.num_points,
            distance_deg=self.distance_deg,
            min_lat_deg=self.min_lat_deg,
        )

    def _blobs(
        self, values: NDArray[np.float32], grid: Surroundings
    ) -> tuple[Labels, NDArray[np.float64]]:
        """Objects of the snapshot and the area of each, steradians."""
        # In single precision, at or below a threshold is at or below the next number under it.
        threshold = np.float32(self.max_laplacian)
        if float(threshold) > self.max_laplacian:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        labels, num = label_blobs(values <= threshold, grid, self.corners_touch, self.edges)
        cells = np.flatnonzero(labels)
        areas = sphere_areas(grid, self.edges).ravel()[cells]
        sums = np.bincount(labels.ravel()[cells], areas, minlength=num + 1)
        return labels, np.asarray(sums[1:], dtype=np.float64)

    def _least_area(self) -> float:
        """The least area in steradians, in the order of operations of TempestExtremes."""
        radius_m = 1000.0 * EARTH_RADIUS_KM
        return self.min_area_km2 * (1000.0 * 1000.0 / (radius_m * radius_m))


def transport(fields: Fields) -> NDArray[np.float32]:
    """Magnitude of vapor transport, float32, squared, summed and rooted in single precision."""
    if "IVT" in fields and "IVTX" not in fields:
        return np.asarray(fields["IVT"], dtype=np.float32)
    x, y = (np.asarray(fields[name], dtype=np.float32) for name in ("IVTX", "IVTY"))
    return np.asarray(np.sqrt(x * x + y * y))
