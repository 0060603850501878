"""Candidates of one snapshot by the criteria of TempestExtremes, measured and judged.

The tests run from the cheap to the dear: minima, merging, a look straight north, south, east and
west, the closed contour of pressure, that of the core. Only what passes all is measured further.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE, STANDARD_GRAVITY
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.centers import NAN, CycloneCenter
from exastorm.labels.cyclones.closed_contours import (
    Climb,
    has_easy_way_out,
    highest_value,
    lowest_near,
    one_of_a_pole,
)
from exastorm.labels.cyclones.low_wind import WindSpeed, wind_speeds
from exastorm.labels.cyclones.minima import (
    first_of_equals,
    local_minima,
    lowest_of_box,
    merge_minima,
    nearest_lower_deg,
)
from exastorm.labels.cyclones.subgrid import subgrid_minimum
from exastorm.labels.cyclones.tempest_grid import Places, TempestGrid, Values
from exastorm.labels.cyclones.tempest_thresholds import TempestThresholds
from exastorm.labels.cyclones.wind_radii import wind_radii_deg
from exastorm.labels.rule_sets import Check, Fields, Verdict
from exastorm.land import terrain_height_m
from exastorm.linking.pointers import angle_deg
from exastorm.physics.surroundings import Surroundings

RADIUS_COLUMNS = tuple(name for name in CycloneCenter._fields if name.startswith("radius_"))
"""Columns of the radii of winds, in the order of `wind_radii_deg`."""

Place = tuple[int, int]


class TempestSnapshot:
    """One snapshot, searched by one set of thresholds.

    Attributes:
        pressure: Sea-level pressure (H, W), single precision.
        core: Negative of the field whose maximum is the core (H, W).
    """

    def __init__(
        self, fields: Fields, core: Values, grid: Surroundings, rules: TempestThresholds
    ) -> None:
        self.pressure: Values = np.asarray(fields["PSL"], dtype=np.float32)
        self.core = core
        self._fields = fields
        self._rules = rules
        self._grid = grid
        self._walked = TempestGrid.of(grid)
        self._strengths: dict[tuple[str, Place], float] = {}

    def candidates(self) -> list[CycloneCenter]:
        """All that meets the thresholds, row by row from the south, each from west to east."""
        rules = self._rules
        found = []
        for row, column in self._likely_places().T.tolist():
            rise = self._rise((row, column), rules.min_pressure_rise_pa)
            if rise >= rules.min_pressure_rise_pa:
                fall = self._fall((row, column), rules.min_core_fall)
                if fall >= rules.min_core_fall:
                    found.append(((row, column), (rise, fall)))
        wind = self._wind() if found else None
        return [self._measure(place, strengths, wind) for place, strengths in found]

    def verdicts(self, lat: float, lon: float, within_deg: float) -> list[Verdict]:
        """All criteria, applied to every minimum of pressure near a place, the nearest first."""
        minima = local_minima(self.pressure, self._grid.wraps)
        rows, columns = minima
        away = great_circle_km(lat, lon, self._grid.lat[rows], self._grid.lon[columns])
        order = np.argsort(away, kind="stable")
        order = order[away[order] <= within_deg * KM_PER_DEGREE]
        lower = nearest_lower_deg(self.pressure, self._walked, minima, order)
        wind = self._wind()
        verdicts = []
        for (row, column), lower_deg in zip(minima[:, order].T.tolist(), lower, strict=True):
            strengths = self._rise((row, column)), self._fall((row, column))
            center = self._measure((row, column), strengths, wind)
            checks = _checks(center, float(lower_deg), self._rules)
            verdicts.append(Verdict("pressure minimum", center.lat, center.lon, checks))
        return verdicts

    def _likely_places(self) -> Places:
        """Minima (2, N) that are left after merging and a quick look at their surroundings."""
        rules, pressure, grid = self._rules, self.pressure, self._walked
        limits = rules.pressure_radius_deg, rules.min_pressure_rise_pa
        minima = local_minima(pressure, self._grid.wraps)
        asked = lowest_of_box(pressure, grid, minima, rules.merge_deg)
        if rules.merge_equal:
            # A minimum without closed contour, too, may be the first of several that are equal.
            minima = merge_minima(pressure, grid, minima, asked, rules.merge_deg)
            minima = first_of_equals(pressure, grid, minima, rules.merge_deg)
            return minima[:, ~has_easy_way_out(pressure, grid, minima, *limits)]
        asked[asked] = ~has_easy_way_out(pressure, grid, minima[:, asked], *limits)
        return merge_minima(pressure, grid, minima, asked, rules.merge_deg)

    def _rise(self, place: Place, at_least: float = 0.0) -> float:
        """Strength of the contour of pressure."""
        return self._strength("pressure", place, self._rules.pressure_radius_deg, at_least)

    def _fall(self, place: Place, at_least: float = 0.0) -> float:
        """Strength of the contour of the core."""
        warmest = lowest_near(self.core, self._walked, place, self._rules.core_search_deg)
        return self._strength("core", warmest, self._rules.core_radius_deg, at_least)

    def _strength(self, name: str, place: Place, radius_deg: float, at_least: float) -> float:
        """Strength of a contour; where it is less than `at_least`, any number that is less too."""
        values = self.pressure if name == "pressure" else self.core
        start = one_of_a_pole(values, self._walked, place)
        if (name, start) not in self._strengths:
            climb = Climb(values, self._walked, start, radius_deg)
            is_held = at_least == 0.0 or climb.is_closed(at_least)
            strength = climb.strength(at_least) if is_held else -np.inf
            self._strengths[name, start] = strength
        return self._strengths[name, start]

    def _wind(self) -> WindSpeed:
        return wind_speeds(self._fields, "10m", convert=self._rules.convert_wind)

    def _measure(self, place: Place, strengths: tuple[float, ...], wind: Any) -> CycloneCenter:
        """All that is told of a candidate."""
        rules, grid = self._rules, self._grid
        lat, lon, lowest = grid.lat[place[0]], grid.lon[place[1]], self.pressure[place]
        if rules.sub_grid:
            lat, lon, lowest = subgrid_minimum(self.pressure, grid, *place)
        rise, fall = strengths
        measured: dict[str, Any] = {rules.core_column: fall}
        measured |= dict(zip(RADIUS_COLUMNS, wind_radii_deg(wind, grid, place), strict=True))
        disc = self._walked.disc(place, rules.wind_reach_deg, angle_deg)
        return CycloneCenter(
            *place,
            lat=float(lat),
            lon=float(lon),
            central_pressure_pa=float(lowest),
            pressure_rise_pa=rise,
            max_wind_ms=highest_value(disc.window(wind), disc),
            surface_height_m=self._height_m(place),
            **measured,
        )

    def _height_m(self, place: Place) -> float:
        """Height of the surface; NaN where it is not known or not wanted."""
        if "PHIS" in self._fields:
            # Like TempestExtremes, the least of all points that are no distance away: on a pole.
            disc = self._walked.disc(place, 0.0, angle_deg)
            heights = disc.window(self._fields["PHIS"])[disc.near]
            return float(np.fmin.reduce(heights)) / STANDARD_GRAVITY
        return float(_terrain_m(self._grid)[place]) if self._rules.bundled_terrain else NAN


@lru_cache(maxsize=2)
def _terrain_m(grid: Surroundings) -> NDArray[np.float64]:
    """The package's terrain (H, W) on a grid, m."""
    return terrain_height_m(grid.lat, grid.lon)


def _checks(center: CycloneCenter, lower_deg: float, rules: TempestThresholds) -> tuple[Check, ...]:
    """All criteria, in the order they are applied.

    Wind, latitude and height are rules of tracks: some points must meet them, not every one.
    """
    tracks = rules.tracks
    points = f"({tracks.min_points} points of a track must)"
    core, height = getattr(center, rules.core_column), center.surface_height_m
    wind, away = center.max_wind_ms, abs(center.lat)
    checks = [
        Check(
            "distance to a lower minimum, degrees",
            lower_deg,
            rules.merge_deg,
            lower_deg > rules.merge_deg,
            ">",
        ),
        _at_least(
            f"closed contour of PSL within {rules.pressure_radius_deg:g} degrees, Pa",
            center.pressure_rise_pa,
            rules.min_pressure_rise_pa,
        ),
        _at_least(
            f"closed contour of {rules.core_text} within {rules.core_radius_deg:g} degrees",
            core,
            rules.min_core_fall,
        ),
        _at_least(f"wind, m s-1 {points}", wind, tracks.min_wind_ms),
        _at_most(f"latitude north or south, degrees {points}", away, tracks.max_latitude_deg),
    ]
    if not np.isnan(height):
        checks.append(_at_most(f"height of surface, m {points}", height, tracks.max_height_m))
    return tuple(checks)


def _at_least(criterion: str, value: float, threshold: float) -> Check:
    return Check(criterion, value, threshold, value >= threshold)


def _at_most(criterion: str, value: float, threshold: float) -> Check:
    return Check(criterion, value, threshold, value <= threshold, "<=")
