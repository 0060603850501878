"""What the weather varies around: the mean state of a season, with land, sea and mountains in it.

The zonal means come from `profiles`. Pressure follows from the wind by geostrophic balance, the
heights aloft from the temperature by the hypsometric equation. Land makes the rest: continents
are lows in summer and highs in winter, deserts are dry, the warm pool is moist.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import (
    DRY_AIR_GAS_CONSTANT,
    EARTH_RADIUS_KM,
    EARTH_ROTATION_RATE,
    STANDARD_GRAVITY,
)
from exastorm.grid import longitude_difference
from exastorm.readers.synthetic.earth import Earth, gradient
from exastorm.readers.synthetic.profiles import july_share, zonal_mean, zonal_slope

FloatArray = NDArray[np.float64]

AIR_DENSITY = 1.2
"""Density of air near the sea surface, kg m-3 (US Standard Atmosphere 1976: 1.225 at 15 C)."""

EQUATOR_PRESSURE = 101150.0
"""Sea-level pressure at the equator, Pa (Peixoto and Oort 1992: 1010 to 1012 hPa)."""

LAPSE_RATE = 0.006
"""Fall of near-surface temperature with the height of the ground, K m-1 (Holton 2004: 6 to 7)."""

VAPOR_SCALE_HEIGHT = 2500.0
"""Height over which precipitable water above high ground falls to 1/e, m (Reitan 1963, J. Appl.
Meteor. 2, 776: 2 to 3 km)."""

LAND_PRESSURE_RESPONSE = -100.0
"""Sea-level pressure per K that a continent is warmer than the sea, Pa K-1: Siberia's January high
of 1035 hPa over 25 K of contrast and India's July low of 1000 hPa over 5 K lie either side."""

PATCHES: tuple[tuple[float, float, float, float, float, float], ...] = (
    (2.0, 130.0, 14.0, 45.0, 0.16, 0.16),
    (-15.0, 255.0, 11.0, 30.0, -0.55, -0.35),
    (-14.0, 0.0, 9.0, 18.0, -0.45, -0.30),
    (22.0, 10.0, 9.0, 40.0, -0.40, -0.70),
    (27.0, 50.0, 8.0, 16.0, -0.20, -0.75),
    (27.0, 235.0, 9.0, 16.0, -0.15, -0.50),
    (32.0, 255.0, 9.0, 10.0, -0.20, -0.45),
    (-25.0, 130.0, 8.0, 18.0, -0.25, -0.35),
    (-22.0, 20.0, 8.0, 10.0, -0.20, -0.40),
    (22.0, 85.0, 9.0, 16.0, -0.10, 0.32),
    (27.0, 115.0, 9.0, 14.0, 0.10, 0.20),
    (-10.0, 300.0, 10.0, 14.0, 0.20, 0.05),
    (42.0, 85.0, 8.0, 25.0, -0.20, -0.65),
)
"""Where moisture departs from its zonal mean: latitude, longitude, half-widths (degrees), and the
logarithm of the factor in January and July. In order: warm pool, dry southeast Pacific and
Atlantic, Sahara, Arabia, California, Great Basin, Australia, Kalahari, India, China, Amazon, Gobi;
depths after the maps of precipitable water in Peixoto and Oort (1992)."""


def thickness_m(low_hpa: float, high_hpa: float) -> float:
    """Thickness per K of a layer between two pressures, m K-1 (hypsometric equation)."""
    return float(DRY_AIR_GAS_CONSTANT / STANDARD_GRAVITY * np.log(high_hpa / low_hpa))


DEEP_LAYER = thickness_m(200.0, 1000.0)
LOWER_LAYER = thickness_m(500.0, 1000.0)
MIDDLE_LAYER = thickness_m(300.0, 500.0)
"""Thickness per K of 1000-200, 1000-500 and 500-300 hPa, m K-1: 47.1, 20.3 and 15.0."""


@dataclass(frozen=True, kw_only=True)
class MeanState:
    """The mean state at one time of the year; arrays (H, W) unless said.

    Attributes:
        psl: Sea-level pressure, Pa.
        u850: Zonal wind at 850 hPa, m s-1.
        v850: Meridional wind at 850 hPa, m s-1.
        u_shear: Zonal wind at 850 hPa less that at the lowest level that friction alone would
            give, (H, 1), m s-1.
        v_shear: The same for the meridional wind, (H, 1).
        t500: Temperature at 500 hPa, K.
        t500_slope: Its change per degree of latitude (H, 1), K.
        t200: Temperature at 200 hPa, K.
        t2m: Daily mean air temperature at 2 m, at the height of the ground, K.
        vapor: Precipitable water above sea level, as if there were no mountains, kg m-2.
        altitude_share: Share of it that is above the ground.
        rain: Rain of the background weather, m s-1.
    """

    psl: FloatArray
    u850: FloatArray
    v850: FloatArray
    u_shear: FloatArray
    v_shear: FloatArray
    t500: FloatArray
    t500_slope: FloatArray
    t200: FloatArray
    t2m: FloatArray
    vapor: FloatArray
    altitude_share: FloatArray
    rain: FloatArray


def moisture_factor(earth: Earth, phase: float) -> FloatArray:
    """Precipitable water against its zonal mean, (H, W)."""
    july = 0.5 * (1.0 + july_share(phase))
    total = np.zeros(earth.shape)
    for lat, lon, lat_width, lon_width, in_january, in_july in PATCHES:
        along = np.exp(-0.5 * (longitude_difference(earth.lon, lon) / lon_width) ** 2)
        across = np.exp(-0.5 * ((earth.lat - lat) / lat_width) ** 2)
        total += (in_january * (1.0 - july) + in_july * july) * across[:, None] * along[None, :]
    return np.exp(total)


def geostrophic_pressure(lat: FloatArray, wind: FloatArray) -> FloatArray:
    """Zonal-mean pressure that balances a zonal wind: dp/dy = -rho f u, from the equator outward.

    Args:
        lat: Latitudes (H,), degrees.
        wind: Zonal wind (H,), m s-1.

    Returns:
        Pressure (H,), Pa.
    """
    coriolis = 2.0 * EARTH_ROTATION_RATE * np.sin(np.deg2rad(lat))
    slope = -AIR_DENSITY * coriolis * wind
    step = np.deg2rad(lat[1] - lat[0]) * EARTH_RADIUS_KM * 1e3
    rise = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1]) * step)])
    return np.asarray(rise - np.interp(0.0, lat, rise) + EQUATOR_PRESSURE)


def mean_state(earth: Earth, phase: float) -> MeanState:
    """The mean state on a grid at a phase of the year (0 to 2 pi)."""
    zonal = {
        name: zonal_mean(name, earth.lat, phase)[:, None]
        for name in ("t500", "t200", "sea", "ground", "vapor", "rain", "u850", "ubot", "vbot")
    }
    contrast = zonal["ground"] - zonal["sea"]
    # The wind at the lowest level without its friction, part way to the one above.
    wind = (0.25 * zonal["u850"] + 0.75 * zonal["ubot"] / 0.8)[:, 0]
    polar_taper = np.clip((88.0 - np.abs(earth.lat)) / 20.0, 0.0, 1.0)[:, None]
    bump = LAND_PRESSURE_RESPONSE * contrast * earth.basin * polar_taper
    u_bump, v_bump = balanced_wind(bump, earth)
    warm_land = 0.12 * contrast * earth.basin * polar_taper
    factor = moisture_factor(earth, phase)
    surface = zonal["sea"] + contrast * earth.continent
    return MeanState(
        psl=geostrophic_pressure(earth.lat, wind)[:, None] + bump,
        u850=zonal["u850"] + u_bump,
        v850=0.4 * zonal["vbot"] + v_bump,
        u_shear=0.8 * zonal["u850"] - zonal["ubot"],
        v_shear=0.3 * zonal["vbot"] - zonal["vbot"],
        t500=zonal["t500"] + warm_land,
        t500_slope=zonal_slope("t500", earth.lat, phase)[:, None],
        t200=zonal["t200"] - 0.5 * warm_land,
        t2m=surface - LAPSE_RATE * earth.terrain,
        vapor=zonal["vapor"] * factor,
        altitude_share=np.exp(-earth.terrain / VAPOR_SCALE_HEIGHT),
        rain=np.maximum(zonal["rain"], 0.0) * factor**2 * (1e-3 / 86400.0),
    )


def balanced_wind(pressure: FloatArray, earth: Earth) -> tuple[FloatArray, FloatArray]:
    """Geostrophic wind of a pressure field, let down to zero within 10 degrees of the equator.

    Args:
        pressure: (H, W), Pa.
        earth: The grid.

    Returns:
        Eastward and northward wind, m s-1.
    """
    east, north = gradient(pressure, earth)
    limit = 2.0 * EARTH_ROTATION_RATE * np.sin(np.deg2rad(10.0))
    inverse = earth.coriolis / (earth.coriolis**2 + limit**2) / AIR_DENSITY
    return -north * inverse, east * inverse
