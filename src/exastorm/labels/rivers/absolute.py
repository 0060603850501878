"""Atmospheric rivers by one threshold of moisture for all places and seasons, and by their shape.

Cells outside the tropics with enough vapor transport (250 kg m-1 s-1: Rutz et al. 2014, Monthly
Weather Review 142) or enough precipitable water (20 kg m-2: Ralph et al. 2004, Monthly Weather
Review 132) that touch over edges or corners are one object, and a long, narrow object is a river.
Length is that of the object's own axis, width is area over length (`shape`).

What one threshold for all can't do: in a warm climate or season, air at the edge of the tropics is
moist everywhere, and rivers that leave it are part of a belt that is too wide to be one.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2
from exastorm.labels.rivers.nearby import highest_near, objects_near
from exastorm.labels.rivers.object_cells import may_reach
from exastorm.labels.rivers.shape import Shape, measure_object
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, Rivers, Verdict
from exastorm.labels.transport import moisture_fields, moisture_values
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels, RegionBox, keep_regions, label_regions, region_boxes


@dataclass(frozen=True, kw_only=True)
class AbsoluteRiverRules:
    """Thresholds of atmospheric rivers by vapor transport or precipitable water."""

    moisture: Literal["IVT", "IWV"] = "IVT"
    """What makes a cell moist: vapor transport (IVT) or precipitable water (IWV, from TMQ)."""
    min_transport_kg_m_s: float = 250.0
    """Least vapor transport where `moisture` is IVT, kg m-1 s-1 (Rutz et al. 2014)."""
    min_water_kg_m2: float = 20.0
    """Least precipitable water where `moisture` is IWV, kg m-2 (2 cm, Ralph et al. 2004)."""
    min_length_km: float = 2000.0
    """Least length of a river, km (Ralph et al. 2004; Rutz et al. 2014)."""
    max_width_km: float = 1000.0
    """Greatest width of a river, km (Ralph et al. 2004)."""
    min_lat_deg: float = 20.0
    """Cells nearer to the equator belong to no river, degrees of latitude (the code of
    SCAFET; the papers above look at regions outside the tropics)."""

    def __post_init__(self) -> None:
        if self.moisture not in ("IVT", "IWV"):
            raise ValueError(f"moisture must be 'IVT' or 'IWV', got {self.moisture!r}")
        for name in ("min_transport_kg_m_s", "min_water_kg_m2", "min_length_km", "max_width_km"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.min_lat_deg < 90:
            raise ValueError(f"min_lat_deg must be in [0, 90), got {self.min_lat_deg}")

    @property
    def min_moisture(self) -> float:
        """The threshold of the moisture that is looked at, in its unit."""
        return self.min_transport_kg_m_s if self.moisture == "IVT" else self.min_water_kg_m2

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        if self.moisture == "IWV":
            return (
                FieldPlan(("TMQ",))
                if "TMQ" in available
                else FieldPlan((), "the archive lacks TMQ")
            )
        fields = moisture_fields(available, "IVT")
        if fields:
            return FieldPlan(fields)
        # The threshold is in kg m-1 s-1, so no proxy of vapor transport may stand in.
        return FieldPlan(
            (),
            "the archive lacks IVTX and IVTY (or IVT), and the threshold is one of vapor transport"
            + ("; moisture 'IWV' reads TMQ" if "TMQ" in available else ""),
        )

    def find(self, fields: Fields, grid: Surroundings) -> Rivers:
        """The rivers of one snapshot."""
        objects = _Objects.of(self._moist(self._values(fields), grid), grid)
        shapes = {
            index: objects.shape(index)
            for index in (np.flatnonzero(objects.may_reach(self.min_length_km)) + 1).tolist()
        }
        rivers = [index for index, shape in shapes.items() if self._is_river(shape)]
        keep = np.zeros(objects.num, dtype=bool)
        keep[[index - 1 for index in rivers]] = True
        return Rivers(
            keep_regions(objects.labels, keep),
            np.array([shapes[index].area_km2 for index in rivers]),
            np.array([shapes[index].length_km for index in rivers]),
        )

    def members(self) -> "list[AbsoluteRiverRules]":
        """Published thresholds, the loosest first.

        Of vapor transport 250 and 500 kg m-1 s-1 (Wick, Reid: algorithms of ARTMIP), of
        precipitable water 20 kg m-2 alone.
        """
        if self.moisture == "IWV":
            return [replace(self, min_water_kg_m2=20.0)]
        return [replace(self, min_transport_kg_m_s=least) for least in (250.0, 500.0)]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the moist objects near a place, the nearest first.

        Where there are none, on the moistest cell near it.
        """
        values = self._values(fields)
        objects = _Objects.of(self._moist(values, grid), grid)
        verdicts = []
        for index, cell in objects_near(objects.labels, grid, lat, lon, within_deg).items():
            most = float(values[objects.labels == index].max())
            verdicts.append(self._verdict("moist object", grid, cell, most, objects.shape(index)))
        if verdicts:
            return verdicts
        return [
            self._verdict("moistest cell", grid, cell, float(values[cell]), None)
            for cell in highest_near(values, grid, lat, lon, within_deg)
        ]

    def _verdict(
        self, what: str, grid: Surroundings, cell: tuple[int, int], most: float, shape: Shape | None
    ) -> Verdict:
        lat, lon = float(grid.lat[cell[0]]), float(grid.lon[cell[1]])
        length_km, width_km = (shape.length_km, shape.width_km) if shape else (math.nan, math.nan)
        least = self.min_moisture
        named = {"IVT": "vapor transport, kg m-1 s-1", "IWV": "precipitable water, kg m-2"}
        away = "distance from the equator, degrees"
        checks = (
            Check(f"highest {named[self.moisture]}", most, least, most >= least),
            Check(away, abs(lat), self.min_lat_deg, abs(lat) >= self.min_lat_deg),
            Check("length, km", length_km, self.min_length_km, length_km >= self.min_length_km),
            Check("width, km", width_km, self.max_width_km, width_km <= self.max_width_km, "<="),
        )
        return Verdict(what, lat, lon, checks)

    def _values(self, fields: Fields) -> NDArray[np.floating[Any]]:
        """The moisture that is looked at, (H, W)."""
        return fields["TMQ"] if self.moisture == "IWV" else moisture_values(fields, "IVT")

    def _moist(self, values: NDArray[np.floating[Any]], grid: Surroundings) -> NDArray[np.bool_]:
        """Moist cells (H, W) outside the tropics; a missing value is never moist."""
        away = np.abs(grid.lat) >= self.min_lat_deg
        return np.asarray((values >= self.min_moisture) & away[:, None])

    def _is_river(self, shape: Shape) -> bool:
        return shape.length_km >= self.min_length_km and shape.width_km <= self.max_width_km


@dataclass(frozen=True, eq=False)
class _Objects:
    """The connected objects of a mask, to be measured one by one."""

    labels: Labels
    num: int
    boxes: list[RegionBox]
    grid: Surroundings
    areas_km2: NDArray[np.float64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], grid: Surroundings) -> "_Objects":
        """The objects of a mask (H, W)."""
        labels, num = label_regions(mask, wrap=grid.wraps)
        boxes = region_boxes(labels, num, wrap=grid.wraps)
        return cls(labels, num, boxes, grid, cell_areas_km2(grid.lat, grid.lon))

    def may_reach(self, length_km: float) -> NDArray[np.bool_]:
        """Which objects (num,) have cells enough to be so long."""
        return may_reach(self.labels, self.num, self.grid, length_km)

    def shape(self, index: int) -> Shape:
        """Measures of one object."""
        box = self.boxes[index - 1]
        return measure_object(self.labels, index, box, self.grid, self.areas_km2)
