"""Zonal means of January and July, which every season lies between.

Values every ten degrees from the South Pole, after the zonal means that Peixoto and Oort (1992,
Physics of Climate) show and those of a GFS analysis of 11 October 2011, rounded, and set so that
means and deviations over all grid points agree with those of the ClimateNet training set (Prabhat
et al. 2021, Geosci. Model Dev. 14, 107; figures of its public training script), which a test holds.
Over high ground they are reduced to sea level.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

FloatArray = NDArray[np.float64]

KNOTS = np.arange(-90.0, 91.0, 10.0)
"""Latitudes of the tables, degrees."""

WARMEST_PHASE = 2.0 * np.pi * 205.0 / 365.0
"""Phase of the year when July's values hold: seasons lag the sun by a month (24 July)."""

TABLES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "t500": (
        (236, 237, 239, 244, 250.5, 256.5, 262, 266, 267.8, 268, 267.5, 265.5, 259.5, 251.5, 244.5,
         239, 235, 232, 231),
        (229, 230.5, 233.5, 238.5, 245.5, 251.5, 258.5, 264.5, 267.3, 268, 268.3, 268.2, 266.5, 262,
         257, 253, 249.5, 246.5, 245.5),
    ),
    "t200": (
        (223, 222.5, 221, 219.5, 217.5, 215.5, 215.5, 217, 218.5, 219, 218.7, 217.6, 214.8, 212.8,
         210.5, 206.5, 202, 198, 196),
        (185, 186.5, 190.5, 197.5, 205.5, 211.5, 215, 217, 218, 218.7, 219, 218.5, 216.8, 215, 215,
         217, 218.5, 219, 219.5),
    ),
    "sea": (
        (258, 262, 269, 272.5, 279, 287, 295, 298.8, 300.5, 300.3, 299.8, 297.5, 291.5, 284, 278.5,
         274, 264, 245, 241),
        (238, 244, 253, 267, 276.5, 284, 290.5, 296, 299, 300, 301, 301, 299.5, 294, 286, 281.5,
         276, 273.3, 273),
    ),
    "ground": (
        (258, 261, 268, 275, 283, 292, 301, 303, 300, 299.5, 299.5, 294, 285.5, 274, 262, 251.5,
         244, 239, 238),
        (225, 229, 241, 260, 276, 282, 287, 294, 299, 300, 301.5, 306, 307, 301.5, 295, 290, 283,
         275, 273),
    ),
    "vapor": (
        (3, 4, 6, 8.5, 13, 17.5, 24, 35, 49, 51, 39, 26, 17, 11.5, 8.5, 5.8, 3.8, 2.6, 2.3),
        (1, 1.6, 3.1, 5.7, 9.8, 13.5, 17.5, 25, 36, 47, 55, 47, 33, 25.5, 21.5, 18.5, 15.5, 13, 12),
    ),
    "rain": (
        (0.2, 0.5, 1.2, 2.4, 2.9, 2.5, 2, 3.2, 6, 5, 2.4, 1.2, 1.7, 2.3, 2, 1.4, 0.8, 0.5, 0.4),
        (0.1, 0.3, 1, 2.3, 2.7, 2.5, 1.9, 1.3, 1.9, 3.5, 7.5, 4, 2.5, 2, 2.3, 2.2, 1.6, 1, 0.8),
    ),
    "u850": (
        (0, -1.5, -4, 5, 11, 8.5, 0.5, -4.5, -2.5, -2, -6, -3, 3.5, 6, 5.5, 2.5, 0.5, 0, 0),
        (0, -1, -2.5, 6, 10.5, 9.5, 5, -3, -7.5, -4.5, 0, -1.5, 0, 4, 5.5, 2.5, 1, 0.5, 0),
    ),
    "ubot": (
        (0, -3, -5, 2.5, 7.5, 5.5, -1.5, -5.5, -3, -2.5, -5.8, -4.5, 0.3, 2.5, 2.5, -0.5, -2, -2,
         0),
        (0, -3, -5, 2.5, 7.5, 6.5, 2, -4, -6.5, -3, 0.2, -2.5, -1.5, 1.5, 2.0, 0, -1.5, -1, 0),
    ),
    "vbot": (
        (0, 1, 1.5, -1.5, -1.2, -0.5, 1, 1.5, 0.5, -2, -2.5, -1.2, -0.2, 0.5, 0.8, 0.3, 0, 0, 0),
        (0, 1, 2, -1.2, -1, -0.5, 0.5, 2, 3.2, 2.8, 1, -0.8, -1, 0, 0.3, 0.3, 0, 0, 0),
    ),
}  # fmt: skip
"""January and July. t500, t200: temperature at 500 and 200 hPa, K. sea, ground: air at 2 m over sea
and over land, K. vapor: precipitable water, kg m-2. rain: mm a day. u850, ubot, vbot: wind at 850
hPa and at the lowest level, m s-1. Those of t200 are 3 K below the observed ones, as CAM5's are
(its mean in ClimateNet's statistics is 213 K)."""


@cache
def _curves(name: str) -> tuple[Any, Any]:
    """Mean of the year and half of July less January, as functions of latitude."""
    january, july = (np.asarray(values, dtype=np.float64) for values in TABLES[name])
    mean, swing = 0.5 * (january + july), 0.5 * (july - january)
    return CubicSpline(KNOTS, mean, bc_type="clamped"), CubicSpline(KNOTS, swing, bc_type="clamped")


def july_share(phase: float) -> float:
    """How much of July there is: 1 in late July, -1 in late January."""
    return float(np.cos(phase - WARMEST_PHASE))


def zonal_mean(name: str, lat: Any, phase: float) -> FloatArray:
    """Zonal mean of a table at latitudes of any shape and a phase of the year.

    Args:
        name: A key of `TABLES`.
        lat: Latitudes, degrees.
        phase: Phase of the year, 0 to 2 pi.
    """
    mean, swing = _curves(name)
    return np.asarray(mean(lat) + swing(lat) * july_share(phase))


def zonal_slope(name: str, lat: Any, phase: float) -> FloatArray:
    """Change of a zonal mean per degree of latitude."""
    mean, swing = _curves(name)
    return np.asarray(mean(lat, 1) + swing(lat, 1) * july_share(phase))
