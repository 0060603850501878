"""Cells of a latitude-longitude grid as TempestExtremes' DetectBlobs sees them: areas, and blobs.

On a grid that goes round the globe the first and the last row reach to the poles, wherever they
lie (right for the globe, too large for a belt). On another (`--regional`) a cell of the first or
the last column does not look to its side: only a search that comes from inside reaches it, so it
depends on where the search begins whether such cells belong to the object beside them. Both are
copied, because an area just at a threshold decides over a whole object; `corrected` does neither.
"""

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.grid import cell_areas_km2
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import Labels, label_regions

Edges = Literal["tempest", "corrected"]
FloatArray = NDArray[np.float64]

CIRCLE = 2.0 * math.pi
"""The whole circle, radians."""


def sphere_areas(grid: Surroundings, edges: Edges) -> FloatArray:
    """Cell areas (H, W), steradians."""
    if edges == "corrected":
        return cell_areas_km2(grid.lat, grid.lon) / EARTH_RADIUS_KM**2
    return _areas(grid.lat.tobytes(), grid.lon.tobytes(), grid.wraps)


@lru_cache(maxsize=4)
def _areas(lat: bytes, lon: bytes, wraps: bool) -> FloatArray:
    """Areas in the order of operations of TempestExtremes, to the last bit."""
    phi = np.frombuffer(lat) * (math.pi / 180.0)
    inner = 0.5 * (phi[:-1] + phi[1:])
    if wraps:
        south, north = -0.5 * math.pi, 0.5 * math.pi
    else:
        south = phi[0] - 0.5 * (phi[1] - phi[0])
        north = phi[-1] + 0.5 * (phi[-1] - phi[-2])
    # numpy's own sine may differ from the C library's in the last bit.
    sines = np.array([math.sin(value) for value in [south, *inner.tolist(), north]])
    widths = _widths(np.frombuffer(lon) * (math.pi / 180.0), wraps)
    return np.asarray(np.abs(np.diff(sines))[:, None] * widths)


def _widths(lam: FloatArray, wraps: bool) -> FloatArray:
    """Widths (W,) of the columns at longitudes (W,), radians."""
    between = [_middle(west, east) for west, east in pairwise(lam.tolist())]
    if wraps:
        first, last = _middle(lam[0], lam[-1]), _middle(lam[-1], lam[0])
    else:
        first = lam[0] - 0.5 * (lam[1] - lam[0])
        last = lam[-1] + 0.5 * (lam[-1] - lam[-2])
    west, east = np.array([first, *between]), np.array([*between, last])
    return np.asarray(east - np.where(west > east, west - CIRCLE, west))


def _middle(start: float, end: float) -> float:
    """Longitude in [0, 2 pi] in the middle of the shorter arc between two, radians."""
    # Half the arc added to its start rounds otherwise than half the sum of both ends, or the same
    # from the other end; TempestExtremes' areas have this rounding.
    return (start + 0.5 * math.remainder(end - start, CIRCLE)) % CIRCLE


def label_blobs(
    mask: NDArray[np.bool_], grid: Surroundings, corners_touch: bool, edges: Edges
) -> tuple[Labels, int]:
    """Number the objects of a mask (H, W): labels int32 (H, W), zero outside, and how many."""
    connectivity: Any = 8 if corners_touch else 4
    if grid.wraps or corners_touch or edges == "corrected":
        return label_regions(mask, wrap=grid.wraps, connectivity=connectivity)
    inside = mask.copy()
    inside[:, [0, -1]] = False
    labels, num = label_regions(inside, wrap=False, connectivity=connectivity)
    # The search begins with the first cell of each object, row by row from the south.
    begins = np.unique(labels, return_index=True)[1] if num else np.empty(0)
    begins = begins[-num:] if num else begins
    beside = labels[:, [1, -2]].copy()
    for column, neighbors in ((0, beside[:, 0]), (labels.shape[1] - 1, beside[:, 1])):
        runs, num_runs = ndimage.label(mask[:, column])
        for run in range(1, num_runs + 1):
            rows = np.flatnonzero(runs == run)
            touching = neighbors[rows]
            touching = touching[touching > 0]
            owner = min(touching, key=lambda n: begins[n - 1], default=0)
            if owner == 0 or begins[owner - 1] > rows[0] * labels.shape[1] + column:
                num += 1
                owner = num
            labels[rows, column] = owner
    return labels, num
