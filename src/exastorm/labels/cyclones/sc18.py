"""Tropical-cyclone centers in a single snapshot, after the rule of the SC18 labels.

The SC18 labels take their centers from TECA, whose detector is GFDL's (Vitart et al. 1997):
a maximum of 850 hPa vorticity, beside it a minimum of sea-level pressure that is closed, and over
that a warm core that is closed too. "Closed" means: from the center the field rises (or falls)
by at least a threshold within a radius along each of eight great circles.

This is the form that needs no second snapshot, for archives that are not in the order of time, such
as DeepCAM's: the wind threshold of the track rules is applied to every snapshot, and all
distances are great-circle distances. `exastorm.labels.cyclones.teca` has the detector with its
track rules as published.
"""

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.centers import NAN, CycloneCenter
from exastorm.labels.cyclones.low_wind import choose_wind, low_wind
from exastorm.labels.cyclones.sc18_criteria import (
    apart,
    apart_check,
    as_centers,
    checks,
    is_cyclone,
    latitude_check,
)
from exastorm.labels.cyclones.sc18_thresholds import Sc18Thresholds
from exastorm.labels.cyclones.teca_sets import (
    EXPLAINED_VORTICITY_PER_S,
    NEEDED,
    PUBLISHED_SETS,
    THICKNESS,
)
from exastorm.labels.cyclones.wind_radii import wind_radii_deg
from exastorm.labels.rule_sets import FieldPlan, Fields, TrackVerdict, Verdict
from exastorm.linking.points import PointLinker
from exastorm.physics.surroundings import Surroundings
from exastorm.physics.warm_core import core_temperature, thickness
from exastorm.physics.wind import vorticity


@dataclass(frozen=True, kw_only=True)
class Sc18CycloneRules(Sc18Thresholds):
    """Cyclones of single snapshots: TECA's thresholds (Kurth et al. 2018, labels_0)."""

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        lacking = [name for name in NEEDED if name not in available]
        if lacking:
            return FieldPlan((), f"the archive lacks {', '.join(lacking)}")
        wind = choose_wind(available, "lowest", convert=self.convert_wind)
        assert wind is not None, "U850 and V850 are there"
        notes = {} if not wind.note else {"low_level_wind": wind.note}
        missing = [n for n in THICKNESS if n not in available]
        if missing:
            notes["thickness_test"] = f"not made, only the warm core: lacks {', '.join(missing)}"
        thickness_fields = () if missing else THICKNESS
        return FieldPlan((*NEEDED, *wind.names, *thickness_fields), "", notes)

    def find(self, fields: Fields, grid: Surroundings) -> list[CycloneCenter]:
        """Centers that meet the thresholds, the most vortical first."""
        return [c for c in find_centers(fields, grid, self) if is_cyclone(c, self)]

    def select(self, centers: pd.DataFrame) -> NDArray[np.int64]:
        """Number of the storm of each center; of two that are too close, the deepest counts."""
        found = as_centers(centers)
        steps, hours = centers["step"].to_numpy(), centers["hour"].to_numpy()
        meets = np.flatnonzero([is_cyclone(one, self) for one in found])
        ids = np.full(len(centers), -1, dtype=np.int64)
        linker, reach = PointLinker(), self._reach_deg(centers)
        # Plain arrays: a table's own grouping copies its attributes for every group.
        for here in np.split(meets, np.flatnonzero(np.diff(steps[meets])) + 1):
            if here.size:
                kept = here[apart([found[n] for n in here.tolist()], reach)]
                lat, lon = ([getattr(found[n], k) for n in kept.tolist()] for k in ("lat", "lon"))
                ids[kept] = linker.link(float(hours[kept[0]]), lat, lon)
        return ids

    def members(self) -> list["Sc18CycloneRules"]:
        """The published sets of TECA's thresholds, the loosest first, scaled to this grid."""
        vorticity, rise, warmth = PUBLISHED_SETS["default"]
        return [
            replace(
                self,
                min_vorticity_per_s=self.min_vorticity_per_s * (v / vorticity),
                min_pressure_rise_pa=self.min_pressure_rise_pa * (p / rise),
                min_warm_core_k=self.min_warm_core_k * (k / warmth),
            )
            for v, p, k in PUBLISHED_SETS.values()
        ]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the pressure minima beside the vorticity maxima near a place."""
        diagnosed = diagnose(fields, grid, self)
        everywhere = replace(
            self, min_vorticity_per_s=EXPLAINED_VORTICITY_PER_S, max_latitude_deg=90.0
        )
        near: dict[tuple[int, int], tuple[float, Verdict]] = {}
        maxima = vorticity_maxima(diagnosed.turning, grid, everywhere)
        # Those that `find` looks at come first: of two at one minimum it takes one of them.
        maxima.sort(key=lambda place: abs(grid.lat[place[0]]) > self.max_latitude_deg)
        for row, column in maxima:
            place = grid.lowest_within(diagnosed.pressure, row, column, self.core_reach_deg(grid))
            at = float(grid.lat[place[0]]), float(grid.lon[place[1]])
            away = float(great_circle_km(*at, lat, lon)) / KM_PER_DEGREE
            minimum = _is_minimum(diagnosed.pressure, grid, place)
            if away > within_deg or place in near or not minimum:
                continue
            turning = float(diagnosed.turning[row, column])
            center = measure_center(diagnosed, grid, self, place, turning)
            latitude = latitude_check(float(grid.lat[row]), self)
            verdict = Verdict(EXPLAINED, *at, (latitude, *checks(center, self)))
            near[place] = (away, verdict)
        return [verdict for _, verdict in sorted(near.values(), key=itemgetter(0))]

    def longest_gap_hours(self) -> float:
        """Each snapshot is judged alone."""
        return 0.0

    def explain_track(self, centers: pd.DataFrame, row: int) -> TrackVerdict:
        """How far the next deeper center is; tracks are not asked about."""
        here = (centers["step"] == centers["step"].iloc[row]).to_numpy()
        rows = [
            n
            for n in np.flatnonzero(here).tolist()
            if is_cyclone(as_centers(centers.iloc[[n]])[0], self)
        ]
        others = as_centers(centers.iloc[rows])
        check = apart_check(others, rows.index(row), self._reach_deg(centers))
        return TrackVerdict((row,), (check,))

    def _reach_deg(self, centers: pd.DataFrame) -> float:
        """Centers of a table that are closer than this are one storm, degrees."""
        return max(self.max_core_distance_deg, 1.5 * float(centers.attrs["spacing_deg"]))


EXPLAINED = "pressure minimum beside a vorticity maximum"


class CycloneFields(NamedTuple):
    """What the rules look at, (H, W) each.

    Attributes:
        turning: Cyclonic 850 hPa vorticity, s-1: positive in both hemispheres.
        pressure: Sea-level pressure, Pa.
        cold: Negative of the mean of T200 and T500, K, so that a warm core is a minimum.
        shallow: Negative of the thickness, m; None where the archive lacks it.
        wind: Low-level wind speed, m s-1.
    """

    turning: NDArray[np.floating[Any]]
    pressure: NDArray[np.floating[Any]]
    cold: NDArray[np.floating[Any]]
    shallow: NDArray[np.floating[Any]] | None
    wind: NDArray[np.floating[Any]]


def diagnose(fields: Fields, grid: Surroundings, rules: Sc18CycloneRules) -> CycloneFields:
    """From the fields of one snapshot to those that the rules look at."""
    turning = vorticity(fields["U850"], fields["V850"], grid.lat, grid.lon)
    turning *= np.sign(grid.lat)[:, None].astype(turning.dtype)
    has_thickness = set(THICKNESS) <= set(fields)
    return CycloneFields(
        turning=turning,
        pressure=fields["PSL"],
        cold=-core_temperature(fields["T200"], fields["T500"]),
        shallow=-thickness(fields["Z200"], fields["Z1000"]) if has_thickness else None,
        wind=low_wind(fields, "lowest", convert=rules.convert_wind),
    )


def find_centers(
    fields: Fields, grid: Surroundings, rules: Sc18CycloneRules
) -> list[CycloneCenter]:
    """Measure every pressure minimum beside a vorticity maximum of one snapshot.

    Args:
        fields: The fields of `NEEDED`, if present those of `THICKNESS`, and a low-level wind,
            (H, W) each, in the units of `exastorm.variables`.
        grid: The grid they are on.
        rules: Thresholds; of these vorticity, latitude and pressure are applied.

    Returns:
        Centers, the most vortical first.
    """
    diagnosed = diagnose(fields, grid, rules)
    reach = rules.core_reach_deg(grid)
    found: dict[tuple[int, int], CycloneCenter] = {}
    for row, column in vorticity_maxima(diagnosed.turning, grid, rules):
        place = grid.lowest_within(diagnosed.pressure, row, column, reach)
        if place in found or not _is_minimum(diagnosed.pressure, grid, place):
            continue
        rise = grid.weakest_rise(diagnosed.pressure, *place, rules.pressure_radius_deg)
        if rise >= rules.min_pressure_rise_pa:
            turning = float(diagnosed.turning[row, column])
            found[place] = measure_center(diagnosed, grid, rules, place, turning)
    return list(found.values())


def measure_center(
    diagnosed: CycloneFields,
    grid: Surroundings,
    rules: Sc18CycloneRules,
    place: tuple[int, int],
    vorticity_per_s: float,
) -> CycloneCenter:
    """Measure all that the rules ask about the pressure minimum at a row and column."""
    reach = rules.core_reach_deg(grid)
    warmest = grid.lowest_within(diagnosed.cold, *place, reach)
    fall_m = NAN
    if diagnosed.shallow is not None:
        thickest = grid.lowest_within(diagnosed.shallow, *place, reach)
        fall_m = _known(grid.weakest_rise(diagnosed.shallow, *thickest, rules.thickness_radius_deg))
    pressure = diagnosed.pressure
    return CycloneCenter(
        *place,
        float(grid.lat[place[0]]),
        float(grid.lon[place[1]]),
        float(pressure[place]),
        grid.weakest_rise(pressure, *place, rules.pressure_radius_deg),
        vorticity_per_s,
        _known(grid.weakest_rise(diagnosed.cold, *warmest, rules.warm_core_radius_deg)),
        fall_m,
        grid.highest_value(diagnosed.wind, *place, rules.vorticity_radius_deg),
        NAN,
        *wind_radii_deg(diagnosed.wind, grid, place),
    )


def vorticity_maxima(
    turning: Any, grid: Surroundings, rules: Sc18CycloneRules
) -> list[tuple[int, int]]:
    """Rows and columns of the maxima of cyclonic vorticity over the threshold, highest first.

    A maximum is not exceeded by any cell within `vorticity_radius_deg`.
    """
    searched = np.abs(grid.lat) <= rules.max_latitude_deg
    threshold = np.where(searched, rules.min_vorticity_per_s, np.inf)
    rows, columns = np.nonzero(turning >= threshold[:, None].astype(turning.dtype))
    values = turning[rows, columns]
    # Most cells fall to one that touches them; only the rest are compared with a whole disc.
    peaks = np.flatnonzero(values >= np.fmax.reduce(turning[grid.touching(rows, columns)], axis=1))
    found = []
    for n in peaks[np.argsort(-values[peaks], kind="stable")]:
        row, column = int(rows[n]), int(columns[n])
        if values[n] >= grid.highest_value(turning, row, column, rules.vorticity_radius_deg):
            found.append((row, column))
    return found


def _is_minimum(field: Any, grid: Surroundings, place: tuple[int, int]) -> bool:
    """Whether no touching cell is lower.

    The lowest cell within a radius is none where the field goes on falling outside.
    """
    return not np.any(field[grid.touching(*place)] < field[place])


def _known(fall: float) -> float:
    """A fall that missing values hide counts as none; NaN is kept for fields that are not there."""
    return 0.0 if np.isnan(fall) else fall
