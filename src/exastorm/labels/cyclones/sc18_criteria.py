"""The criteria of the SC18 cyclone centers one by one, applied to what was measured of a center."""

import numpy as np
import pandas as pd

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.sc18_thresholds import Sc18Thresholds
from exastorm.labels.rule_sets import Check


def checks(center: CycloneCenter, rules: Sc18Thresholds) -> list[Check]:
    """Every threshold of the rules, applied to a measured center.

    A thickness that was not measured passes.
    """
    # In the precision of the field, so that what was found with a threshold also passes it.
    least_vorticity = float(np.float32(rules.min_vorticity_per_s))
    near = f"within {rules.pressure_radius_deg:g} degrees"
    rows = [
        ("850 hPa cyclonic vorticity, s-1", center.vorticity_per_s, least_vorticity),
        (f"pressure rise {near}, Pa", center.pressure_rise_pa, rules.min_pressure_rise_pa),
        (
            f"fall of the mean of T200 and T500 within {rules.warm_core_radius_deg:g} degrees, K",
            center.warm_core_k,
            rules.min_warm_core_k,
        ),
        (
            f"fall of Z200 - Z1000 within {rules.thickness_radius_deg:g} degrees, m",
            center.thickness_m,
            rules.min_thickness_m,
        ),
        (
            f"low-level wind within {rules.vorticity_radius_deg:g} degrees, m s-1",
            center.max_wind_ms,
            rules.min_wind_ms,
        ),
    ]
    untested = center.thickness_m != center.thickness_m
    return [
        Check(name, value, least, bool(value >= least) or ("Z200" in name and untested))
        for name, value, least in rows
    ]


def is_cyclone(center: CycloneCenter, rules: Sc18Thresholds) -> bool:
    """Whether a measured center meets every threshold."""
    return all(check.passed for check in checks(center, rules))


def as_centers(table: pd.DataFrame) -> list[CycloneCenter]:
    """Rows of a table of centers."""
    return [CycloneCenter(*row) for row in table[list(CycloneCenter._fields)].to_numpy()]


def apart(centers: list[CycloneCenter], reach_deg: float) -> list[int]:
    """Numbers of the centers that remain where of those closer than a distance only one counts.

    The deepest does, then the most vortical, then the most poleward; in that order they come. A
    storm whose pressure is lowest at two points alike must not count twice.
    """
    kept: list[int] = []
    rank = [(c.central_pressure_pa, -c.vorticity_per_s, -abs(c.lat)) for c in centers]
    for n in sorted(range(len(centers)), key=rank.__getitem__):
        here = centers[n]
        away = [great_circle_km(here.lat, here.lon, centers[k].lat, centers[k].lon) for k in kept]
        if all(distance > reach_deg * KM_PER_DEGREE for distance in away):
            kept.append(n)
    return kept


def apart_check(centers: list[CycloneCenter], number: int, reach_deg: float) -> Check:
    """Whether `apart` keeps a center: how far the nearest is that it keeps sooner."""
    kept = apart(centers, reach_deg)
    here = centers[number]
    before = kept[: kept.index(number)] if number in kept else kept
    nearest = min(
        (great_circle_km(here.lat, here.lon, centers[k].lat, centers[k].lon) for k in before),
        default=float("inf"),
    )
    name = "distance to the nearest deeper center, degrees"
    return Check(name, float(nearest) / KM_PER_DEGREE, reach_deg, number in kept, ">")


def latitude_check(lat: float, rules: Sc18Thresholds) -> Check:
    """Whether a vorticity maximum lies where cyclones are looked for."""
    name = "distance of the vorticity maximum to the equator, degrees"
    return Check(name, abs(lat), rules.max_latitude_deg, abs(lat) <= rules.max_latitude_deg, "<=")
