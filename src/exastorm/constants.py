"""Physical constants, each with its unit and its source."""

import math

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the Earth, km (IUGG; Moritz 2000, Journal of Geodesy 74, 128)."""

KM_PER_DEGREE = EARTH_RADIUS_KM * math.pi / 180.0
"""Length of a degree of a great circle, km (derived from the mean radius): 111.195."""

EARTH_ROTATION_RATE = 7.292115e-5
"""Angular velocity of the Earth, rad s-1 (IUGG; Moritz 2000)."""

STANDARD_GRAVITY = 9.80665
"""Standard acceleration of gravity, m s-2 (CGPM 1901; WMO's geopotential meter)."""

DRY_AIR_GAS_CONSTANT = 287.05
"""Specific gas constant of dry air, J kg-1 K-1 (US Standard Atmosphere 1976)."""

VAPOR_MASS_RATIO = 0.622
"""Molar mass of water over that of dry air (WMO-No. 8, Guide to Instruments)."""

WATER_DENSITY = 1000.0
"""Density of liquid water for rain depths, kg m-3 (CMIP and CAM convention: pr = 1000 PRECT)."""
