"""How far from a cyclone's center the wind reaches a speed.

The measure of TECA's teca_tc_wind_radii: the azimuthal mean of the low-level wind is drawn
against distance, and the radius of a speed is where the profile, outside its peak, first falls
below it.
"""

from typing import Any

import numpy as np

from exastorm.physics.surroundings import Surroundings


def wind_radius_deg(
    wind: Any,
    grid: Surroundings,
    place: tuple[int, int],
    *,
    speed_ms: float,
    search_radius_deg: float,
    num_bins: int,
) -> float:
    """Radius of a wind speed, degrees of a great circle.

    Args:
        wind: Wind speed (H, W), m s-1.
        grid: Its grid.
        place: Row and column of the center.
        speed_ms: The speed looked for.
        search_radius_deg: How far out to look.
        num_bins: Number of distances of the profile.

    Returns:
        The radius, between two distances of the profile interpolated linearly; 0 where the
        profile never reaches the speed, `search_radius_deg` where it does not fall below it.
    """
    distance, profile = grid.azimuthal_mean(wind, *place, search_radius_deg, num_bins)
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
