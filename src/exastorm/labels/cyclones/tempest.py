"""Tropical cyclones as TempestExtremes finds them: its two criteria in use, to the grid point.

A candidate is a minimum of sea-level pressure, the lowest within the merge distance, that a closed
contour holds, with an upper warm core beside it that another one holds (`closed_contours`).
Candidates are stitched to tracks (`stitching`). `tempest-era5` is the criterion of TempestExtremes
2.1 for ERA5 (Ullrich et al. 2021, Geosci. Model Dev. 14, 5023): its core is a maximum of the
thickness between 300 and 500 hPa. `tempest-cam` is the one in use on E3SM and CESM (E3SM
Diagnostics, pull request 824): its core is a maximum of the mean temperature at 200 and 500 hPa,
so that it needs none but the 16 channels; tracks are stitched as in `tempest-era5`.

Candidates lie on grid points, as theirs do, unless `sub_grid` is asked for. Exact is the default,
since these rule sets carry the name of another tool, and so that their tracks can be compared.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.low_wind import choose_wind
from exastorm.labels.cyclones.stitching import TrackCriteria, stitch
from exastorm.labels.cyclones.tempest_candidates import TempestSnapshot
from exastorm.labels.cyclones.tempest_grid import Values
from exastorm.labels.cyclones.tempest_thresholds import TempestThresholds
from exastorm.labels.rule_sets import CycloneRules, FieldPlan, Fields, TrackVerdict, Verdict
from exastorm.linking.pointers import track_numbers
from exastorm.physics.surroundings import Surroundings


@dataclass(frozen=True, kw_only=True)
class TempestRules(TempestThresholds):
    """The verbs of both criteria."""

    without_core: ClassVar[str] = ""
    """What to do where the fields of the core are lacking."""
    core_threshold: ClassVar[str]
    """Field with the least strength of the core's contour."""
    published_core_falls: ClassVar[tuple[float, ...]]
    """Values of that field in `members`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_core_fall > 0:
            raise ValueError(f"{self.core_threshold} must be positive, got {self.min_core_fall}")

    @property
    def min_core_fall(self) -> float:
        """Least strength of the core's contour, in its unit."""
        return float(getattr(self, self.core_threshold))

    @abstractmethod
    def core(self, fields: Fields) -> Values:
        """The negative of the field whose maximum is the core (H, W), single precision."""

    def plan(self, available: set[str]) -> FieldPlan:
        """Sea-level pressure, the core's two fields, a low-level wind, PHIS where it is there."""
        lacks = [name for name in ("PSL", *self.core_fields) if name not in available]
        if lacks:
            hint = "" if "PSL" in lacks else self.without_core
            return FieldPlan((), f"the archive lacks {' and '.join(lacks)}{hint}")
        wind = choose_wind(available, "10m", convert=self.convert_wind)
        if wind is None:
            return FieldPlan((), "the archive lacks a low-level wind, such as U10 and V10")
        names: tuple[str, ...] = ("PSL", *self.core_fields, *wind.names)
        notes: dict[str, str] = {}
        if wind.note:
            notes["wind"] = wind.note
        if "PHIS" in available:
            names = (*names, "PHIS")
        else:
            instead = "heights are the package's" if self.bundled_terrain else "no rule of heights"
            notes["height"] = f"the archive lacks PHIS: {instead}"
        return FieldPlan(names, notes=notes)

    def find(self, fields: Fields, grid: Surroundings) -> list[CycloneCenter]:
        """Candidates of one snapshot, in the order in which DetectNodes writes them."""
        return TempestSnapshot(fields, self.core(fields), grid, self).candidates()

    def select(self, centers: pd.DataFrame) -> NDArray[np.int64]:
        """Number of the track of each candidate, in the order of StitchNodes; -1 of the others."""
        meets = self._meets(centers)
        kept = centers[meets]
        numbers = np.full(len(centers), -1, dtype=np.int64)
        numbers[meets] = track_numbers(stitch(kept, self.tracks), len(kept))
        return numbers

    def lasting_hours(self) -> float:
        """How long a track must last to count."""
        return self.tracks.min_hours

    def longest_gap_hours(self) -> float:
        """How much later the next point of a track may come."""
        return self.tracks.max_gap_hours

    def explain_track(self, centers: pd.DataFrame, row: int) -> TrackVerdict:
        """The track of a candidate, and what is asked of it."""
        kept = np.flatnonzero(self._meets(centers))
        criteria = TrackCriteria(centers.iloc[kept], self.tracks)
        track = criteria.track_through(int(np.searchsorted(kept, row)))
        return TrackVerdict(tuple(kept[track].tolist()), tuple(criteria.checks(track)))

    def _meets(self, centers: pd.DataFrame) -> NDArray[np.bool_]:
        """Which candidates have contours as strong as asked."""
        rise, fall = centers["pressure_rise_pa"], centers[self.core_column]
        return np.asarray((rise >= self.min_pressure_rise_pa) & (fall >= self.min_core_fall))

    def members(self) -> list[CycloneRules]:
        """Every combination of published thresholds, the loosest first.

        Rise of pressure: 200 Pa (Ullrich et al. 2021), 300 Pa (E3SM Diagnostics), 400 Pa (TECA).
        Fall of the core: `published_core_falls`. Wind: 10 m s-1 (Ullrich et al. 2021), 17 m s-1
        (TECA).
        """
        rises, winds = (200.0, 300.0, 400.0), (10.0, 17.0)
        return [
            self._with(rise, fall, wind)
            for rise, fall, wind in product(rises, self.published_core_falls, winds)
        ]

    def _with(self, rise_pa: float, core_fall: float, wind_ms: float) -> "TempestRules":
        changes: dict[str, Any] = {
            "min_pressure_rise_pa": rise_pa,
            self.core_threshold: core_fall,
            "tracks": replace(self.tracks, min_wind_ms=wind_ms),
        }
        return replace(self, **changes)

    def explain(
        self, fields: Fields, grid: Surroundings, lat: float, lon: float, within_deg: float
    ) -> list[Verdict]:
        """Verdicts on every minimum of sea-level pressure near a place, the nearest first."""
        snapshot = TempestSnapshot(fields, self.core(fields), grid, self)
        return snapshot.verdicts(lat, lon, within_deg)


@dataclass(frozen=True, kw_only=True)
class TempestEra5Rules(TempestRules):
    """The criterion of TempestExtremes 2.1 for ERA5 (Ullrich et al. 2021)."""

    min_pressure_rise_pa: float = 200.0
    """Least strength of the closed contour of sea-level pressure, Pa (Ullrich et al. 2021)."""
    pressure_radius_deg: float = 5.5
    """How far out that contour may lie, degrees (Ullrich et al. 2021)."""
    min_thickness_fall_m: float = 6.0
    """Least strength of the closed contour of the thickness Z300 - Z500 around its maximum, m
    (Ullrich et al. 2021: 58.8 m2 s-2)."""
    core_radius_deg: float = 6.5
    """How far from the core that contour may lie, degrees (Ullrich et al. 2021)."""

    core_fields: ClassVar[tuple[str, str]] = ("Z300", "Z500")
    core_column: ClassVar[str] = "thickness_m"
    core_text: ClassVar[str] = "Z300 - Z500, m,"
    core_threshold: ClassVar[str] = "min_thickness_fall_m"
    # No other value is published for these two levels.
    published_core_falls: ClassVar[tuple[float, ...]] = (6.0,)
    without_core: ClassVar[str] = "; the rule set tempest-cam takes T200 and T500 instead"

    def core(self, fields: Fields) -> Values:
        """Thickness below zero, in the precision of TempestExtremes."""
        return _single(fields["Z500"]) - _single(fields["Z300"])


@dataclass(frozen=True, kw_only=True)
class TempestCamRules(TempestRules):
    """The criterion in use on E3SM and CESM (E3SM Diagnostics, pull request 824)."""

    min_pressure_rise_pa: float = 300.0
    """Least strength of the closed contour of sea-level pressure, Pa (E3SM Diagnostics)."""
    pressure_radius_deg: float = 4.0
    """How far out that contour may lie, degrees (E3SM Diagnostics)."""
    min_warm_core_k: float = 0.6
    """Least strength of the closed contour of the mean of T200 and T500 around its maximum, K
    (E3SM Diagnostics)."""
    core_radius_deg: float = 4.0
    """How far from the core that contour may lie, degrees (E3SM Diagnostics)."""

    core_fields: ClassVar[tuple[str, str]] = ("T200", "T500")
    core_column: ClassVar[str] = "warm_core_k"
    core_text: ClassVar[str] = "the mean of T200 and T500, K,"
    core_threshold: ClassVar[str] = "min_warm_core_k"
    # TempestExtremes' example for one level (its manual: TMP_L100,-0.4), E3SM Diagnostics, TECA.
    published_core_falls: ClassVar[tuple[float, ...]] = (0.4, 0.6, 0.8)

    def core(self, fields: Fields) -> Values:
        """Mean temperature below zero, in the precision of TempestExtremes."""
        return (_single(fields["T200"]) + _single(fields["T500"])) * np.float32(-0.5)


def _single(values: Any) -> Values:
    return np.asarray(values, dtype=np.float32)
