"""Tropical cyclones as TECA's detector finds them, the one behind the labels of SC18.

The detector is GFDL's (Vitart et al. 1997; TSTORMS) as in TECA 6.0.0 (teca_tc_detect): a maximum
of cyclonic vorticity at 850 hPa; near it a minimum of sea-level pressure that the pressure rises
around: that is a candidate. Near that, a core whose upper troposphere is warm and thick. Candidates
are followed in time (`exastorm.linking.trajectories`); a track counts that has strong
wind, warm core and thickness for two days.

Two forms. `exact` gives what TECA's programs give (`exastorm.labels.cyclones.teca_exact`).
`corrected`, the default, measures on the sphere, around 0/360 and alike in all directions
(`exastorm.labels.cyclones.teca_corrected`), and takes the thresholds as documented: TECA's own loop
accepts any rise over 2 Pa for 400 Pa, over 2 m for 50 m (`exastorm.labels.cyclones.teca_shape`).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.centers import NAN, CycloneCenter
from exastorm.labels.cyclones.low_wind import choose_wind
from exastorm.labels.cyclones.teca_corrected import CorrectedSearch
from exastorm.labels.cyclones.teca_criteria import checks, reaches
from exastorm.labels.cyclones.teca_exact import ExactSearch
from exastorm.labels.cyclones.teca_search import Low, TecaReach, TecaSearch
from exastorm.labels.cyclones.teca_sets import (
    EXPLAINED_VORTICITY_PER_S,
    NEEDED,
    PUBLISHED_SETS,
    THICKNESS,
)
from exastorm.labels.cyclones.wind_radii import wind_radii_deg
from exastorm.labels.rule_sets import Check, FieldPlan, Fields, TrackVerdict, Verdict
from exastorm.linking.trajectories import TrackLimits, is_lasting, link_candidates, strong_days
from exastorm.physics.surroundings import Surroundings

MAY_BE_ZERO = ("min_wind_ms", "min_duration_days")
ANY_SIGN = ("lowest_lat_deg", "highest_lat_deg")


@dataclass(frozen=True, kw_only=True)
class TecaRules:
    """Thresholds of TECA's cyclones: the defaults of teca_tc_detect (TECA 6.0.0)."""

    form: Literal["corrected", "exact"] = "corrected"
    """corrected: great circles, around 0/360, thresholds as documented; exact: as TECA computes,
    with its peculiarities, for comparison."""
    min_vorticity_per_s: float = 1.6e-4
    """Least cyclonic 850 hPa vorticity, s-1 (TECA min_vorticity)."""
    vorticity_window_deg: float = 7.74446
    """Window whose highest vorticity a candidate has, degrees (TECA vorticity_window): in form
    exact a square of int((window / spacing - 1) / 2) cells to each side, else a disc of this
    diameter. The highest wind is looked for in the same window."""
    max_core_distance_deg: float = 2.0
    """Farthest pressure minimum from the vorticity maximum, and warm and thick core from the
    pressure minimum, degrees (TECA storm_core_radius)."""
    min_pressure_rise_pa: float = 400.0
    """Least rise of sea-level pressure in every direction, Pa (TECA pressure_delta)."""
    pressure_radius_deg: float = 5.0
    """Distance within which it must rise, degrees (TECA pressure_delta_radius)."""
    min_warm_core_k: float = 0.8
    """Least fall of the mean of T200 and T500 in every direction, K (TECA core_temp_delta)."""
    warm_core_radius_deg: float = 5.0
    """Distance within which it must fall, degrees (TECA core_temp_radius)."""
    min_thickness_m: float = 50.0
    """Least fall of Z200 - Z1000 in every direction, m (TECA thickness_delta)."""
    thickness_radius_deg: float = 4.0
    """Distance within which it must fall, degrees (TECA thickness_radius)."""
    lowest_lat_deg: float = -80.0
    """Southernmost latitude of a vorticity maximum, degrees (TECA candidates::search_lat_low)."""
    highest_lat_deg: float = 80.0
    """Northernmost latitude of a vorticity maximum, degrees (TECA candidates::search_lat_high)."""
    max_speed_km_per_day: float = 1600.0
    """Fastest motion of a track, km per day (TECA max_daily_distance)."""
    min_wind_ms: float = 17.0
    """Least wind of the lowest model level for a candidate to count as strong, m s-1 (TECA
    min_wind_speed)."""
    min_duration_days: float = 2.0
    """Least time, not necessarily on end, for which a track has that wind, a warm core and
    thickness, days (TECA min_wind_duration)."""
    max_step_hours: float = 24.0
    """Tracks end where the next snapshot comes later than this, h (TempestExtremes StitchNodes
    --maxgap 24h). TECA has no such bound, nor has form exact."""
    convert_wind: bool = True
    """Whether a wind of another height than the lowest level is converted to it."""

    def __post_init__(self) -> None:
        if self.form not in ("corrected", "exact"):
            raise ValueError(f"form must be corrected or exact, got {self.form!r}")
        for name, value in vars(self).items():
            if isinstance(value, bool | str) or name in ANY_SIGN:
                continue
            if not value >= 0 or (value == 0 and name not in MAY_BE_ZERO):
                raise ValueError(f"{name} must be positive, got {value}")
        if not -90 <= self.lowest_lat_deg < self.highest_lat_deg <= 90:
            raise ValueError(
                "highest_lat_deg must be above lowest_lat_deg, both within -90 and 90, got "
                f"{self.highest_lat_deg} and {self.lowest_lat_deg}"
            )

    def plan(self, available: set[str]) -> FieldPlan:
        """What it reads where these fields are available."""
        missing = [name for name in NEEDED if name not in available]
        wind = choose_wind(available, "lowest", convert=self.convert_wind)
        if missing or wind is None:
            return FieldPlan((), f"the archive lacks {', '.join(missing) or 'any low-level wind'}")
        notes = {"low_level_wind": wind.note} if wind.note else {}
        heights = set(THICKNESS) <= available
        if not heights:
            absent = ", ".join(name for name in THICKNESS if name not in available)
            notes["thickness"] = f"not tested: the archive lacks {absent}"
        return FieldPlan((*NEEDED, *(THICKNESS if heights else ()), *wind.names), notes=notes)

    def find(self, fields: Fields, grid: Surroundings) -> list[CycloneCenter]:
        """Candidates of one snapshot: from south to north in form exact, else most vortical first.

        Raises:
            InputError: In form exact, if the grid is too coarse for the vorticity window.
        """
        search = self._search(fields, grid)
        found: dict[Any, CycloneCenter] = {}
        for row, column in search.maxima(self.min_vorticity_per_s):
            low = search.lowest_pressure(row, column)
            if low is None or not low.near or not self._rises(low.rise_pa):
                continue
            # Of two vorticity maxima with one pressure minimum the higher counts; TECA counts both.
            key = (row, column) if self.form == "exact" else (low.row, low.column)
            if key not in found:
                found[key] = _measure(search, row, column, low)
        return list(found.values())

    def select(self, centers: pd.DataFrame) -> NDArray[np.int64]:
        """Number of the storm of each candidate, by the rules of its track."""
        ids = np.full(len(centers), -1, dtype=np.int64)
        kept, chosen = self._candidates(centers)
        ids[kept] = link_candidates(chosen, self._strong(chosen), self._limits)
        return ids

    def lasting_hours(self) -> float:
        """How long a track must last to count."""
        return 24.0 * self.min_duration_days

    def longest_gap_hours(self) -> float:
        """A track goes on at the next snapshot, or not at all."""
        return self.max_step_hours

    def explain_track(self, centers: pd.DataFrame, row: int) -> TrackVerdict:
        """The track of a candidate, and how long it is strong."""
        kept, chosen = self._candidates(centers)
        strong = self._strong(chosen)
        tracks = link_candidates(chosen, strong, replace(self._limits, min_days=0.0))
        mine = tracks == tracks[kept == row]
        days = float(strong_days(chosen, strong, self._limits)[mine].sum())
        check = Check(
            "time of its track with that wind, warm core and thickness, days",
            days,
            self.min_duration_days,
            bool(is_lasting(days, self.min_duration_days)),
        )
        return TrackVerdict(tuple(np.sort(kept[mine]).tolist()), (check,))

    def _candidates(self, centers: pd.DataFrame) -> tuple[NDArray[np.intp], pd.DataFrame]:
        """Rows of the candidates that meet the thresholds, in the order they are linked in."""
        vorticity = centers["vorticity_per_s"].to_numpy(dtype=np.float64)
        # In the precision of the field, so that what was found with a threshold also passes it.
        high = vorticity >= np.float32(self.min_vorticity_per_s)
        kept = np.flatnonzero(high & self._rises(centers["pressure_rise_pa"].to_numpy()))
        if self.form == "corrected":
            # Not from south to north as TECA: mirrored or rolled fields must give the same tracks.
            steps = centers["step"].to_numpy()[kept]
            kept = kept[np.lexsort((-vorticity[kept], steps))]
        chosen = centers.iloc[kept]
        chosen.attrs["hours"] = centers.attrs["hours"]
        return kept, chosen

    @property
    def _limits(self) -> TrackLimits:
        return TrackLimits(
            max_km_per_day=self.max_speed_km_per_day,
            min_days=self.min_duration_days,
            max_step_hours=self.max_step_hours,
            form=self.form,
        )

    def members(self) -> list["TecaRules"]:
        """The four published sets of thresholds (`TECA_VARIANTS`), the loosest first."""
        names = ("min_vorticity_per_s", "min_pressure_rise_pa", "min_warm_core_k")
        return [
            replace(self, **{name: getattr(variant, name) for name in names})
            for variant in TECA_VARIANTS.values()
        ]

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on the vorticity maxima near a place; the last three are asked of its track."""
        km = great_circle_km(grid.lat[:, None], grid.lon[None, :], lat, lon)
        away = km / KM_PER_DEGREE
        search = self._search(fields, grid)
        maxima = search.maxima(EXPLAINED_VORTICITY_PER_S, away <= within_deg)
        verdicts = []
        for row, column in sorted(maxima, key=away.__getitem__):
            low = search.lowest_pressure(row, column)
            found = checks(self, search, (row, column), low)
            place = (low.lat, low.lon) if low and low.near else (grid.lat[row], grid.lon[column])
            kind = "pressure minimum" if low and low.near else "vorticity maximum"
            verdicts.append(Verdict(kind, float(place[0]), float(place[1]), found))
        return verdicts

    def _search(self, fields: Fields, grid: Surroundings) -> TecaSearch:
        reach = TecaReach(
            self.vorticity_window_deg,
            self.max_core_distance_deg,
            self.pressure_radius_deg,
            self.warm_core_radius_deg,
            self.thickness_radius_deg,
            self.lowest_lat_deg,
            self.highest_lat_deg,
        )
        kind: type[TecaSearch] = ExactSearch if self.form == "exact" else CorrectedSearch
        return kind(fields, grid, reach, self.convert_wind)

    def _rises(self, rise_pa: Any) -> Any:
        """Which rises of pressure count."""
        return reaches(rise_pa, self.min_pressure_rise_pa, self.form)

    def _strong(self, centers: pd.DataFrame) -> NDArray[np.bool_]:
        """Which candidates have wind, warm core and, where measured, thickness."""
        wind, warm_k, thick_m = (
            centers[name].to_numpy(dtype=np.float64)
            for name in ("max_wind_ms", "warm_core_k", "thickness_m")
        )
        thick = reaches(thick_m, self.min_thickness_m, self.form) | np.isnan(thick_m)
        warm = reaches(warm_k, self.min_warm_core_k, self.form)
        return np.asarray((wind >= self.min_wind_ms) & warm & thick)


def _measure(search: TecaSearch, row: int, column: int, low: Low) -> CycloneCenter:
    """All that is measured of the candidate at a vorticity maximum and its pressure minimum."""
    falls = search.core_falls(low)
    return CycloneCenter(
        low.row,
        low.column,
        low.lat,
        low.lon,
        low.pressure_pa,
        low.rise_pa,
        search.vorticity(row, column),
        falls.warm_core_k,
        falls.thickness_m,
        search.highest_wind(row, column),
        NAN,
        *wind_radii_deg(search.wind, search.grid, (low.row, low.column)),
    )


TECA_VARIANTS: dict[str, TecaRules] = {
    name: TecaRules(**one._asdict()) for name, one in PUBLISHED_SETS.items()
}
"""Sets of thresholds with which the makers of the SC18 labels ran TECA (azrael417/ClimDeepLearn,
teca_shell), the strictest first: HAPPI15_default, _medium and _relaxed, and the super_relaxed of 18
scripts. By name and readme `default` made labels_0 and `super_relaxed` labels_1."""
