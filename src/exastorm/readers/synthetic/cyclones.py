"""Tropical cyclones painted on the fields: vortex, warm core, moist air, eyewall and rain bands."""

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.synthetic.canvas import Canvas
from exastorm.readers.synthetic.cyclone_lives import Cyclone, cyclones_at
from exastorm.readers.synthetic.geometry import Patch, Spiral, patch_at, smooth_step
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.tracks import Place
from exastorm.readers.synthetic.vortex import (
    OUTER_KM,
    RADII_KM,
    STORM_WIND,
    Vortex,
    climatological_rain,
    vortex,
    warm_core,
)

FloatArray = NDArray[np.float64]

MOIST_VAPOR = 66.0
"""Precipitable water in the core of a strong storm, kg m-2: 60 to 70 in hurricanes (Shu and Wu
2009, J. Geophys. Res. 114, D16105)."""

MOIST_KM = 420.0
"""Radius over which a storm's moist envelope falls to 1/e, km (ibid.: 300 to 500)."""

ARM_WINDING = 2.0
"""Radians that rain bands turn while their radius falls to 1/e: a crossing angle of 27 degrees, at
the upper end of what radar shows (Willoughby et al. 1984, J. Atmos. Sci. 41, 3189: 10 to 30)."""


def paint_cyclones(canvas: Canvas, settings: SyntheticSettings) -> None:
    """Add every tropical cyclone alive at the canvas's hour."""
    for storm, place in cyclones_at(settings, canvas.hour):
        _paint(canvas, storm, place)


def _paint(canvas: Canvas, storm: Cyclone, place: Place) -> None:
    """Add one cyclone."""
    shape = vortex(place.strength, place.lat, storm.size, canvas.earth.spacing_km)
    patch = patch_at(canvas.earth, place.lat, place.lon, OUTER_KM[1])
    distance = patch.distance_km
    wind, deficit = (
        np.interp(distance.ravel(), RADII_KM, profile).reshape(distance.shape)
        for profile in (shape.wind, shape.deficit)
    )
    _paint_wind(canvas, patch, wind, place)
    canvas.psl[patch.where] -= deficit
    canvas.warmth[patch.where] += warm_core(deficit)
    arms = _arms(canvas, patch, storm, shape)
    _paint_moisture(canvas, patch, storm, place, arms)
    _paint_rain(canvas, patch, storm, shape, arms)
    if place.strength >= STORM_WIND and shape.outer_km > 0.0:
        canvas.cyclone[patch.where] |= distance <= shape.outer_km


def _paint_wind(canvas: Canvas, patch: Patch, wind: FloatArray, place: Place) -> None:
    """Swirl plus half the storm's motion, which makes one side stronger (Lin and Chavas 2012)."""
    east, north = patch.around(wind)
    carried = 0.5 * smooth_step(wind, 0.0, 25.0)
    canvas.u850[patch.where] += east + carried * place.east
    canvas.v850[patch.where] += north + carried * place.north


def _arms(canvas: Canvas, patch: Patch, storm: Cyclone, shape: Vortex) -> FloatArray:
    """Two spiral arms of rain and vapor, 0 between and 1 on them, frayed by showers."""
    turned = storm.turn + 0.12 * canvas.hour
    spiral = Spiral(radius_km=100.0, bearing=turned, winding=ARM_WINDING)
    at_radius = spiral.bearing - spiral.winding * np.log(patch.distance_km / spiral.radius_km)
    waves = 0.5 + 0.5 * np.cos(2.0 * (patch.bearing - at_radius))
    frayed = waves + 0.25 * canvas.noise["showers"][patch.where]
    core = np.exp(-((patch.distance_km / (1.5 * shape.core_km)) ** 2))
    return np.asarray(np.clip(frayed, 0.0, 1.5) * (1.0 - core) + core)


def _paint_moisture(
    canvas: Canvas, patch: Patch, storm: Cyclone, place: Place, arms: FloatArray
) -> None:
    """Moisten the air toward `MOIST_VAPOR`, more on the arms, less for weak storms."""
    strength = place.strength / (place.strength + 12.0)
    envelope = np.exp(-((patch.distance_km / (MOIST_KM * storm.size)) ** 1.6))
    share = strength * envelope * (0.45 + 0.55 * np.clip(arms, 0.0, 1.2))
    vapor = canvas.vapor[patch.where]
    missing = np.maximum(MOIST_VAPOR * storm.wetness - vapor, 0.0)
    canvas.vapor[patch.where] = vapor + np.minimum(share, 1.0) * missing


def _paint_rain(
    canvas: Canvas, patch: Patch, storm: Cyclone, shape: Vortex, arms: FloatArray
) -> None:
    """R-CLIPER's mean rain gathered on the arms, with the eye as wide as the grid can show it."""
    # Distances counted so that a core which the grid widened has its rain at its own radius.
    widened = max(shape.core_km / 45.0, 1.0)
    mean = climatological_rain(patch.distance_km / widened, shape.max_wind)
    gathered = mean * 1.6 * np.clip(arms, 0.0, 1.5) ** 2
    frayed = np.exp(0.5 * canvas.noise["showers"][patch.where])
    canvas.rain[patch.where] += gathered * frayed * storm.wetness / np.sqrt(widened)
