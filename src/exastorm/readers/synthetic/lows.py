"""Extratropical lows and other systems that are not tropical cyclones, painted on the fields.

A low has falling pressure with balanced wind, a cold core with a warm stratosphere above it, a
front that parts warm from cold air, rain, and, if it is wet enough, an atmospheric river. The rest
is there to be mistaken for storms: cutoff, hybrid and monsoon lows for tropical cyclones, plumes
and tongues of moist air for rivers.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.synthetic.canvas import Canvas
from exastorm.readers.synthetic.climatology import AIR_DENSITY
from exastorm.readers.synthetic.fronts import Band, paint_air_masses, paint_band
from exastorm.readers.synthetic.geometry import Patch, Spiral, patch_at, smooth_step
from exastorm.readers.synthetic.low_lives import LONGEST_HOURS, System, systems_born
from exastorm.readers.synthetic.profiles import july_share
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.tracks import Place, alive

FloatArray = NDArray[np.float64]

RIVER_WETNESS = 0.25
"""Wetness (an even random number) above which a low has an atmospheric river: about seven in ten
lows have one near (Zhang et al. 2019, Geophys. Res. Lett. 46, 1814, find 82 % of rivers with a low
and 45 % of lows with a river, counting weak lows that are not made here)."""

RIVER_STRENGTH = 0.35
"""Strength of its low's life cycle from which a river is one in the truth."""


FASTEST_WIND = 55.0
"""Limit of the wind at 850 hPa outside tropical cyclones, m s-1: about the record of soundings."""


def paint_systems(canvas: Canvas, settings: SyntheticSettings) -> None:
    """Add every low, plume and tongue alive at the canvas's hour."""
    systems = alive(lambda number: systems_born(settings, number), canvas.hour, LONGEST_HOURS)
    for system in systems:
        PAINTERS[system.kind.split("_")[0]](canvas, system, system.track.at(canvas.hour))
    # Waves, lows and jets that happen to add up: what is slow passes, nothing exceeds the limit.
    speed = (canvas.u850**2 + canvas.v850**2) / FASTEST_WIND**2
    factor = 1.0 / np.sqrt(np.sqrt(1.0 + speed * speed))
    canvas.u850 *= factor
    canvas.v850 *= factor


def spread(trait: float, low: float, high: float) -> float:
    """A trait in [0, 1) as a number between two."""
    return float(low + trait * (high - low))


def winter_share(lat: float, phase: float) -> float:
    """1 in a hemisphere's late January (July in the south), 0 half a year later."""
    july = july_share(phase)
    return float(0.5 * (1.0 - july) if lat > 0 else 0.5 * (1.0 + july))


def river_band(traits: FloatArray, hour_turn: float) -> Band:
    """The band of a low with some traits, turned by an angle as the low ages, radians."""
    tail = spread(traits[3], 2600.0, 4600.0)
    winding = spread(traits[4], 0.45, 0.85)
    bearing = np.deg2rad(spread(traits[5], -174.0, -146.0)) + hour_turn
    wetness = max(traits[2] - RIVER_WETNESS, 0.0) / (1.0 - RIVER_WETNESS)
    return Band(
        spiral=Spiral(radius_km=tail, bearing=float(bearing), winding=winding),
        head_km=350.0,
        tail_km=tail,
        half_width_km=spread(traits[6], 170.0, 310.0),
        origin_deg=spread(wetness, 18.0, 25.0),
        surplus=spread(wetness, 7.0, 14.0),
        jet=spread(wetness, 5.0, 11.0),
        rain=spread(wetness, 3.0e-7, 8.0e-7),
    )


def has_river(system: System, place: Place) -> bool:
    """Whether a system has an atmospheric river, in the truth, at a place of its track."""
    wet = system.kind.startswith("low") and system.traits[2] >= RIVER_WETNESS
    return bool(wet and place.strength >= RIVER_STRENGTH)


def _paint_pressure(canvas: Canvas, patch: Patch, depth: float, radius_km: float) -> FloatArray:
    """A Gaussian low with its gradient wind; returns its shape, 1 at the center.

    Gradient wind of a low: V = -fr/2 + sqrt((fr/2)^2 + (r/rho) dp/dr) (Holton 2004).

    Args:
        canvas: The fields.
        patch: Its points.
        depth: Pressure deficit at the center, Pa.
        radius_km: Where the deficit has fallen to exp(-1/2) and the pressure slope is greatest.
    """
    shape = np.exp(-0.5 * (patch.distance_km / radius_km) ** 2)
    meters = patch.distance_km * 1e3
    slope = depth * shape * patch.distance_km / radius_km**2 * 1e-3
    half = 0.5 * np.abs(canvas.earth.coriolis[patch.where[0][:, 0]]) * meters
    speed = -half + np.sqrt(half**2 + meters * slope / AIR_DENSITY)
    east, north = patch.around(speed)
    canvas.psl[patch.where] -= depth * shape
    canvas.u850[patch.where] += east
    canvas.v850[patch.where] += north
    return shape


def _paint_low(canvas: Canvas, system: System, place: Place) -> None:
    """An extratropical low, with its front and river."""
    traits, winter = system.traits, winter_share(place.lat, canvas.phase)
    radius = spread(traits[1], 400.0, 760.0)
    # Wide lows are deep ones, so that winds stay below some 30 m s-1 around any.
    depth = spread(traits[0], 1000.0, 3600.0) * radius / 600.0
    depth *= place.strength * (0.6 + 0.6 * winter)
    band = river_band(traits, 0.004 * place.age_hours)
    patch = patch_at(canvas.earth, place.lat, place.lon, band.tail_km)
    shape = _paint_pressure(canvas, patch, depth, radius)
    canvas.airmass[patch.where] -= 0.0022 * depth * shape
    canvas.stratosphere[patch.where] += 0.0026 * depth * shape
    paint_air_masses(canvas, patch, band.spiral, place.strength * (5.0 + 4.0 * winter), 1700.0)
    showers = np.exp(0.7 * canvas.noise["showers"][patch.where])
    head = np.exp(-((patch.distance_km / (0.8 * radius)) ** 2))
    canvas.rain[patch.where] += 0.6e-10 * depth * head * showers
    # Moisture gathers sooner and stays longer than the low is deep.
    strength = float(smooth_step(place.strength, 0.0, 0.6)) * (
        1.0 if traits[2] >= RIVER_WETNESS else 0.35
    )
    river = paint_band(canvas, patch, band, strength)
    if has_river(system, place):
        canvas.river[patch.where] |= river


def _paint_cutoff(canvas: Canvas, system: System, place: Place) -> None:
    """A compact cold-core low: as deep as a weak tropical storm, but cold in the middle."""
    traits = system.traits
    radius = spread(traits[1], 180.0, 380.0)
    depth = place.strength * spread(traits[0], 500.0, 1500.0)
    patch = patch_at(canvas.earth, place.lat, place.lon, 1500.0)
    shape = _paint_pressure(canvas, patch, depth, radius)
    wide = np.exp(-0.5 * (patch.distance_km / (1.6 * radius)) ** 2)
    canvas.airmass[patch.where] -= place.strength * spread(traits[2], 2.0, 6.0) * wide
    # In some the stratosphere is so warm that the mean of both levels looks like a warm core.
    canvas.stratosphere[patch.where] += place.strength * spread(traits[3], 0.0, 7.0) * wide
    canvas.rain[patch.where] += (
        1.5e-7 * place.strength * shape * np.exp(0.7 * canvas.noise["showers"][patch.where])
    )
    canvas.vapor[patch.where] *= 1.0 + 0.25 * place.strength * shape


def _paint_hybrid(canvas: Canvas, system: System, place: Place) -> None:
    """A subtropical storm or warm seclusion: a small warm core inside a cold low, no cyclone."""
    traits = system.traits
    _paint_cutoff(canvas, system, place)
    patch = patch_at(canvas.earth, place.lat, place.lon, 1200.0)
    inner = max(spread(traits[4], 140.0, 220.0), 1.3 * canvas.earth.spacing_km)
    shape = _paint_pressure(canvas, patch, place.strength * spread(traits[5], 500.0, 1300.0), inner)
    canvas.airmass[patch.where] += place.strength * spread(traits[6], 4.0, 8.0) * shape
    canvas.warmth[patch.where] += place.strength * spread(traits[7], 1.0, 3.5) * shape


def _paint_monsoon(canvas: Canvas, system: System, place: Place) -> None:
    """A monsoon depression or easterly wave: wide, wet, weak, hardly warm."""
    traits = system.traits
    radius = spread(traits[1], 250.0, 450.0)
    depth = place.strength * spread(traits[0], 250.0, 750.0)
    patch = patch_at(canvas.earth, place.lat, place.lon, 1500.0)
    shape = _paint_pressure(canvas, patch, depth, radius)
    canvas.warmth[patch.where] += place.strength * spread(traits[2], -0.6, 1.2) * shape
    wide = np.exp(-0.5 * (patch.distance_km / (1.5 * radius)) ** 2)
    vapor = canvas.vapor[patch.where]
    canvas.vapor[patch.where] = vapor + 0.7 * place.strength * wide * np.maximum(62.0 - vapor, 0.0)
    showers = np.exp(0.9 * canvas.noise["showers"][patch.where])
    canvas.rain[patch.where] += 3.5e-7 * place.strength * wide * showers


def _paint_plume(canvas: Canvas, system: System, place: Place) -> None:
    """A moist filament without low, jet or much rain, mostly too dry for a river."""
    band = river_band(system.traits, 0.0)
    weak = Band(
        spiral=band.spiral,
        head_km=band.head_km,
        tail_km=0.8 * band.tail_km,
        half_width_km=0.9 * band.half_width_km,
        origin_deg=spread(system.traits[2], 6.0, 16.0),
        surplus=0.0,
        jet=3.0,
        rain=0.5e-7,
    )
    patch = patch_at(canvas.earth, place.lat, place.lon, weak.tail_km)
    paint_band(canvas, patch, weak, place.strength)


def _paint_tongue(canvas: Canvas, system: System, place: Place) -> None:
    """A wide oval of tropical air in the subtropics: moist as a river, shaped like none."""
    traits = system.traits
    patch = patch_at(canvas.earth, place.lat, place.lon, 2200.0)
    angle = patch.bearing - np.deg2rad(spread(traits[5], -20.0, 80.0))
    long_km, wide_km = spread(traits[3], 600.0, 1000.0), spread(traits[4], 350.0, 650.0)
    along = patch.distance_km * np.cos(angle) + 120.0 * canvas.noise["vapor"][patch.where]
    across = patch.distance_km * np.sin(angle) + 120.0 * canvas.noise["stir"][patch.where]
    share = np.exp(-0.5 * ((along / long_km) ** 2 + (across / wide_km) ** 2))
    target = spread(traits[2], 30.0, 52.0)
    vapor = canvas.vapor[patch.where]
    canvas.vapor[patch.where] = vapor + place.strength * share * np.maximum(target - vapor, 0.0)
    showers = np.exp(0.9 * canvas.noise["showers"][patch.where])
    canvas.rain[patch.where] += 0.6e-7 * place.strength * share * showers


PAINTERS: dict[str, Callable[[Canvas, System, Place], None]] = {
    "low": _paint_low,
    "cutoff": _paint_cutoff,
    "hybrid": _paint_hybrid,
    "monsoon": _paint_monsoon,
    "plume": _paint_plume,
    "tongue": _paint_tongue,
}
"""How each kind is painted, by the first word of its name."""
