"""Laplacian on the sphere over a wide ring of points, as TempestExtremes takes it.

The points of a ring lie at a great-circle distance around a grid point; each stands for the grid
point nearest to it. With f_0 in the middle and f_k at angle d_k (radians) on the ring of n points,

    laplacian = sum over k of (4 / n) / d_k^2 (f_k - f_0),

which is in the unit of f per square radian (TempestExtremes 80d2b54, `_LAPLACIAN{n,distance}`;
Ullrich et al. 2021, Geosci. Model Dev. 14). Ring points that share a grid point count once.

A mask cut from it is the same as that tool's only if every choice is: sines from the C library,
positions in double, weights and field in single precision, and a sum in the order of grid
points. Which of two equally near grid points counts follows `exastorm.physics.nearest`.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from exastorm.physics.nearest import FloatArray, GridPoints, Index, Vectors
from exastorm.physics.surroundings import Surroundings

POLE_TOLERANCE = 1e-10
"""A point whose |sin(lat)| is nearer to 1 has its ring begin at longitude 0 (TempestExtremes)."""

ROWS_AT_ONCE = 64
"""Rows of the grid whose stencils are built together, to bound memory."""


def laplacian(
    field: Any,
    grid: Surroundings,
    *,
    num_points: int = 8,
    distance_deg: float = 10.0,
    min_lat_deg: float = 0.0,
) -> NDArray[np.float32]:
    """Laplacian over a ring, in the unit of the field per square radian.

    The stencil of a grid is built once and kept: under a second at 768 x 1152.

    Args:
        field: Values (H, W).
        grid: The grid they are on.
        num_points: Number of points on the ring.
        distance_deg: Great-circle distance of the ring, degrees, below 90.
        min_lat_deg: Rows nearer to the equator are not computed.

    Returns:
        The Laplacian (H, W); NaN where it is not computed and where a value it needs is missing.

    Raises:
        ValueError: Unless there are at least 3 points at a distance above 0 and below 90 degrees.
    """
    if num_points < 3:
        raise ValueError(f"num_points must be at least 3, got {num_points}")
    if not 0 < distance_deg < 90:
        raise ValueError(f"distance_deg must be above 0 and below 90, got {distance_deg}")
    far = reaches_latitude(grid.lat, min_lat_deg)
    out = np.full((grid.lat.size, grid.lon.size), np.nan, dtype=np.float32)
    if far.any():
        stencil = _stencil(
            grid.lat.tobytes(), grid.lon.tobytes(), far.tobytes(), num_points, float(distance_deg)
        )
        values = stencil @ np.asarray(field, dtype=np.float32).ravel()
        out[far] = values.reshape(-1, grid.lon.size)
    return out


def reaches_latitude(lat: Any, min_lat_deg: float) -> NDArray[np.bool_]:
    """Whether latitudes (H,), degrees, are at least so far from the equator.

    Compared in radians, rounded as TempestExtremes does, so that rows at the limit agree.
    """
    return np.asarray(np.abs(lat * (math.pi / 180.0)) >= min_lat_deg * math.pi / 180.0)


@lru_cache(maxsize=4)
def _stencil(lat: bytes, lon: bytes, far: bytes, num_points: int, distance_deg: float) -> Any:
    """Sparse matrix (rows * W, H * W), float32, in which the entries of a row ascend."""
    points = GridPoints.of(np.frombuffer(lat), np.frombuffer(lon))
    rows = np.flatnonzero(np.frombuffer(far, dtype=bool))
    num_lat, num_lon = points.shape
    indices = np.empty((rows.size * num_lon, num_points + 1), dtype=np.int32)
    weights = np.empty(indices.shape, dtype=np.float32)
    for first in range(0, rows.size, ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        part = slice(first * num_lon, (first + some.size) * num_lon)
        indices[part], weights[part] = _sorted_entries(points, some, num_points, distance_deg)
    pointers = np.arange(len(indices) + 1) * (num_points + 1)
    shape = (len(indices), num_lat * num_lon)
    return csr_array((weights.ravel(), indices.ravel(), pointers.astype(np.int32)), shape=shape)


def _sorted_entries(
    points: GridPoints, rows: Index, num_points: int, distance_deg: float
) -> tuple[Index, FloatArray]:
    """Grid points and weights (rows * W, n + 1), sorted by grid point, as they are summed."""
    columns = np.arange(points.shape[1])
    near = np.empty((rows.size, columns.size, num_points), dtype=np.intp)
    weights = np.empty((rows.size, columns.size, num_points + 1))
    one = columns[:1] if points.is_uniform else columns
    place = points.at(rows[:, None], one[None, :])
    found, clear = points.nearest(ring(place, num_points, distance_deg))
    if points.is_uniform:
        # What is nearest to a point of column 0 is so for all columns, shifted.
        found = points.shifted(found, columns)
        clear &= np.abs(np.abs(place[2]) - 1.0) > POLE_TOLERANCE
    near[:] = found
    weights[:] = _weights(points, rows[:, None], one[None, :], found[:, : one.size])
    for row in np.flatnonzero(~clear.all(axis=1)):
        place = points.at(rows[row], columns)
        near[row] = points.nearest_of_all(ring(place, num_points, distance_deg))
        weights[row] = _weights(points, rows[row], columns, near[row])
    middle = rows[:, None, None] * columns.size + columns[None, :, None]
    entries = np.concatenate([near, middle], axis=2).reshape(-1, num_points + 1)
    # One sort of whole numbers that carry their slot is faster than an indirect sort.
    keys = np.sort(entries * (num_points + 1) + np.arange(num_points + 1), axis=1)
    entries, slots = np.divmod(keys, num_points + 1)
    return entries, np.take_along_axis(weights.reshape(entries.shape), slots, axis=1)


def ring(place: Vectors, num_points: int, distance_deg: float) -> Vectors:
    """Points (..., n) at a great-circle distance around places (...), unit vectors.

    The first lies due west, the others follow clockwise seen from above; at a pole, where no
    direction is west, the first lies at longitude 0.
    """
    # Seen from the center of the Earth, a circle on the plane that touches it at the place is a
    # circle on the sphere: the tangent of its distance is the radius on the plane.
    west, north = _tangent_frame(place, math.tan(distance_deg * math.pi / 180.0))
    bearings = [2.0 * math.pi * k / num_points for k in range(num_points)]
    westward = np.array([math.cos(bearing) for bearing in bearings])
    northward = np.array([math.sin(bearing) for bearing in bearings])
    # A ring point half way between two grid points goes to one of them by its last bit, so the
    # order of operations is that of TempestExtremes: the frame is stretched before it is turned,
    # west is added before north.
    x, y, z = (
        up[..., None] + to_west[..., None] * westward + to_north[..., None] * northward
        for up, to_west, to_north in zip(place, west, north, strict=True)
    )
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def _tangent_frame(place: Vectors, length: float) -> tuple[Vectors, Vectors]:
    """Vectors (...) of a length that point west and north at places (...), unit vectors."""
    x, y, z = place
    # Toward longitude 0 where all directions are south, or north.
    is_pole = np.abs(np.abs(z) - 1.0) <= POLE_TOLERANCE
    west_x, west_y = np.where(is_pole, 1.0, y), np.where(is_pole, 0.0, -x)
    stretch = length / np.sqrt(west_x * west_x + west_y * west_y)
    west_x, west_y = west_x * stretch, west_y * stretch
    # North is at right angles to west and up, and as long as west, since up has length 1.
    north = west_y * z, -(west_x * z), west_x * y - west_y * x
    return (west_x, west_y, np.zeros_like(west_x)), north


def _weights(points: GridPoints, rows: Any, columns: Any, near: Index) -> FloatArray:
    """Weights (..., n + 1) of the ring's grid points (..., n) and of the middle, the last.

    A grid point that is the middle, or one met before on the ring, has weight 0.
    """
    num_points, num_lon = near.shape[-1], points.shape[1]
    x0, y0, z0 = (v[..., None] for v in points.at(rows, columns))
    x, y, z = points.at(near // num_lon, near % num_lon)
    dx, dy, dz = x - x0, y - y0, z - z0
    angle = 2.0 * np.arcsin(0.5 * np.sqrt(dx * dx + dy * dy + dz * dz))
    again = near == np.asarray(rows * num_lon + columns)[..., None]
    for k in range(1, num_points):
        again[..., k] |= (near[..., :k] == near[..., k : k + 1]).any(axis=-1)
    with np.errstate(divide="ignore"):
        weights = np.where(again, 0.0, 4.0 / num_points / (angle * angle))
    return np.concatenate([weights, -weights.sum(axis=-1, keepdims=True)], axis=-1)
