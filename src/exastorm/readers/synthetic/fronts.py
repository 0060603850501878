"""Bands along a front: moist filaments with their jet, rain and contrast of temperature.

A band lies on a logarithmic spiral that winds into its low, so that it curves like the comma clouds
of real ones: its head near the low, its tail a few thousand km equatorward and west. It carries
air from the latitude it came from, and is as moist as that latitude is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.synthetic.canvas import Canvas
from exastorm.readers.synthetic.geometry import Patch, Spiral, smooth_step
from exastorm.readers.synthetic.profiles import zonal_mean

FloatArray = NDArray[np.float64]

RIVER_SHARE = 0.45
"""A point is in a river, in the truth, where the band moistens the air by this share of what it
does on its own axis (a Gaussian band is then as wide as at half its height)."""

RIVER_SURPLUS = 4.0
"""And where that makes at least this much vapor, kg m-2."""


MOISTEST = 50.0
"""Precipitable water that no band exceeds, kg m-2."""

DRY_SLOT = 0.35
"""Share of the vapor that is missing behind a strong front."""

TROPICS_EDGE_DEG = (14.0, 24.0)
"""Latitudes between which a band begins: rivers are exports from the tropics (ARTMIP's definitions
leave out what lies within 15 to 20 degrees; Shields et al. 2018, Geosci. Model Dev. 11, 2455)."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """One moist filament.

    Attributes:
        spiral: Its center line.
        head_km: Distance from the low at which it begins.
        tail_km: Distance at which it has ended.
        half_width_km: Where the moistening has fallen to exp(-1/2).
        origin_deg: How far equatorward its air comes from, degrees of latitude.
        surplus: Vapor it gathers beyond what is usual there, kg m-2.
        jet: Speed of the wind along it, m s-1.
        rain: Peak rain along it, m s-1.
    """

    spiral: Spiral
    head_km: float
    tail_km: float
    half_width_km: float
    origin_deg: float
    surplus: float
    jet: float
    rain: float


def band_share(
    canvas: Canvas, patch: Patch, band: Band
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How much a band rules each point, distance from its axis (km), and its ends (0 beyond)."""
    frayed = 90.0 * canvas.noise["stir"][patch.where]
    offset = band.spiral.offset_km(patch) + frayed
    distance = patch.distance_km
    width = band.half_width_km * (0.75 + 0.5 * distance / band.tail_km)
    ends = smooth_step(distance, 0.3 * band.head_km, 1.5 * band.head_km)
    ends = ends * smooth_step(distance, band.tail_km, 0.75 * band.tail_km)
    # The tail ends where the moist tropics begin; beyond there is no band to tell from them.
    lat = np.abs(canvas.earth.lat[patch.where[0][:, 0]])[:, None]
    ends = ends * smooth_step(lat, *TROPICS_EDGE_DEG)
    return np.exp(-0.5 * (offset / width) ** 2) * ends, offset, ends


def paint_band(canvas: Canvas, patch: Patch, band: Band, strength: float) -> NDArray[np.bool_]:
    """Add a band's vapor, wind and rain; returns where it is a river."""
    share, offset, ends = band_share(canvas, patch, band)
    lat = canvas.earth.lat[patch.where[0][:, 0]][:, None]
    came_from = np.sign(lat) * np.maximum(np.abs(lat) - band.origin_deg, 5.0)
    source = zonal_mean("vapor", came_from, canvas.phase) + band.surplus
    source = np.minimum(source, MOISTEST)
    patchy = 1.0 + 0.18 * canvas.noise["vapor"][patch.where]
    # The air behind the front has come down and is dry (Browning 1997, Meteorol. Appl. 4, 317).
    behind = np.exp(-0.5 * ((offset + 2.6 * band.half_width_km) / (1.2 * band.half_width_km)) ** 2)
    vapor = canvas.vapor[patch.where] * (1.0 - DRY_SLOT * strength * behind * ends)
    missing = np.maximum(source * patchy - vapor, 0.0)
    added = strength * share * missing
    canvas.vapor[patch.where] = vapor + added
    east, north = band.spiral.along(patch, band.jet * strength * share)
    canvas.u850[patch.where] += east
    canvas.v850[patch.where] += north
    # Rain falls on the cold side of the band, where the warm air climbs over the front.
    rainy = np.exp(-0.5 * ((offset + 60.0) / (0.6 * band.half_width_km)) ** 2) * share
    showers = np.exp(0.7 * canvas.noise["showers"][patch.where])
    canvas.rain[patch.where] += band.rain * strength * rainy * showers
    return np.asarray((share >= RIVER_SHARE) & (added >= RIVER_SURPLUS))


def paint_air_masses(
    canvas: Canvas, patch: Patch, spiral: Spiral, contrast: float, reach_km: float
) -> None:
    """Warm air ahead of a front and cold air behind it, K at 500 hPa, fading away from the low."""
    offset = spiral.offset_km(patch)
    fade = np.exp(-((patch.distance_km / reach_km) ** 2))
    turn = np.tanh(offset / 350.0) * smooth_step(patch.distance_km, 50.0, 500.0)
    # Half a turn away the far side of the spiral is met; there is no front to be seen there.
    seam = smooth_step(np.abs(offset) / patch.distance_km, 2.6, 1.2)
    canvas.airmass[patch.where] += 0.5 * contrast * turn * fade * seam
