"""Zonal means of January and July, which every season lies between.

Values every ten degrees from the South Pole, read off the zonal means of Peixoto and Oort (1992,
Physics of Climate, chapters 7, 10 and 12) to the precision that a figure allows, and set where
they leave room so that means and deviations over all grid points agree with those of the
ClimateNet training set (Prabhat et al. 2021, Geosci. Model Dev. 14, 107; figures of its public
training script), which a test holds. Over high ground they are reduced to sea level.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

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
        (223, 222.5, 221, 219.5, 217.5, 215, 214.5, 215.5, 217.3, 218, 217.7, 216.6, 213.8, 212.8,
         212, 209, 205, 201, 199),
        (189, 190.5, 194, 200, 207, 212, 214.5, 216, 217, 217.7, 218, 217.5, 215.8, 214.5, 215, 217,
         218.5, 219, 219.5),
    ),
    "sea": (
        (258, 262, 269, 272.5, 279, 287, 295, 298.8, 300.5, 300.3, 299.8, 297.5, 291.5, 284, 278.5,
         274, 266, 248, 243),
        (240, 247, 256, 268, 276.5, 284, 290.5, 296, 299, 300, 301, 301, 299.5, 294, 286, 281.5, 276,
         273.3, 273),
    ),
    "ground": (
        (262, 265, 270, 275, 283, 291, 298.5, 300.5, 299.5, 299.5, 299.5, 293.5, 285.5, 274.5, 263,
         253.5, 247, 241, 240),
        (229, 233, 245, 262, 276, 282, 286.5, 293.5, 298.5, 299.5, 301, 304.5, 304.5, 299.5, 293.5,
         289, 282.5, 275, 273),
    ),
    "vapor": (
        (3, 4, 6, 8.5, 13, 18, 25, 35, 46, 47, 36, 25, 16, 11.5, 8.5, 5.8, 3.8, 2.6, 2.3),
        (1, 1.6, 3.1, 5.7, 9.8, 13.5, 17.5, 24, 33, 43, 51, 46, 37, 29, 24, 20, 16, 13.5, 12.5),
    ),
    "rain": (
        (0.2, 0.5, 1.2, 2.4, 2.9, 2.5, 2, 3.2, 6, 5, 2.4, 1.2, 1.7, 2.3, 2, 1.4, 0.8, 0.5, 0.4),
        (0.1, 0.3, 1, 2.3, 2.7, 2.5, 1.9, 1.3, 1.9, 3.5, 7.5, 4, 2.5, 2, 2.3, 2.2, 1.6, 1, 0.8),
    ),
    "u850": (
        (0, -1, -3, 5, 11, 8.5, 0.5, -4.5, -2.5, -2, -6, -3, 3.5, 6, 5.5, 2.5, 0.5, 0, 0),
        (0, -1, -2.5, 6, 10.5, 9.5, 5, -3, -7.5, -4.5, 0, -1.5, 0, 4, 5.5, 2.5, 1, 0.5, 0),
    ),
    "ubot": (
        (0, -1.5, -3.5, 3, 7.5, 5.5, -1.5, -5.5, -3, -2.5, -5.8, -4.5, 0.3, 2.5, 2.8, 0.5, -1, -1, 0),
        (0, -1.5, -4, 3.5, 7.5, 6.5, 2, -4, -6.5, -3, 0.2, -2.5, -1.5, 1.5, 2.5, 0.8, -0.5, -0.5, 0),
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


@lru_cache(maxsize=None)
def _curves(name: str) -> tuple[Any, Any]:
    """Mean of the year and half of July less January, as functions of latitude."""
    january, july = (np.asarray(values, dtype=np.float64) for values in TABLES[name])
    mean, swing = 0.5 * (january + july), 0.5 * (july - january)
    return PchipInterpolator(KNOTS, mean), PchipInterpolator(KNOTS, swing)


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
