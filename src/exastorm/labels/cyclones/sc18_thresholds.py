"""Thresholds of the cyclone centers of the SC18 labels, and what becomes of them on coarser grids.

They were published for the 0.25-degree grid of SC18. On coarser grids the same storm has less
vorticity, wind and warmth, and their thresholds are lowered by interpolation between published
values (`Sc18Thresholds.on_grid`). No such value was tuned on labeled storms.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from exastorm.constants import KM_PER_DEGREE
from exastorm.physics.surroundings import Surroundings

SC18_SPACING_DEG = float(np.sqrt(180.0 / 767.0 * 360.0 / 1152.0))
"""Square root of 0.23468 x 0.3125 degrees, the grid that the thresholds were published for."""


@dataclass(frozen=True, kw_only=True)
class Sc18Thresholds:
    """Thresholds of the SC18 cyclone centers: TECA's defaults (Kurth et al. 2018, labels_0)."""

    min_vorticity_per_s: float = 1.6e-4
    """Least cyclonic 850 hPa vorticity on the 0.25-degree grid, s-1 (TECA min_vorticity_850mb)."""
    vorticity_exponent: float = 0.65
    """On a coarser grid the least vorticity falls with (0.2708 degrees / spacing) to this power,
    which leads from TECA's 1.6e-4 to the 3.5e-5 s-1 of Vitart et al. (1997) on T42 (2.8 degrees);
    in between it is interpolated, not tuned. 0 keeps 1.6e-4 on every grid."""
    vorticity_radius_deg: float = 3.87
    """A center's vorticity is the highest within this distance, degrees: half of TECA's window
    of 7.74446 degrees."""
    max_core_distance_deg: float = 2.0
    """Farthest pressure minimum from the vorticity maximum, and warm core from the pressure
    minimum, degrees (TECA max_core_radius); at least 1.5 grid spacings. Centers closer than this
    are one storm."""
    min_pressure_rise_pa: float = 400.0
    """Least rise of sea-level pressure in every direction, Pa (TECA max_pressure_delta)."""
    pressure_radius_deg: float = 5.0
    """Distance within which it must rise, degrees (TECA max_pressure_radius)."""
    min_warm_core_k: float = 0.8
    """Least fall of the mean of T200 and T500, K (TECA max_core_temperature_delta)."""
    warm_core_exponent: float = 0.2
    """As `vorticity_exponent`, from TECA's 0.8 K to the 0.5 K of Vitart et al. (1997) on T42; the
    least thickness falls alike, since by the hypsometric equation a layer is thicker in
    proportion as it is warmer. 0 keeps both on every grid."""
    warm_core_radius_deg: float = 5.0
    """Distance within which it must fall, degrees (TECA max_core_temperature_radius)."""
    min_thickness_m: float = 50.0
    """Least fall of the 200-1000 hPa thickness, m (TECA max_thickness_delta)."""
    thickness_radius_deg: float = 4.0
    """Distance within which it must fall, degrees (TECA max_thickness_radius)."""
    min_wind_ms: float = 17.0
    """Least low-level wind within the vorticity window on the 0.25-degree grid, m s-1 (TECA
    min_wind_speed)."""
    wind_slope_per_km: float = 0.00143
    """Share of the wind that a storm at the threshold loses with each km of grid spacing (Walsh
    et al. 2007: roughly linear, 17.5 m s-1 observed become about 10 at 300 km). 0 keeps
    `min_wind_ms` on every grid."""
    convert_wind: bool = True
    """Convert a wind of another height to the lowest level's, for which the least wind was
    published (`exastorm.labels.cyclones.low_wind`)."""
    max_latitude_deg: float = 50.0
    """Centers are looked for equatorward of this latitude, degrees (the latitude rule of
    TempestExtremes' tracks). TECA searches to 80 degrees and leaves it to its track rules, which a
    single snapshot does not have, to drop warm-core lows of high latitudes."""

    def __post_init__(self) -> None:
        may_be_zero = (
            "vorticity_exponent",
            "warm_core_exponent",
            "min_wind_ms",
            "wind_slope_per_km",
        )
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, bool):
                continue
            if not value >= 0 or (value == 0 and name not in may_be_zero):
                raise ValueError(f"{name} must be positive, got {value}")
            if name.endswith(("radius_deg", "distance_deg")) and value > 180:
                raise ValueError(f"{name} must be at most 180, got {value}")
        if self.max_latitude_deg > 90:
            raise ValueError(f"max_latitude_deg must be at most 90, got {self.max_latitude_deg}")

    def core_reach_deg(self, grid: Surroundings) -> float:
        """How far pressure minimum and warm core may lie apart: also on a coarse grid 8 cells."""
        return max(self.max_core_distance_deg, 1.5 * grid.spacing_deg)

    def on_grid(self, spacing_deg: float) -> Self:
        """The rules with their thresholds lowered for a grid coarser than SC18's.

        The wind is never lowered below a tenth of the published one.
        """
        # A thousandth coarser is that grid with rounded coordinates.
        if spacing_deg <= 1.001 * SC18_SPACING_DEG:
            return self
        ratio = SC18_SPACING_DEG / spacing_deg
        coarser_km = (spacing_deg - SC18_SPACING_DEG) * KM_PER_DEGREE
        warmth = ratio**self.warm_core_exponent
        return replace(
            self,
            min_vorticity_per_s=self.min_vorticity_per_s * ratio**self.vorticity_exponent,
            min_warm_core_k=self.min_warm_core_k * warmth,
            min_thickness_m=self.min_thickness_m * warmth,
            min_wind_ms=self.min_wind_ms * max(0.1, 1.0 - self.wind_slope_per_km * coarser_km),
        )
