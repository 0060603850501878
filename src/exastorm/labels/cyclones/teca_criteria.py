"""TECA's criteria one by one: which rises count, and each verdict on a candidate."""

from typing import Any

import numpy as np

from exastorm.labels.cyclones.centers import NAN
from exastorm.labels.cyclones.teca_search import Falls, Low, TecaSearch
from exastorm.labels.cyclones.teca_shape import BLIND_RISE
from exastorm.labels.rule_sets import Check


def reaches(values: Any, least: float, form: str) -> Any:
    """Which rises reach a threshold; in form exact those over TECA's 2 units do, too."""
    values = np.asarray(values, dtype=np.float64)
    return (values >= least) | ((values > BLIND_RISE) & (form == "exact"))


def checks(
    rules: Any, search: TecaSearch, place: tuple[int, int], low: Low | None
) -> tuple[Check, ...]:
    """Every criterion, applied to a vorticity maximum and the pressure minimum beside it."""
    lat, turning = float(search.grid.lat[place[0]]), search.vorticity(*place)
    near = low is not None and low.near
    distance = low.distance_deg if low else NAN
    rise, falls = (low.rise_pa, search.core_falls(low)) if low and near else (NAN, Falls(NAN, NAN))
    edge = rules.highest_lat_deg if lat >= 0 else rules.lowest_lat_deg
    inside = rules.lowest_lat_deg <= lat <= rules.highest_lat_deg
    window = f"within {rules.vorticity_window_deg / 2:g} degrees"
    least = float(np.float32(rules.min_vorticity_per_s))
    wind = search.highest_wind(*place)
    thick = _rise_check(
        f"fall of Z200 - Z1000 within {rules.thickness_radius_deg:g} degrees, m",
        falls.thickness_m,
        rules.min_thickness_m,
        rules.form,
    )
    untested = not search.has_thickness
    return (
        Check("latitude, degrees", lat, edge, inside, "<=" if lat >= 0 else ">="),
        Check(
            f"850 hPa cyclonic vorticity, highest {window}, s-1", turning, least, turning >= least
        ),
        Check(
            "distance of the pressure minimum from the vorticity maximum, degrees",
            distance,
            rules.max_core_distance_deg,
            near,
            "<" if rules.form == "exact" else "<=",
        ),
        _rise_check(
            f"pressure rise within {rules.pressure_radius_deg:g} degrees, Pa",
            rise,
            rules.min_pressure_rise_pa,
            rules.form,
        ),
        _rise_check(
            f"fall of the mean of T200 and T500 within {rules.warm_core_radius_deg:g} degrees, K",
            falls.warm_core_k,
            rules.min_warm_core_k,
            rules.form,
        ),
        thick._replace(passed=thick.passed or untested),
        Check(
            f"low-level wind {window}, m s-1", wind, rules.min_wind_ms, wind >= rules.min_wind_ms
        ),
    )


def _rise_check(criterion: str, value: float, least: float, form: str) -> Check:
    """A rise against its threshold; in form exact against TECA's 2 units, where those are less."""
    passed = bool(reaches(value, least, form))
    if form == "exact" and least > BLIND_RISE:
        return Check(criterion, value, BLIND_RISE, passed, ">")
    return Check(criterion, value, least, passed)
