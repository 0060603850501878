"""TECA's way to the lowest point of a field, and its measure of how far the field rises around it.

The field round a place is a bicubic spline; on it `descend` and `stepped_rise` do what TECA's
detector does (gfdl_spline, of GFDL's TSTORMS):

- It follows conjugate gradients, but is content as soon as a line search lowers the field by less
  than 1 % of its value. That is 10 hPa of pressure, 2.4 K of temperature or 120 m of thickness, so
  nearly always after the first line search: its minimum is the lowest place along the gradient
  at the point it starts from, which may lie beside the lowest point.
- Along each of eight directions it steps outward by whole degrees, diagonally by both at once, as
  long as the field has risen by no more than 2 in whatever unit. From a rise between 2 and the
  threshold it goes back by ever smaller steps, and then accepts the direction. So a direction
  passes where a step within the radius rises by the threshold, or by more than 2: 400 Pa and
  50 m count as 2 Pa and 2 m, 0.8 K counts as it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import bracket, brent

FloatArray = NDArray[np.float64]

CONTENT = 0.01
"""Relative gain of a line search with which TECA stops (gfdl_tc_candidates, ftol)."""
LINE_TOLERANCE = 1e-4
"""Relative precision of TECA's line search (gfdl_spline, linmim tol)."""
NUM_ITERATIONS = 50
"""Line searches after which TECA gives up (teca_tc_candidates, minimizer_iterations)."""
BLIND_RISE = 2.0
"""Rise over which TECA accepts a direction, in the unit of the field (gfdl_spline, linmin1)."""
MARGIN = 8
"""Cells of a spline round the part that is used: a cubic spline forgets by a factor of 2 - sqrt(3)
= 0.27 a cell, so what is cut off beyond changes it by 3e-5 of the change there."""
WALL = 1e30
"""Height of a surface beyond its reach: higher than any field, and finite for line searches."""
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1))
"""TECA's eight steps, degrees of longitude and latitude."""


class Place(NamedTuple):
    """A place on a surface.

    Attributes:
        x: Degrees east.
        y: Degrees north.
        value: The field there.
    """

    x: float
    y: float
    value: float


@dataclass(frozen=True, eq=False)
class Surface:
    """A field round a place as a bicubic spline; a wall beyond its reach.

    Attributes:
        spline: The spline of y and x.
        center: Place (x, y) round which it may be used, degrees.
        reach: How far it may be used, degrees of x and of y.
    """

    spline: Any
    center: tuple[float, float]
    reach: tuple[float, float]

    @classmethod
    def through(
        cls, values: Any, y: FloatArray, x: FloatArray, center: tuple[float, float], reach: Any
    ) -> "Surface | None":
        """The surface through values (N, M) at y (N,) and x (M,); None where one is missing."""
        if not np.isfinite(values).all():
            return None
        return cls(RectBivariateSpline(y, x, values), center, reach)

    def value(self, x: float, y: float) -> float:
        """The field at a place."""
        away = abs(x - self.center[0]) - self.reach[0], abs(y - self.center[1]) - self.reach[1]
        return WALL if max(away) > 1e-9 else float(self.spline.ev(y, x))

    def gradient(self, x: float, y: float) -> FloatArray:
        """Slope eastward and northward, per degree, (2,)."""
        return np.array([self.spline.ev(y, x, dy=1), self.spline.ev(y, x, dx=1)])


def descend(surface: Surface, x: float, y: float) -> Place | None:
    """Where TECA's minimizer comes to from a place; None where it fails.

    Its update of the direction is kept too: the sum of squares of Polak and Ribiere with the
    slope counted twice.
    """
    here, slope = np.array([x, y]), surface.gradient(x, y)
    before = surface.value(x, y)
    direction, descent = -slope, -slope
    for _ in range(NUM_ITERATIONS):
        length = math.hypot(*direction)
        if length == 0.0:
            return Place(float(here[0]), float(here[1]), before)
        found = _along(surface, here, direction / length)
        if found is None or found[1] >= WALL:
            return None
        here, value = found
        if 2 * abs(value - before) <= CONTENT * (abs(value) + abs(before)):
            return Place(float(here[0]), float(here[1]), value)
        slope, before = surface.gradient(*here), surface.value(*here)
        gain = float(descent @ descent)
        if gain == 0.0:
            return Place(float(here[0]), float(here[1]), value)
        share = float(slope @ slope + (slope + descent) @ slope) / gain
        descent = -slope
        direction = descent + share * direction
    return None


def _along(surface: Surface, here: FloatArray, unit: FloatArray) -> tuple[FloatArray, float] | None:
    """Lowest place along a line and the value there; None where there is none.

    Brackets from the first degree outward, then Brent's method (Press et al. 1992, section 10).
    """
    (x, y), (east, north) = here.tolist(), unit.tolist()

    def height(way: float) -> float:
        return surface.value(x + way * east, y + way * north)

    bracketed = _bracket(height)
    if bracketed is None:
        return None
    way, value, _, _ = brent(height, brack=bracketed, tol=LINE_TOLERANCE, full_output=True)
    # As TECA does: it never goes back, although it keeps the value found there.
    way = way if way > 1e-5 else 0.0
    return here + way * unit, float(value)


def _bracket(height: Callable[[float], float]) -> tuple[float, float, float] | None:
    """Three ways of which the middle one is lowest; None where the line is flat or only falls."""
    try:
        low, mid, high, *heights, _ = bracket(height, xa=0.0, xb=1.0, grow_limit=100.0)
    except RuntimeError:
        return None
    lowest = heights[1] < heights[0] and heights[1] < heights[2]
    return (float(low), float(mid), float(high)) if lowest else None


def stepped_rise(surface: Surface, place: Place, radius_deg: float) -> float:
    """Rise of a surface above a place in the weakest of TECA's directions, at its whole steps.

    TECA accepts a place where this reaches the threshold or exceeds `BLIND_RISE`.
    """
    weakest = math.inf
    for east, north in DIRECTIONS:
        length = math.hypot(east, north)
        # Strictly within the radius: a step onto it is too far.
        steps = np.arange(1, math.ceil(radius_deg / length))
        if steps.size == 0:
            return 0.0
        heights = surface.spline.ev(place.y + steps * north, place.x + steps * east)
        weakest = min(weakest, float(heights.max()))
    return weakest - float(surface.spline.ev(place.y, place.x))
