"""Wind speed, vorticity and divergence on the sphere.

Centered differences in spherical coordinates (Holton and Hakim 2013, section 4.4):
    vorticity  = (dv/dlambda - d(u cos phi)/dphi) / (R cos phi)
    divergence = (du/dlambda + d(v cos phi)/dphi) / (R cos phi)
Where the grid has a row on the pole, the formula divides by zero there; the value is then the
circulation (or outflow) along the next row over the area of the cap it encloses (Stokes).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.grid import is_global_in_longitude

Field = NDArray[np.floating[Any]]

POLE_COSINE = 1e-6
"""A row whose cosine of latitude is below this (6 m from the pole) lies on the pole."""


def wind_speed(u: Any, v: Any) -> Field:
    """Speed from components, m s-1, any shape."""
    return np.asarray(np.hypot(u, v))


def vorticity(u: Any, v: Any, lat: Any, lon: Any) -> Field:
    """Vertical component of relative vorticity, s-1; positive is cyclonic north of the equator.

    Args:
        u: Zonal wind (..., H, W), m s-1.
        v: Meridional wind (..., H, W), m s-1.
        lat: Ascending latitudes (H,), degrees.
        lon: Ascending longitudes (W,), degrees; differences wrap where they go round the globe.

    Returns:
        Vorticity (..., H, W), in the precision of the wind.
    """
    return _curl_like(v, u, lat, lon, sign=-1.0)


def divergence(u: Any, v: Any, lat: Any, lon: Any) -> Field:
    """Horizontal divergence, s-1; arguments and shape as for `vorticity`."""
    return _curl_like(u, v, lat, lon, sign=1.0)


def _curl_like(along: Any, across: Any, lat: Any, lon: Any, *, sign: float) -> Field:
    """(d along/dlambda + sign d(across cos phi)/dphi) / (R cos phi), sane at the poles."""
    along, across = np.asarray(along), np.asarray(across)
    dtype = np.result_type(along.dtype, np.float32)
    phi = np.deg2rad(np.asarray(lat, dtype=np.float64))
    radius_m = EARTH_RADIUS_KM * 1000.0
    cosine = np.cos(phi)
    at_pole = cosine < POLE_COSINE
    metric = np.where(at_pole, 0.0, 1.0 / np.where(at_pole, 1.0, radius_m * cosine))
    column = (slice(None), None)
    out = _difference_east(along.astype(dtype, copy=False), lon)
    weighted = across * cosine[column].astype(dtype)
    out += dtype.type(sign) * _difference_north(weighted, phi)
    out *= metric[column].astype(dtype)
    for row in np.flatnonzero(at_pole).tolist():
        out[..., row, :] = _cap_mean(across, phi, row, sign)[..., None]
    return out


def _difference_east(field: Field, lon: Any) -> Field:
    """Derivative by longitude, per radian."""
    lon = np.deg2rad(np.asarray(lon, dtype=np.float64))
    out = np.empty_like(field)
    out[..., 1:-1] = field[..., 2:] - field[..., :-2]
    if is_global_in_longitude(np.degrees(lon)):
        out[..., 0] = field[..., 1] - field[..., -1]
        out[..., -1] = field[..., 0] - field[..., -2]
        # One number for all columns, so that a rolled field gives the rolled derivative exactly.
        out *= field.dtype.type(lon.size / (4.0 * np.pi))
        return out
    out[..., 0] = field[..., 1] - field[..., 0]
    out[..., -1] = field[..., -1] - field[..., -2]
    return out / _two_sided(lon).astype(field.dtype)


def _difference_north(field: Field, phi: NDArray[np.float64]) -> Field:
    """Derivative by latitude, per radian; one-sided in the first and the last row."""
    out = np.empty_like(field)
    out[..., 1:-1, :] = field[..., 2:, :] - field[..., :-2, :]
    out[..., 0, :] = field[..., 1, :] - field[..., 0, :]
    out[..., -1, :] = field[..., -1, :] - field[..., -2, :]
    out /= _two_sided(phi)[:, None].astype(field.dtype)
    return out


def _two_sided(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance between the two neighbors of each point; to the one neighbor at the ends."""
    ends = points[[1]] - points[[0]], points[[-1]] - points[[-2]]
    return np.concatenate([ends[0], points[2:] - points[:-2], ends[1]])


def _cap_mean(across: Field, phi: NDArray[np.float64], row: int, sign: float) -> Any:
    """Mean over the polar cap inside the row next to the pole, from the flow along its edge.

    Edge length 2 pi R cos(phi1) over cap area 2 pi R^2 (1 - sin |phi1|).
    """
    next_row = row + 1 if row == 0 else row - 1
    edge = abs(phi[next_row])
    pole_sign = 1.0 if phi[row] > 0 else -1.0
    # Northward flow leaves a southern cap and enters a northern one; the signs of vorticity follow
    # from `sign`, since eastward flow turns cyclonically round the north pole.
    factor = -sign * pole_sign * np.cos(edge) / (EARTH_RADIUS_KM * 1000.0 * (1 - np.sin(edge)))
    return across[..., next_row, :].mean(axis=-1) * across.dtype.type(factor)
