"""How far from a cyclone's center the wind reaches a speed.

The measure of TECA's teca_tc_wind_radii: the azimuthal mean of the low-level wind is drawn
against distance, and the radius of a speed is where the profile, outside its peak, first falls
below it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.physics.surroundings import Surroundings

RADIUS_SPEEDS_MS = (17.5, 33.0, 43.0, 50.0, 58.0, 70.0)
"""Bounds of the Saffir-Simpson scale, m s-1 (tropical storm, categories 1 to 5; the scale's 34, 64,
83, 96, 113 and 137 kt), whose radii are measured."""

SEARCH_RADIUS_DEG = 6.0
"""How far from the center the wind is looked for, degrees (teca_tc_wind_radii)."""
NUM_BINS = 32
"""Number of distances of the wind profile up to there (teca_tc_wind_radii)."""


def wind_radii_deg(
    wind: Any,
    grid: Surroundings,
    place: tuple[int, int],
    *,
    speeds_ms: tuple[float, ...] = RADIUS_SPEEDS_MS,
    search_radius_deg: float = SEARCH_RADIUS_DEG,
    num_bins: int = NUM_BINS,
) -> tuple[float, ...]:
    """Radius of each wind speed, degrees of a great circle.

    Args:
        wind: Wind speed (H, W), m s-1.
        grid: Its grid.
        place: Row and column of the center.
        speeds_ms: The speeds looked for.
        search_radius_deg: How far out to look.
        num_bins: Number of distances of the profile.

    Returns:
        A radius for each speed, between two distances of the profile interpolated linearly; 0
        where the profile never reaches the speed, `search_radius_deg` where it does not fall
        below it, NaN where no wind is known.
    """
    distance, profile = grid.azimuthal_mean(wind, *place, search_radius_deg, num_bins)
    return tuple(_outer_radius(distance, profile, v, search_radius_deg) for v in speeds_ms)


def _outer_radius(
    distance: NDArray[np.float64],
    profile: NDArray[np.float64],
    speed_ms: float,
    search_radius_deg: float,
) -> float:
    """Where a profile, outside its peak, first falls below a speed."""
    known = np.isfinite(profile)
    distance, profile = distance[known], profile[known]
    if profile.size == 0:
        return float("nan")
    peak = int(profile.argmax())
    if not profile[peak] >= speed_ms:
        return 0.0
    below = np.flatnonzero(profile[peak:] < speed_ms)
    if below.size == 0:
        return search_radius_deg
    outer = peak + int(below[0])
    inner = outer - 1
    share = (profile[inner] - speed_ms) / (profile[inner] - profile[outer])
    return float(distance[inner] + share * (distance[outer] - distance[inner]))
