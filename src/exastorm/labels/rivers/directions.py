"""Whether the transport in an object goes one way, along the object, and toward the pole.

Guan and Waliser (2015) average zonal and meridional components over an object. Meridians converge,
so a straight flow over 30 degrees of longitude at 50 N then seems to turn by 23 degrees. Here the
transport of each cell is carried to the center of the object along the great circle between them
(parallel transport), where all of it, and the axis of the object, are seen in one frame: a great
circle keeps its direction, wherever it lies and however it is tilted.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exastorm.labels.rivers.object_cells import ObjectCells

FloatArray = NDArray[np.float64]


class Directions(NamedTuple):
    """How the transport of one object runs.

    Attributes:
        angle_deg: Direction of the mean transport at the center of the object, degrees
            counterclockwise from due east, in (-180, 180].
        coherence: Share of the area whose transport is within an angle of the mean.
        poleward: Mean component toward the nearer pole, in the unit of the transport.
    """

    angle_deg: float
    coherence: float
    poleward: float


UNKNOWN = Directions(float("nan"), float("nan"), float("nan"))
"""Of what is no object."""


def measure_directions(
    cells: ObjectCells, east: Any, north: Any, max_spread_deg: float
) -> Directions:
    """Measure the directions of the transport of one object.

    Args:
        cells: The cells of the object.
        east: Eastward transport (N,) of its cells; a missing one counts as none.
        north: Northward transport (N,).
        max_spread_deg: Greatest angle to the mean transport that counts as along it, degrees.
    """
    east = np.nan_to_num(np.asarray(east, dtype=np.float64))
    north = np.nan_to_num(np.asarray(north, dtype=np.float64))
    weight = cells.area_km2 / cells.area_km2.sum()
    here_east, here_north = _carried(cells, east, north, weight)
    mean_east, mean_north = (here_east * weight).sum(), (here_north * weight).sum()
    along = here_east * mean_east + here_north * mean_north
    least = np.cos(np.deg2rad(max_spread_deg)) * np.hypot(mean_east, mean_north)
    coherent = along >= least * np.hypot(east, north)
    return Directions(
        float(np.degrees(np.arctan2(mean_north, mean_east))),
        float(weight[coherent].sum()),
        float((north * np.sign(cells.lat) * weight).sum()),
    )


def _carried(
    cells: ObjectCells, east: FloatArray, north: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Eastward and northward parts (N,) of transports carried to the center of their object."""
    phi, lam = np.deg2rad(cells.lat), np.deg2rad(cells.lon)
    place = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    to_north = np.stack([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    to_east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)])
    vector = east * to_east + north * to_north
    center = (place * weight).sum(axis=1)
    center /= max(float(np.sqrt((center**2).sum())), 1e-12)
    # The rotation that takes a place r to the center c turns a vector t at r into
    # t - (c . t) (r + c) / (1 + r . c); only the opposite of the center has no one way to it.
    share = (center @ vector) / np.maximum(1.0 + center @ place, 1e-12)
    vector = vector - share * (place + center[:, None])
    lam0, phi0 = np.arctan2(center[1], center[0]), np.arcsin(np.clip(center[2], -1.0, 1.0))
    east0 = np.array([-np.sin(lam0), np.cos(lam0), 0.0])
    north0 = np.array([-np.sin(phi0) * np.cos(lam0), -np.sin(phi0) * np.sin(lam0), np.cos(phi0)])
    return east0 @ vector, north0 @ vector
