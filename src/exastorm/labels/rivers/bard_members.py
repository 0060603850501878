"""The thresholds of the ensemble after TECA-BARD, drawn from a summary of its posterior.

TECA-BARD (O'Brien et al. 2020, Geoscientific Model Development 13) inferred its 1024 sets of three
thresholds from counts by eight experts. This is not that table but another draw: its range and
quartiles for each threshold, with even density between them, and the rank correlations of the
three (a high percentile goes with a small area), as computed from the table that TECA 6.0.0
publishes (teca_bayesian_ar_detect_parameters). On the made-up climate at 0.25 degrees the shares
of this draw and of the table differ by 0.025 (root mean square over the globe), 0.23 at most, and
the cells with two thirds have an IoU of 0.82 to 0.91.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]

Spread = tuple[float, float, float, float, float]
"""Lowest value, lower quartile, median, upper quartile and highest value of a threshold."""

RANK_CORRELATION = np.array([[1.0, 0.10, -0.80], [0.10, 1.0, -0.41], [-0.80, -0.41, 1.0]])
"""Spearman's rank correlations of percentile, half width and least area (BARD)."""

NUM_HALF_WIDTHS = 64
"""The half width takes so many values, so that one damped field serves several members. Against a
half width of its own for every member the share changes by 0.001 (root mean square), half of what
another seed changes."""

PLASTIC = 1.2207440846057596
"""Root of x^4 = x + 1: its powers spread points of three dimensions evenly (Roberts 2018, "The
unreasonable effectiveness of quasirandom sequences")."""


class Members(NamedTuple):
    """Thresholds of the members of an ensemble.

    Attributes:
        percentile: Share of the cells of a snapshot that lie below the threshold, percent, (N,).
        half_width_deg: Latitude at which the damping toward the equator leaves half, degrees, (N,).
        min_area_km2: Least area of a river, km2, (N,).
    """

    percentile: FloatArray
    half_width_deg: FloatArray
    min_area_km2: FloatArray


def check_spread(name: str, spread: Spread, low: float, high: float) -> None:
    """Refuse a spread that does not ascend within bounds.

    Raises:
        ValueError: As said.
    """
    ascends = len(spread) == 5 and bool(np.all(np.diff(spread) > 0))
    if not (ascends and low < spread[0] and spread[-1] < high):
        raise ValueError(
            f"{name} must be lowest value, quartiles and highest value, ascending between {low:g}"
            f" and {high:g}, got {spread}"
        )


@lru_cache(maxsize=8)
def draw_members(
    num: int, seed: int, percentile: Spread, half_width_deg: Spread, min_area_km2: Spread
) -> Members:
    """Draw the thresholds of an ensemble.

    Args:
        num: Number of members, at least 2.
        seed: Chooses among sequences that are even alike.
        percentile: Spread of the percentile, percent.
        half_width_deg: Spread of the half width, degrees.
        min_area_km2: Spread of the least area, km2.
    """
    # Normal variables with the Pearson correlation that belongs to Spearman's, 2 sin(pi rho / 6).
    factor = np.linalg.cholesky(2 * np.sin(np.pi / 6 * RANK_CORRELATION))
    ranks = _ranks(factor @ ndtri((_ranks(_even_points(num, seed)) + 0.5) / num))
    num_widths = min(num, NUM_HALF_WIDTHS)
    width_rank = ranks[1] * num_widths // num
    return Members(
        _quantiles(ranks[0] / (num - 1), percentile),
        _quantiles(width_rank / (num_widths - 1), half_width_deg),
        _quantiles(ranks[2] / (num - 1), min_area_km2),
    )


def _even_points(num: int, seed: int) -> FloatArray:
    """Points that fill the unit cube evenly, (3, num)."""
    start = np.random.default_rng(seed).random((3, 1))
    step = PLASTIC ** -np.arange(1.0, 4.0)[:, None]
    return np.asarray(np.mod(start + step * np.arange(num), 1.0))


def _ranks(values: FloatArray) -> NDArray[np.int64]:
    """Rank of each value in its row, from 0, (3, N)."""
    return np.asarray(values.argsort(axis=1).argsort(axis=1), dtype=np.int64)


def _quantiles(share: Any, spread: Spread) -> FloatArray:
    """Values below which these shares of a threshold's distribution lie."""
    return np.asarray(np.interp(share, np.linspace(0.0, 1.0, len(spread)), spread))
