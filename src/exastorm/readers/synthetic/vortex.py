"""The inside of a tropical cyclone: Holland's wind, balanced pressure, warm core, rain.

The wind is Holland's (1980, Mon. Wea. Rev. 108, 1212) with his B and the radius of maximum wind
from Willoughby and Rahn (2004) and Willoughby et al. (2006). A grid cannot hold an eye smaller
than its cells: there the storm keeps its outer wind and loses its core, as storms of coarse
models do. Pressure follows from that wind by gradient balance, the warm core from the pressure by
hydrostatic balance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_ROTATION_RATE, STANDARD_GRAVITY
from exastorm.readers.synthetic.climatology import AIR_DENSITY, DEEP_LAYER
from exastorm.readers.synthetic.geometry import smooth_step

FloatArray = NDArray[np.float64]

RADII_KM = np.arange(0.0, 1601.0, 4.0)
"""Radii of profiles, km."""

CORE_CELLS = 1.1
"""Least radius of maximum wind, in grid spacings."""

CORE_LOSS = 0.25
"""Maximum wind falls with this power of how much the grid widens the core: a storm of 17.5 m/s
keeps 14 to 15 on a grid of 100 km (Walsh et al. 2007, J. Climate 20, 2307)."""

OUTER_KM = (650.0, 1300.0)
"""Where the wind begins to be let down to the environment, and where it is zero, km: outer
radii of storms are 400 to 1100 km (Chavas et al. 2016, J. Climate 29, 2923)."""

TRUTH_WIND = 12.0
"""Wind whose radius bounds a storm in the truth, m s-1: r12, a usual measure of outer size
(Chavas and Lin 2016, J. Atmos. Sci. 73, 3093)."""

STORM_WIND = 17.0
"""Least maximum wind of a storm in the truth, m s-1: tropical-storm strength."""


@dataclass(frozen=True, kw_only=True)
class Vortex:
    """Radial profiles of one storm at one time, on `RADII_KM`.

    Attributes:
        wind: Gradient wind, m s-1, positive cyclonic.
        deficit: Pressure below the environment's, Pa.
        core_km: Radius of maximum wind on this grid.
        max_wind: Maximum wind on this grid, m s-1.
        outer_km: Where the wind has fallen to `TRUTH_WIND`; 0 where it never reaches it.
    """

    wind: FloatArray
    deficit: FloatArray
    core_km: float
    max_wind: float
    outer_km: float


def radius_of_maximum_wind_km(max_wind: float, lat: float) -> float:
    """Willoughby et al. (2006, Mon. Wea. Rev. 134, 1102, eq. 7a), m s-1 and degrees to km."""
    return float(46.4 * np.exp(-0.0155 * max_wind + 0.0169 * abs(lat)))


def holland_b(max_wind: float, core_km: float, lat: float) -> float:
    """Holland's B (Willoughby and Rahn 2004, Mon. Wea. Rev. 132, 3033), within [1, 1.6].

    With a higher B the wind outside the eyewall falls too fast, as they remark.
    """
    b = 1.0036 + 0.0173 * max_wind - 0.0313 * np.log(core_km) + 0.0087 * abs(lat)
    return float(np.clip(b, 1.0, 1.6))


def holland_wind(radii_km: FloatArray, max_wind: float, core_km: float, b: float) -> FloatArray:
    """Holland's cyclostrophic profile: V = Vm sqrt((rm/r)^B exp(1 - (rm/r)^B)), m s-1."""
    power = (core_km / np.maximum(radii_km, 1e-3)) ** b
    return np.asarray(max_wind * np.sqrt(power * np.exp(np.maximum(1.0 - power, -700.0))))


def balanced_deficit(radii_km: FloatArray, wind: FloatArray, lat: float) -> FloatArray:
    """Pressure deficit in gradient balance: dp/dr = rho (V^2 / r + f V), summed from outside, Pa.

    Args:
        radii_km: Even radii from 0, km.
        wind: Gradient wind there, m s-1.
        lat: Latitude, degrees.
    """
    coriolis = 2.0 * EARTH_ROTATION_RATE * np.sin(np.deg2rad(abs(lat)))
    meters = np.maximum(radii_km, 1e-3) * 1e3
    slope = AIR_DENSITY * (wind**2 / meters + coriolis * wind)
    steps = 0.5 * (slope[1:] + slope[:-1]) * (meters[2] - meters[1])
    return np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])


def vortex(max_wind: float, lat: float, size: float, spacing_km: float) -> Vortex:
    """Profiles of a storm as a grid of some spacing holds it.

    Args:
        max_wind: Maximum wind of the storm, m s-1.
        lat: Latitude, degrees.
        size: Factor on its radii.
        spacing_km: Distance of grid points.
    """
    own_core = radius_of_maximum_wind_km(max_wind, lat) * size
    core = max(own_core, CORE_CELLS * spacing_km)
    held = max_wind * (own_core / core) ** CORE_LOSS
    b = holland_b(held, core, lat)
    wind = holland_wind(RADII_KM, held, core, b) * smooth_step(RADII_KM, OUTER_KM[1], OUTER_KM[0])
    strong = np.nonzero(wind >= TRUTH_WIND)[0]
    return Vortex(
        wind=wind,
        deficit=balanced_deficit(RADII_KM, wind, lat),
        core_km=core,
        max_wind=held,
        outer_km=float(RADII_KM[strong[-1]]) if strong.size else 0.0,
    )


def warm_core(deficit: FloatArray) -> FloatArray:
    """Mean warmth of 1000-200 hPa that lifts a surface low to a weak high aloft, K.

    The layer's thickness makes up for 105 % of the fall of the 1000 hPa surface.

    Args:
        deficit: Surface pressure deficit, Pa.
    """
    return np.asarray(1.05 * deficit / (AIR_DENSITY * STANDARD_GRAVITY) / DEEP_LAYER)


def climatological_rain(distance_km: FloatArray, max_wind: float) -> FloatArray:
    """Mean rain around a storm, m s-1: R-CLIPER (Tuleya et al. 2007, Wea. Forecasting 22, 56).

    Args:
        distance_km: Distances from the center.
        max_wind: Maximum wind, m s-1.
    """
    u = 1.0 + (max_wind / 0.514444 - 35.0) / 33.0
    center, peak = max(-1.10 + 3.96 * u, 0.3), max(-1.60 + 4.80 * u, 0.5)
    peak_km, fall_km = max(64.5 - 13.0 * u, 15.0), max(150.0 - 16.0 * u, 60.0)
    inside = center + (peak - center) * distance_km / peak_km
    outside = peak * np.exp(-(distance_km - peak_km) / fall_km)
    inches_a_day = 0.0254 / 86400.0
    return np.asarray(np.where(distance_km < peak_km, inside, outside) * inches_a_day)
