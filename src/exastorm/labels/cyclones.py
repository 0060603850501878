"""Tropical-cyclone centers by pressure, vorticity and warm core: the rule of the SC18 labels.

The SC18 labels take their centers from TECA, whose detector is GFDL's (Vitart et al. 1997):
a maximum of 850 hPa vorticity, beside it a minimum of sea-level pressure that is closed, and over
that a warm core that is closed too. "Closed" means: from the center the field rises (or falls)
by at least a threshold within a radius along each of eight great circles.

Corrected against the published detector: all distances are great-circle distances, and
everything wraps in longitude. The pressure minimum is the lowest grid point instead of a minimum
of splines. Track rules (lifetime of two days) need more than one snapshot and are not applied;
the wind threshold of those rules is applied to every snapshot instead.

The thresholds were published for the 0.25-degree grid of SC18. On coarser grids the same storm
has less vorticity, wind and warmth, and their thresholds are lowered (`Sc18CycloneRules`).
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.wind_radii import wind_radius_deg
from exastorm.physics.surroundings import Surroundings
from exastorm.physics.warm_core import core_temperature, thickness
from exastorm.physics.wind import vorticity, wind_speed

Fields = dict[str, NDArray[np.floating[Any]]]

NEEDED = ("PSL", "U850", "V850", "T200", "T500")
"""Fields without which no center is looked for."""
THICKNESS = ("Z1000", "Z200")
"""Fields of the thickness test, which is left out without them."""
LOW_WINDS = (("UBOT", "VBOT"), ("U10", "V10"), ("U850", "V850"))
"""Low-level winds, the first pair present is used; the rules were published for the first."""

SC18_SPACING_DEG = 0.2708
"""Square root of 0.23468 x 0.3125 degrees, the grid that the thresholds were published for."""


@dataclass(frozen=True, kw_only=True)
class Sc18CycloneRules:
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
    minimum, degrees (TECA max_core_radius); at least 1.5 grid spacings."""
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
    wind_radius_speed_ms: float = 17.5
    """The size of a storm is the radius of this wind, m s-1: 63 km/h, the lowest bound of the
    Saffir-Simpson scale in TECA (teca_tc_wind_radii)."""
    wind_radius_search_deg: float = 6.0
    """How far from the center that wind is looked for, degrees (teca_tc_wind_radii)."""
    wind_radius_bins: int = 32
    """Number of distances of the wind profile up to there (teca_tc_wind_radii)."""
    max_latitude_deg: float = 80.0
    """Centers are looked for equatorward of this latitude, degrees (TECA search_lat)."""

    def __post_init__(self) -> None:
        may_be_zero = (
            "vorticity_exponent",
            "warm_core_exponent",
            "min_wind_ms",
            "wind_slope_per_km",
        )
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value < 0 or (value == 0 and name not in may_be_zero):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.max_latitude_deg > 90:
            raise ValueError(f"max_latitude_deg must be at most 90, got {self.max_latitude_deg}")

    def core_reach_deg(self, grid: Surroundings) -> float:
        """How far pressure minimum and warm core may lie apart: also on a coarse grid 8 cells."""
        return max(self.max_core_distance_deg, 1.5 * grid.spacing_deg)

    def on_grid(self, spacing_deg: float) -> "Sc18CycloneRules":
        """The rules with their thresholds lowered for a grid coarser than SC18's.

        The wind is never lowered below a tenth of the published one.
        """
        ratio = min(1.0, SC18_SPACING_DEG / spacing_deg)
        coarser_km = max(0.0, spacing_deg - SC18_SPACING_DEG) * 111.195
        warmth = ratio**self.warm_core_exponent
        return replace(
            self,
            min_vorticity_per_s=self.min_vorticity_per_s * ratio**self.vorticity_exponent,
            min_warm_core_k=self.min_warm_core_k * warmth,
            min_thickness_m=self.min_thickness_m * warmth,
            min_wind_ms=self.min_wind_ms * max(0.1, 1.0 - self.wind_slope_per_km * coarser_km),
        )


class CycloneCenter(NamedTuple):
    """One tropical cyclone in one snapshot.

    Attributes:
        row: Row of the center, the lowest sea-level pressure.
        column: Its column.
        lat: Its latitude, degrees.
        lon: Its longitude, degrees.
        central_pressure_pa: Sea-level pressure there.
        pressure_rise_pa: Its rise in the weakest of eight directions.
        vorticity_per_s: Highest cyclonic 850 hPa vorticity.
        warm_core_k: Fall of the mean of T200 and T500 in the weakest direction.
        thickness_m: Fall of the thickness in the weakest direction; NaN where not tested.
        max_wind_ms: Highest low-level wind within the vorticity window.
        wind_radius_deg: Radius of the 17.5 m s-1 wind (`exastorm.labels.wind_radii`).
    """

    row: int
    column: int
    lat: float
    lon: float
    central_pressure_pa: float
    pressure_rise_pa: float
    vorticity_per_s: float
    warm_core_k: float
    thickness_m: float
    max_wind_ms: float
    wind_radius_deg: float


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


def has_thickness(available: Any) -> bool:
    """Whether the thickness test can be made with these fields."""
    return set(THICKNESS) <= set(available)


def low_wind_names(available: Any) -> tuple[str, str]:
    """Names of the low-level wind used where these fields are available."""
    return next(pair for pair in LOW_WINDS if set(pair) <= set(available))


def find_cyclones(
    fields: Fields, grid: Surroundings, rules: Sc18CycloneRules
) -> list[CycloneCenter]:
    """Find the tropical cyclones of one snapshot.

    Args:
        fields: The fields of `NEEDED`, if present those of `THICKNESS` and `LOW_WINDS`, (H, W)
            each, in the units of `exastorm.variables`.
        grid: The grid they are on.
        rules: Thresholds.

    Returns:
        Centers, the highest vorticity first; no two at the same grid point.
    """
    rules = rules.on_grid(grid.spacing_deg)
    diagnosed = diagnose(fields, grid)
    centers: dict[tuple[int, int], CycloneCenter] = {}
    for row, column in vorticity_maxima(diagnosed.turning, grid, rules):
        place = grid.lowest_within(diagnosed.pressure, row, column, rules.core_reach_deg(grid))
        if place in centers or not _is_minimum(diagnosed.pressure, grid, place):
            continue
        rise = grid.weakest_rise(diagnosed.pressure, *place, rules.pressure_radius_deg)
        if rise < rules.min_pressure_rise_pa:
            continue
        turning = float(diagnosed.turning[row, column])
        center = measure_center(diagnosed, grid, rules, place, turning)
        if is_cyclone(center, rules):
            centers[place] = center
    return list(centers.values())


def diagnose(fields: Fields, grid: Surroundings) -> CycloneFields:
    """From the fields of one snapshot to those that the rules look at."""
    turning = vorticity(fields["U850"], fields["V850"], grid.lat, grid.lon)
    turning *= np.sign(grid.lat)[:, None].astype(turning.dtype)
    return CycloneFields(
        turning=turning,
        pressure=fields["PSL"],
        cold=-core_temperature(fields["T200"], fields["T500"]),
        shallow=-thickness(fields["Z200"], fields["Z1000"]) if has_thickness(fields) else None,
        wind=wind_speed(*(fields[name] for name in low_wind_names(fields))),
    )


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
    fall_m = float("nan")
    if diagnosed.shallow is not None:
        thickest = grid.lowest_within(diagnosed.shallow, *place, reach)
        fall_m = grid.weakest_rise(diagnosed.shallow, *thickest, rules.thickness_radius_deg)
    pressure = diagnosed.pressure
    return CycloneCenter(
        *place,
        lat=float(grid.lat[place[0]]),
        lon=float(grid.lon[place[1]]),
        central_pressure_pa=float(pressure[place]),
        pressure_rise_pa=grid.weakest_rise(pressure, *place, rules.pressure_radius_deg),
        vorticity_per_s=vorticity_per_s,
        warm_core_k=grid.weakest_rise(diagnosed.cold, *warmest, rules.warm_core_radius_deg),
        thickness_m=fall_m,
        max_wind_ms=grid.highest_value(diagnosed.wind, *place, rules.vorticity_radius_deg),
        wind_radius_deg=wind_radius_deg(
            diagnosed.wind,
            grid,
            place,
            speed_ms=rules.wind_radius_speed_ms,
            search_radius_deg=rules.wind_radius_search_deg,
            num_bins=rules.wind_radius_bins,
        ),
    )


def is_cyclone(center: CycloneCenter, rules: Sc18CycloneRules) -> bool:
    """Whether a measured center meets every threshold of `Sc18CycloneRules.on_grid`.

    A thickness that was not tested passes.
    """
    return (
        center.pressure_rise_pa >= rules.min_pressure_rise_pa
        and center.warm_core_k >= rules.min_warm_core_k
        and not center.thickness_m < rules.min_thickness_m
        and center.max_wind_ms >= rules.min_wind_ms
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
