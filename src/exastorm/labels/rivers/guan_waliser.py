"""Atmospheric rivers by strong transport for the place and season: the rule of Guan and Waliser.

A cell is flagged where vapor transport reaches the 85th percentile of its place and season
(`exastorm.labels.climatology`), and 100 kg m-1 s-1 where that is less. What touches over edges or
corners is one object. It is a river if its transport goes one way, toward the pole and along the
object, and it is longer than 2000 km and twice as long as wide (Guan and Waliser 2015, Journal of
Geophysical Research: Atmospheres 120).

Length and width are those of the object's own axis (`exastorm.labels.rivers.shape`), directions
are compared at its center (`exastorm.labels.rivers.directions`), and shares are of its area instead
of its cells, which on a latitude-longitude grid are the smaller the nearer to the pole.
"""

from dataclasses import dataclass, replace

import numpy as np

from exastorm.errors import InputError
from exastorm.labels.climatology import ClimatologyRequest, percentile_field
from exastorm.labels.rivers.directions import UNKNOWN, Directions
from exastorm.labels.rivers.nearby import Cell, highest_near, objects_near
from exastorm.labels.rivers.shape import UNMEASURED, Shape
from exastorm.labels.rivers.transport_objects import TransportObjects
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, Rivers, Verdict
from exastorm.labels.transport import (
    WINDS,
    Moisture,
    check_moisture,
    direction_fields,
    lacking_moisture,
    moisture_fields,
)
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import keep_regions
from exastorm.variables import VARIABLES

PERCENTILES = (85.0, 87.5, 90.0, 92.5, 95.0)
"""Percentiles of the refined rule (Guan and Waliser 2019, Journal of Geophysical Research:
Atmospheres 124: steps of 2.5 from the 85th to the 95th)."""

COLUMN_OVER_SURFACE_KG_M2 = 2465.0
"""Vapor transport over QV850, kg m-2: precipitable water over humidity at 2 m, from their means
over ClimateNet's training set, 19.2 kg m-2 and 7.79e-3 kg kg-1 (Prabhat et al. 2021)."""

FLOOR_DIVISORS: dict[Moisture, float] = {
    "IVT": 1.0,
    "TMQV850": 1.0,
    "QV850": COLUMN_OVER_SURFACE_KG_M2,
}
"""What a floor in kg m-1 s-1 is divided by for each measure."""


@dataclass(frozen=True, kw_only=True)
class GuanWaliserRules:
    """Thresholds of the river rule of Guan and Waliser (2015)."""

    moisture: Moisture = "IVT"
    """What is looked at: IVT, or a proxy (TMQV850, QV850) for archives without it, whose direction
    is that of the 850 hPa wind."""
    percentile: float = 85.0
    """Local seasonal percentile that transport must reach, percent (Guan and Waliser 2015)."""
    climatology: str | None = None
    """File with the percentiles, made before from a longer archive; unset: from the archive. Python
    makes one: `from exastorm.labels.climatology import seasonal_percentiles`, then
    `seasonal_percentiles(exastorm.open("longer/*.nc"), "IVT", (85.0,)).save("longer.nc")`, for soft
    labels with (85.0, 87.5, 90.0, 92.5, 95.0)."""
    min_transport_kg_m_s: float = 100.0
    """Least transport, kg m-1 s-1 (Guan and Waliser 2015). Of TMQV850 as it is, of QV850 divided by
    2465 kg m-2; both untuned."""
    max_spread_deg: float = 45.0
    """Angle to the mean transport within which a cell counts as along it, degrees (Guan and Waliser
    2015)."""
    min_coherent_share: float = 0.5
    """Least share of the area along the mean transport (Guan and Waliser 2015: half the cells)."""
    min_poleward_kg_m_s: float = 50.0
    """Mean transport toward the pole is more than this, kg m-1 s-1 (Guan and Waliser 2015); of a
    proxy as `min_transport_kg_m_s`."""
    max_axis_angle_deg: float = 45.0
    """Greatest angle between mean transport and axis, degrees (Guan and Waliser 2015)."""
    min_length_km: float = 2000.0
    """A river is longer than this, km (Guan and Waliser 2015)."""
    min_length_over_width: float = 2.0
    """Length over width is more than this (Guan and Waliser 2015)."""

    def __post_init__(self) -> None:
        check_moisture(self.moisture)
        # Below 1 it is nearly always a share by mistake: 0.85 for 85.
        if not 1 <= self.percentile < 100:
            raise ValueError(f"percentile must be between 1 and 100, got {self.percentile}")
        if np.isnan(self.min_poleward_kg_m_s):
            raise ValueError("min_poleward_kg_m_s must be a number, got nan")
        if not 0 <= self.min_coherent_share <= 1:
            raise ValueError(f"min_coherent_share must be in [0, 1], got {self.min_coherent_share}")
        for name in ("max_spread_deg", "max_axis_angle_deg"):
            if not 0 < getattr(self, name) <= 180:
                raise ValueError(f"{name} must be in (0, 180], got {getattr(self, name)}")
        for name in ("min_transport_kg_m_s", "min_length_km", "min_length_over_width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available, besides the climatology."""
        names = moisture_fields(available, self.moisture)
        if not names:
            return FieldPlan((), lacking_moisture(available, self.moisture))
        directed = direction_fields(available, self.moisture)
        notes = {}
        if self.moisture != "IVT":
            floors = f"{self.min_transport_kg_m_s:g} and {self.min_poleward_kg_m_s:g} kg m-1 s-1"
            divided = FLOOR_DIVISORS[self.moisture]
            told = f" divided by {divided:g} kg m-2" if divided != 1 else ""
            notes["guan_waliser_moisture"] = (
                f"{self.moisture} stands in for vapor transport, with floors of {floors}{told},"
                " untuned"
            )
        if not directed:
            notes["guan_waliser_direction"] = (
                "not tested: the archive lacks IVTX and IVTY, and U850 and V850"
            )
        elif directed == WINDS and self.moisture == "IVT":
            notes["guan_waliser_direction"] = "of the 850 hPa wind: the archive lacks IVTX and IVTY"
        return FieldPlan(tuple(dict.fromkeys((*names, *directed))), notes=notes)

    def climatology_request(self, *, ensemble: bool = False) -> ClimatologyRequest:
        """Which local percentiles `find` needs beside the fields, or `find` of all members."""
        wanted = PERCENTILES if ensemble else ()
        percentiles = tuple(sorted({self.percentile, *wanted}))
        return ClimatologyRequest(
            moisture=self.moisture, percentiles=percentiles, file=self.climatology
        )

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot; missing values are no river's.

        Args:
            fields: The fields of `plan`, and the local percentiles of the snapshot's month under
                the name of `climatology_request`, (H, W) each.
            grid: The grid they are on.

        Raises:
            InputError: Without the local percentiles.
        """
        objects = self._objects(fields, grid)
        keep = np.zeros(objects.num, dtype=bool)
        shapes = []
        for index in objects.long_enough(self.min_length_km):
            flow = objects.directions(index, self.max_spread_deg)
            # Directions cost less than a shape and turn most objects away.
            if not all(check.passed for check in self._flow_checks(flow)):
                continue
            shape = objects.shape(index)
            if all(check.passed for check in self._shape_checks(shape, flow)):
                keep[index - 1] = True
                shapes.append(shape)
        return Rivers(
            keep_regions(objects.labels, keep),
            np.array([shape.area_km2 for shape in shapes]),
            np.array([shape.length_km for shape in shapes]),
        )

    def members(self) -> "list[GuanWaliserRules]":
        """One for each percentile of the refined rule, the loosest first."""
        return [replace(self, percentile=percentile) for percentile in PERCENTILES]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the objects of strong transport near a place, the nearest first.

        Where there are none, on the cell whose transport is highest over its threshold.
        """
        objects = self._objects(fields, grid)

        def verdict(
            what: str, cell: Cell, strongest: int, flow: Directions | None, shape: Shape
        ) -> Verdict:
            value = float(objects.transport.flat[strongest])
            threshold = float(objects.threshold.flat[strongest])
            named = f"{self.moisture} at the strongest cell, {VARIABLES[self.moisture].units}"
            intensity = Check(named, value, threshold, value >= threshold)
            checks = intensity, *self._flow_checks(flow), *self._shape_checks(shape, flow)
            return Verdict(what, float(grid.lat[cell[0]]), float(grid.lon[cell[1]]), checks)

        verdicts = []
        for index, cell in objects_near(objects.labels, grid, lat, lon, within_deg).items():
            strongest = int(np.where(objects.labels == index, objects.transport, -np.inf).argmax())
            measured = objects.directions(index, self.max_spread_deg), objects.shape(index)
            verdicts.append(verdict("object of strong transport", cell, strongest, *measured))
        if verdicts:
            return verdicts
        flow = UNKNOWN if objects.knows_directions else None
        over = objects.transport / objects.threshold
        return [
            verdict("strongest cell", cell, cell[0] * grid.lon.size + cell[1], flow, UNMEASURED)
            for cell in highest_near(over, grid, lat, lon, within_deg)
        ]

    def _objects(self, fields: Fields, grid: Surroundings) -> TransportObjects:
        name = percentile_field(self.moisture, self.percentile)
        if name not in fields:
            raise InputError(
                "must have the local percentiles (exastorm.labels.climatology), got"
                f" {', '.join(sorted(fields))}",
                variable=name,
            )
        floor = np.float32(self.floor(self.min_transport_kg_m_s))
        # A place without a climatology has no rivers: the maximum with a missing value is missing.
        return TransportObjects(fields, grid, self.moisture, np.maximum(fields[name], floor))

    def floor(self, kg_m_s: float) -> float:
        """A floor in kg m-1 s-1 of vapor transport, in the unit of what is looked at."""
        return kg_m_s / FLOOR_DIVISORS[self.moisture]

    def _flow_checks(self, flow: Directions | None) -> tuple[Check, ...]:
        """The criteria for the transport alone; none where its direction is not known."""
        if flow is None:
            return ()
        share, least = flow.coherence, self.min_coherent_share
        poleward = f"mean transport toward the pole, {VARIABLES[self.moisture].units}"
        return (
            Check("share along the mean transport, 1", share, least, share >= least),
            _more(poleward, flow.poleward, self.floor(self.min_poleward_kg_m_s)),
        )

    def _shape_checks(self, shape: Shape, flow: Directions | None) -> tuple[Check, ...]:
        """The criteria for the shape, and for how the transport lies in it."""
        ratio = shape.length_km / shape.width_km
        geometry = (
            _more("length, km", shape.length_km, self.min_length_km),
            _more("length over width, 1", ratio, self.min_length_over_width),
        )
        if flow is None:
            return geometry
        turn = abs(flow.angle_deg - shape.orientation_deg) % 180.0
        turn, most = min(turn, 180.0 - turn), self.max_axis_angle_deg
        what = "angle of mean transport and axis, degrees"
        return (Check(what, turn, most, turn <= most, "<="), *geometry)


def _more(criterion: str, value: float, threshold: float) -> Check:
    return Check(criterion, value, threshold, value > threshold, ">")
