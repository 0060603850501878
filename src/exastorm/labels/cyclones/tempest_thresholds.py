"""Thresholds that the two criteria of TempestExtremes share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from exastorm.labels.cyclones.stitching import StitchRules


@dataclass(frozen=True, kw_only=True)
class TempestThresholds(ABC):
    """What both criteria ask for, each with its own numbers."""

    min_pressure_rise_pa: float
    """Least strength of the closed contour of sea-level pressure, Pa."""
    pressure_radius_deg: float
    """How far out that contour may lie, degrees."""
    core_radius_deg: float
    """How far from the core its closed contour may lie, degrees."""
    core_search_deg: float = 1.0
    """How far from the minimum the core is looked for, degrees (Ullrich et al. 2021; E3SM
    Diagnostics at ne30, where 0.3 degrees gave the same)."""
    merge_deg: float = 6.0
    """Of minima closer than this only the lowest counts, degrees (DetectNodes --mergedist; Ullrich
    et al. 2021, E3SM Diagnostics)."""
    merge_equal: bool = False
    """Whether of equally low minima closer than that only the first counts (DetectNodes
    --mergeequal, which the published commands lack)."""
    wind_reach_deg: float = 2.0
    """The wind of a candidate is the highest within this distance, degrees (DetectNodes
    --outputcmd; Ullrich et al. 2021, E3SM Diagnostics)."""
    convert_wind: bool = True
    """Whether a wind at another height is converted to the 10 m that the rules ask for."""
    bundled_terrain: bool = True
    """Whether heights are those of the package's terrain where the archive lacks PHIS; otherwise
    the rule of heights is then left out."""
    sub_grid: bool = False
    """Whether centers and their pressure are those of a quadratic surface through the grid points
    around; otherwise those of the grid point, as TempestExtremes has them."""
    tracks: StitchRules = field(default_factory=StitchRules)
    """How candidates become tracks."""

    core_fields: ClassVar[tuple[str, str]]
    """Fields of the core."""
    core_column: ClassVar[str]
    """Column of `CycloneCenter` with the strength of the core's contour."""
    core_text: ClassVar[str]
    """What that strength is, in words."""

    def __post_init__(self) -> None:
        if not self.min_pressure_rise_pa > 0:
            raise ValueError(
                f"min_pressure_rise_pa must be positive, got {self.min_pressure_rise_pa}"
            )
        for name in ("pressure_radius_deg", "core_radius_deg", "wind_reach_deg"):
            if not 0 < getattr(self, name) <= 180:
                raise ValueError(f"{name} must be in (0, 180], got {getattr(self, name)}")
        for name in ("core_search_deg", "merge_deg"):
            if not 0 <= getattr(self, name) <= 180:
                raise ValueError(f"{name} must be in [0, 180], got {getattr(self, name)}")

    @property
    @abstractmethod
    def min_core_fall(self) -> float:
        """Least strength of the core's contour, in its unit."""
