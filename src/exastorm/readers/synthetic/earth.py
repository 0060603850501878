"""The ground the climate stands on: grid, land, terrain, and how continental each place is."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from exastorm.constants import EARTH_RADIUS_KM, EARTH_ROTATION_RATE, KM_PER_DEGREE
from exastorm.grid import regular_grid
from exastorm.land import land_fraction, terrain_height_m

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Earth:
    """One grid and what lies under it.

    Attributes:
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
        sin_lat: Sine of the latitudes (H, 1).
        cos_lat: Cosine of the latitudes (H, 1), never below that of half a row from the pole.
        coriolis: Coriolis parameter (H, 1), s-1.
        spacing_km: Typical distance of neighbors at 20 degrees, where tropical cyclones live.
        land: Land fraction (H, W).
        terrain: Height of the ground (H, W), m.
        continent: Land fraction smoothed over 300 km: 0 far at sea, 1 far inland.
        basin: Land fraction smoothed over 1200 km, less its zonal mean: what planetary waves feel.
        roughness: Terrain less terrain smoothed over 300 km, m: where mountains disturb the flow.
    """

    lat: FloatArray
    lon: FloatArray
    sin_lat: FloatArray
    cos_lat: FloatArray
    coriolis: FloatArray
    spacing_km: float
    land: FloatArray
    terrain: FloatArray
    continent: FloatArray
    basin: FloatArray
    roughness: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.lat.size, self.lon.size


@lru_cache(maxsize=4)
def make_earth(height: int, width: int) -> Earth:
    """The ground on a regular grid.

    Args:
        height: Number of latitudes.
        width: Number of longitudes.
    """
    lat, lon = regular_grid(height, width)
    sin_lat = np.sin(np.deg2rad(lat))[:, None]
    step = 180.0 / (height - 1)
    cos_lat = np.maximum(np.cos(np.deg2rad(lat)), np.sin(np.deg2rad(0.5 * step)))[:, None]
    land, terrain = land_fraction(lat, lon), terrain_height_m(lat, lon)
    wide = smooth(land, cos_lat, 1200.0)
    east_km = 360.0 / width * KM_PER_DEGREE * np.cos(np.deg2rad(20.0))
    return Earth(
        lat=lat,
        lon=lon,
        sin_lat=sin_lat,
        cos_lat=cos_lat,
        coriolis=2.0 * EARTH_ROTATION_RATE * sin_lat,
        spacing_km=float(np.sqrt(east_km * step * KM_PER_DEGREE)),
        land=land,
        terrain=terrain,
        continent=smooth(land, cos_lat, 300.0),
        basin=wide - wide.mean(axis=1, keepdims=True),
        roughness=terrain - smooth(terrain, cos_lat, 300.0),
    )


def smooth(field: FloatArray, cos_lat: FloatArray, scale_km: float) -> FloatArray:
    """A Gaussian blur of the same width in km everywhere: in Fourier space along the rows.

    Args:
        field: (H, W), global in longitude.
        cos_lat: Cosine of the latitudes (H, 1).
        scale_km: Standard deviation of the Gaussian.
    """
    height, width = field.shape
    waves = np.arange(width // 2 + 1)[None, :]
    damping = np.exp(-0.5 * (waves * scale_km / (EARTH_RADIUS_KM * cos_lat)) ** 2)
    rows = np.fft.irfft(np.fft.rfft(field, axis=1) * damping, n=width, axis=1)
    sigma = scale_km / (180.0 / (height - 1) * KM_PER_DEGREE)
    return np.asarray(gaussian_filter1d(rows, sigma, axis=0, mode="nearest"))


def gradient(field: FloatArray, earth: Earth) -> tuple[FloatArray, FloatArray]:
    """Eastward and northward derivative of a field, per m, by central differences.

    The rows at the poles, where east has no meaning, take those of their neighbors.

    Args:
        field: (H, W).
        earth: The grid.
    """
    radius = EARTH_RADIUS_KM * 1e3
    dlon, dlat = np.deg2rad(360.0 / earth.lon.size), np.deg2rad(180.0 / (earth.lat.size - 1))
    east = np.empty_like(field)
    east[:, 1:-1] = field[:, 2:] - field[:, :-2]
    east[:, 0] = field[:, 1] - field[:, -1]
    east[:, -1] = field[:, 0] - field[:, -2]
    east *= 1.0 / (2.0 * dlon * radius * earth.cos_lat)
    north = np.empty_like(field)
    north[1:-1] = (field[2:] - field[:-2]) * (1.0 / (2.0 * dlat * radius))
    for derivative in (east, north):
        derivative[0], derivative[-1] = derivative[1], derivative[-2]
    return east, north
