"""Tropical-cyclone centers by pressure, vorticity and warm core: the rule of the SC18 labels.

The SC18 labels take their centers from TECA, whose detector is GFDL's (Vitart et al. 1997):
a maximum of 850 hPa vorticity, beside it a minimum of sea-level pressure that is closed, and over
that a warm core that is closed too. "Closed" means: from the center the field rises (or falls)
by at least a threshold within a radius along each of eight great circles.

Corrected against the published detector: all distances are great-circle distances, and
everything wraps in longitude. The pressure minimum is the lowest grid point instead of a minimum
of splines. Track rules (lifetime of two days) need more than one snapshot and are not applied;
the wind threshold of those rules is applied to every snapshot instead.

The thresholds and what becomes of them on coarser grids are in `exastorm.labels.cyclone_rules`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import great_circle_km
from exastorm.labels.cyclone_rules import KM_PER_DEGREE, Sc18CycloneRules
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
        Centers, the deepest first; no two closer than `max_core_distance_deg`.
    """
    rules = rules.on_grid(grid.spacing_deg)
    diagnosed = diagnose(fields, grid)
    reach = rules.core_reach_deg(grid)
    found: dict[tuple[int, int], CycloneCenter] = {}
    for row, column in vorticity_maxima(diagnosed.turning, grid, rules):
        place = grid.lowest_within(diagnosed.pressure, row, column, reach)
        if place in found or not _is_minimum(diagnosed.pressure, grid, place):
            continue
        rise = grid.weakest_rise(diagnosed.pressure, *place, rules.pressure_radius_deg)
        if rise < rules.min_pressure_rise_pa:
            continue
        turning = float(diagnosed.turning[row, column])
        center = measure_center(diagnosed, grid, rules, place, turning)
        if is_cyclone(center, rules):
            found[place] = center
    return _apart(list(found.values()), reach)


def _apart(centers: list[CycloneCenter], reach_deg: float) -> list[CycloneCenter]:
    """Of centers closer than a distance only the deepest, then the most vortical, most poleward.

    A storm whose pressure is lowest at two points alike must not count twice.
    """
    kept: list[CycloneCenter] = []
    ranked = sorted(centers, key=lambda c: (c.central_pressure_pa, -c.vorticity_per_s, -abs(c.lat)))
    for center in ranked:
        away = [great_circle_km(center.lat, center.lon, other.lat, other.lon) for other in kept]
        if all(distance > reach_deg * KM_PER_DEGREE for distance in away):
            kept.append(center)
    return kept


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
