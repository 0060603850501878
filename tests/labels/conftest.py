"""Fields with storms and rivers drawn by hand, whose labels can be worked out."""

import numpy as np
import pytest

from exastorm.grid import longitude_difference, regular_grid

LAT, LON = regular_grid(181, 360)


def offsets(lat0, lon0, lat, lon):
    """Degrees east and north of a point (on its plane), and distance."""
    north = (lat - lat0)[:, None] + np.zeros(lon.size)
    east = longitude_difference(lon, lon0)[None, :] * np.cos(np.deg2rad(lat))[:, None]
    return east, north, np.hypot(east, north)


def calm(lat=LAT, lon=LON):
    """An atmosphere at rest: no wind, uniform pressure and temperature, dry."""
    values = {
        "TMQ": 10.0,
        "U850": 0.0,
        "V850": 0.0,
        "UBOT": 0.0,
        "VBOT": 0.0,
        "PSL": 101300.0,
        "T200": 220.0,
        "T500": 266.0,
        "PRECT": 0.0,
        "Z1000": 100.0,
        "Z200": 12300.0,
    }
    return {n: np.full((lat.size, lon.size), v, dtype=np.float32) for n, v in values.items()}


def add_storm(fields, lat0, lon0, *, lat=LAT, lon=LON, wind=30.0, peak_deg=1.2, deep=3000.0):
    """Add a cyclone to fields.

    Wind V(x) = V_max 2x / (1 + x^2) with x = r / r_peak; pressure, warmth (5 K in the mean of T200
    and T500) and thickness (150 m) are Gaussians of 2 degrees; moisture and rain, too.
    """
    east, north, distance = offsets(lat0, lon0, lat, lon)
    x = distance / peak_deg
    speed = wind * 2 * x / (1 + x**2)
    cyclonic = 1.0 if lat0 > 0 else -1.0
    safe = np.where(distance > 0, distance, 1.0)
    bell = np.exp(-0.5 * (distance / 2.0) ** 2)
    for u, v in (("U850", "V850"), ("UBOT", "VBOT")):
        fields[u] += (-cyclonic * speed * north / safe).astype(np.float32)
        fields[v] += (cyclonic * speed * east / safe).astype(np.float32)
    for name, size in (
        ("PSL", -deep),
        ("T200", 5.0),
        ("T500", 5.0),
        ("Z200", 150.0),
        ("TMQ", 40.0),
        ("PRECT", 1e-6),
    ):
        fields[name] += (size * bell).astype(np.float32)
    return fields


def river(lat0, lon0, tilt_deg, *, lat=LAT, lon=LON, length_km=3560.0, width_km=490.0):
    """Cells (H, W) of a great-circle band of some length and width, tilted from due east.

    A cell is inside by its distances along and across the great circle through the center.
    """
    phi, lam = np.deg2rad(lat)[:, None], np.deg2rad(lon - lon0)[None, :]
    phi0 = np.deg2rad(lat0)
    # Components of each point toward the center's east, north and up.
    east = np.cos(phi) * np.sin(lam)
    north = np.sin(phi) * np.cos(phi0) - np.cos(phi) * np.cos(lam) * np.sin(phi0)
    up = np.sin(phi) * np.sin(phi0) + np.cos(phi) * np.cos(lam) * np.cos(phi0)
    tilt = np.deg2rad(tilt_deg)
    along = np.arctan2(east * np.cos(tilt) + north * np.sin(tilt), up)
    across = np.arcsin(np.clip(-east * np.sin(tilt) + north * np.cos(tilt), -1, 1))
    radius = 6371.0
    return (np.abs(along) * radius <= length_km / 2) & (np.abs(across) * radius <= width_km / 2)


@pytest.fixture
def stormy():
    """Two cyclones, one over the seam and one in the other hemisphere, and two rivers."""
    fields = calm()
    add_storm(fields, 18.0, 359.0, wind=40.0)
    add_storm(fields, -15.0, 120.0, wind=30.0)
    for mask in (river(40.0, 200.0, 30.0), river(-42.0, 2.0, 10.0)):
        fields["TMQ"][mask] = 60.0
    return fields
