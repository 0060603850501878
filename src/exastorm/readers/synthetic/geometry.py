"""A storm's own corner of the grid: which points it touches, and where they lie seen from it.

A storm changes only points within its reach. Rows and columns are indices, columns wrap, so that a
storm on the Greenwich meridian is cut nowhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_RADIUS_KM, KM_PER_DEGREE
from exastorm.readers.synthetic.earth import Earth

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """The points within reach of a place; arrays (h, w).

    Attributes:
        where: Index of the points in a field (H, W), as `np.ix_` makes it.
        distance_km: Great-circle distance from the center.
        out_east: Eastward part of the unit vector that points away from the center, at the point.
        out_north: Northward part.
        bearing: Direction of the point seen from the center, radians counterclockwise from east,
            with poleward as "up": storms of both hemispheres look alike in it.
        hemisphere: 1 in the northern, -1 in the southern.
    """

    where: tuple[Any, ...]
    distance_km: FloatArray
    out_east: FloatArray
    out_north: FloatArray
    bearing: FloatArray
    hemisphere: float

    def around(self, speed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Wind (east, north) that circles the center cyclonically at a speed."""
        turned = self.hemisphere * speed
        return -self.out_north * turned, self.out_east * turned

    def outward(self, speed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Wind (east, north) that blows away from the center at a speed."""
        return self.out_east * speed, self.out_north * speed


def patch_at(earth: Earth, lat: float, lon: float, reach_km: float) -> Patch:
    """The points of a box that holds the circle of a radius around a place.

    Args:
        earth: The grid.
        lat: Latitude of the center, degrees.
        lon: Longitude of the center, degrees.
        reach_km: Radius of the circle; the box is the whole row where it holds a pole.
    """
    rows = np.nonzero(np.abs(earth.lat - lat) <= reach_km / KM_PER_DEGREE)[0]
    columns = _columns(earth, lat, lon, reach_km)
    phi = np.deg2rad(earth.lat[rows])[:, None]
    lam = np.deg2rad(earth.lon[columns] - lon)[None, :]
    sin_c, cos_c = np.sin(np.deg2rad(lat)), np.cos(np.deg2rad(lat))
    sin_p, cos_p = np.sin(phi), np.cos(phi)
    sin_l, cos_l = np.sin(lam), np.cos(lam)
    half = np.sin(0.5 * (phi - np.deg2rad(lat))) ** 2 + cos_c * cos_p * np.sin(0.5 * lam) ** 2
    half = np.clip(half, 1e-16, 1.0 - 1e-16)
    inverse_sine = 0.5 / np.sqrt(half * (1.0 - half))
    hemisphere = 1.0 if lat >= 0 else -1.0
    return Patch(
        where=np.ix_(rows, columns),
        distance_km=2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half)),
        out_east=sin_l * cos_c * inverse_sine,
        out_north=(sin_p * cos_c * cos_l - cos_p * sin_c) * inverse_sine,
        bearing=np.arctan2(hemisphere * (cos_c * sin_p - sin_c * cos_p * cos_l), sin_l * cos_p),
        hemisphere=hemisphere,
    )


def _columns(earth: Earth, lat: float, lon: float, reach_km: float) -> NDArray[np.int64]:
    """Columns within reach, west to east, wrapping."""
    num_lon = earth.lon.size
    reach = min(reach_km / EARTH_RADIUS_KM, 0.5 * np.pi)
    cosine = np.cos(np.deg2rad(lat))
    # The meridian that touches a circle: sin(dlon) = sin(radius) / cos(lat).
    if np.sin(reach) >= cosine * np.sin(np.deg2rad(89.0)):
        return np.arange(num_lon)
    span = np.rad2deg(np.arcsin(np.sin(reach) / cosine))
    spacing = 360.0 / num_lon
    first, last = int(np.ceil((lon - span) / spacing)), int(np.floor((lon + span) / spacing))
    count = min(last - first + 1, num_lon)
    return np.mod(np.arange(first, first + count), num_lon)


def smooth_step(values: Any, low: float, high: float) -> FloatArray:
    """0 below low, 1 above high, a cubic between (its slope is 0 at both ends).

    With low > high it falls instead.
    """
    share = np.clip((np.asarray(values) - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


@dataclass(frozen=True, kw_only=True)
class Spiral:
    """A logarithmic spiral that winds cyclonically into a center.

    Attributes:
        radius_km: Radius at which `bearing` holds.
        bearing: Bearing there, radians (see `Patch.bearing`).
        winding: Radians that the bearing grows as the radius falls to 1/e.
    """

    radius_km: float
    bearing: float
    winding: float

    def offset_km(self, patch: Patch) -> FloatArray:
        """Signed distance of the points from the nearest turn, km: positive counterclockwise of it.

        The angle to the spiral at the same radius, times the radius, times the cosine of the angle
        between spiral and radius.
        """
        at_radius = self.bearing - self.winding * np.log(patch.distance_km / self.radius_km)
        angle = np.mod(patch.bearing - at_radius + np.pi, 2.0 * np.pi) - np.pi
        return np.asarray(patch.distance_km * angle / np.sqrt(1.0 + self.winding**2))

    def along(self, patch: Patch, speed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Wind (east, north) along the spiral, inward, at a speed."""
        inverse = 1.0 / np.sqrt(1.0 + self.winding**2)
        round_east, round_north = patch.around(speed * (self.winding * inverse))
        out_east, out_north = patch.outward(speed * -inverse)
        return round_east + out_east, round_north + out_north
