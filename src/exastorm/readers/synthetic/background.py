"""The weather between the storms: waves, air masses, moisture stirred by the flow, showers.

Winds come from a noisy stream function, and pressure from the same one by geostrophic balance, so
that it fades toward the equator as it should. Air masses and moisture are the mean state displaced:
each point shows the air that the waves have brought there, which draws filaments and tongues.
"""

from dataclasses import fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.readers.synthetic.canvas import Canvas
from exastorm.readers.synthetic.climatology import AIR_DENSITY, MeanState, mean_state
from exastorm.readers.synthetic.earth import Earth, gradient, make_earth
from exastorm.readers.synthetic.noise import LAYERS, Noise, gradient_per_meter, resolved_variance
from exastorm.readers.synthetic.profiles import july_share
from exastorm.readers.synthetic.settings import YEAR_LENGTH_DAYS, SyntheticSettings

FloatArray = NDArray[np.float64]

ANCHOR_HOURS = 240.0
"""The mean state is computed every ten days and blended between: seasons turn slower than that."""

WAVE_WIND = (3.2, 7.6)
"""Deviation of each wind component at 850 hPa due to waves, m s-1: equator, storm tracks. With
storms and the mean state it adds to what ClimateNet's statistics show (8.3 and 6.2)."""

EDDY_WIND = (2.6, 2.2)
"""The same due to smaller eddies, m s-1."""

AIRMASS_SHIFT_DEG = 5.0
"""Deviation of where air masses come from, degrees of latitude: gives 3 to 4 K at 500 hPa in
midlatitudes (Peixoto and Oort 1992)."""

VAPOR_RIDGE_DEG = 3.5
"""Deviation of the latitude where moisture comes from due to ridges and troughs, degrees."""

VAPOR_WIND_HOURS = 22.0
"""How long the wind has carried moisture along, hours: far enough to draw tongues of it."""

VAPOR_STIR_DEG = 2.2
"""Deviation of where moisture comes from due to smaller whirls, which draw them into filaments."""

RAIN_THRESHOLD = 0.9
"""Rain starts where moisture, lift and chance pass this, so that it rains on about 15 % of the
points (Trenberth et al. 2017, J. Hydrometeor. 18, 1393: 11 % of the time at any place)."""

LIFTED_RAIN = 7.5
"""Factor that gives the lifted rain its zonal mean."""

CONVECTION_VAPOR = 44.0
"""Precipitable water from which tropical columns convect, kg m-2 (Bretherton et al. 2004:
rain sets in at 65 % of saturated columns of some 65 kg m-2)."""

CELL_WEIGHTS = {"showers": 1.3, "vapor": 0.8}
"""How far the logarithm of convective rain varies with each layer of noise: by a factor of 4.6
either way (rain rates are lognormal: Kedem and Chiu 1987, Proc. Natl. Acad. Sci. 84, 901); set so
that the deviation of rain at 0.25 degrees is that of ClimateNet."""

DEEP_RAIN = 5.0e-10
"""Convective rain per squared excess over that, m s-1 per (kg m-2)2: 8 mm a day at 58."""


@lru_cache(maxsize=2)
def noise_of(seed: int, height: int, width: int) -> Noise:
    """The noise of a climate on a grid, kept with the realizations it has drawn."""
    return Noise(seed, make_earth(height, width).lat, width)


@lru_cache(maxsize=3)
def _anchor(height: int, width: int, calendar: str, number: int) -> MeanState:
    """Mean state at a multiple of `ANCHOR_HOURS` since the epoch."""
    days = number * ANCHOR_HOURS / 24.0
    phase = 2.0 * np.pi * np.mod(days / YEAR_LENGTH_DAYS[calendar], 1.0)
    return mean_state(make_earth(height, width), float(phase))


def mean_state_at(settings: SyntheticSettings, hour: float) -> MeanState:
    """The mean state at an absolute hour, between the two nearest anchors."""
    number = int(np.floor(hour / ANCHOR_HOURS))
    share = hour / ANCHOR_HOURS - number
    key = (settings.height, settings.width, settings.calendar)
    before, after = _anchor(*key, number), _anchor(*key, number + 1)
    blended = {
        f.name: getattr(before, f.name) * (1.0 - share) + getattr(after, f.name) * share
        for f in fields(MeanState)
    }
    return MeanState(**blended)


def blank_canvas(settings: SyntheticSettings, hour: float) -> Canvas:
    """The background weather at an absolute hour, before any storm is painted."""
    earth = make_earth(settings.height, settings.width)
    mean = mean_state_at(settings, hour)
    noise = noise_of(settings.seed, settings.height, settings.width).at(hour)
    phase = settings.year_phase(hour)
    strength = settings.weather_amplitude
    pressure, u_wave, v_wave = (strength * part for part in _waves(earth, noise, phase))
    vapor = _stirred_vapor(earth, mean, noise, (u_wave, v_wave), strength)
    zeros = np.zeros(earth.shape)
    return Canvas(
        earth=earth,
        hour=hour,
        phase=phase,
        mean=mean,
        noise=noise,
        psl=mean.psl + pressure,
        u850=mean.u850 + u_wave,
        v850=mean.v850 + v_wave,
        warmth=zeros.copy(),
        airmass=strength * _air_masses(earth, mean, noise),
        stratosphere=zeros.copy(),
        vapor=vapor,
        rain=_showers(earth, mean, vapor, noise, v_wave, strength),
        cyclone=np.zeros(earth.shape, dtype=bool),
        river=np.zeros(earth.shape, dtype=bool),
    )


def storm_track_share(earth: Earth, phase: float) -> FloatArray:
    """0 at the equator, about 1 in midlatitudes, more in winter, (H, 1)."""
    tropics = np.exp(-0.5 * (earth.lat / 16.0) ** 2)
    season = 1.0 - 0.18 * july_share(phase) * np.sin(np.deg2rad(earth.lat))
    polar = 1.0 - 0.35 * np.clip((np.abs(earth.lat) - 60.0) / 30.0, 0.0, 1.0)
    return ((1.0 - tropics) * season * polar)[:, None]


def _waves(
    earth: Earth, noise: dict[str, FloatArray], phase: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pressure anomaly (Pa) and wind (m s-1) of the waves and eddies, in geostrophic balance."""
    share = storm_track_share(earth, phase)
    slopes = {layer.name: gradient_per_meter(layer) for layer in LAYERS}
    wave = (WAVE_WIND[0] + (WAVE_WIND[1] - WAVE_WIND[0]) * share) / slopes["stream"]
    eddy = (EDDY_WIND[0] + (EDDY_WIND[1] - EDDY_WIND[0]) * share) / slopes["eddies"]
    stream = wave * noise["stream"] + eddy * noise["eddies"]
    east, north = gradient(stream, earth)
    return AIR_DENSITY * earth.coriolis * stream, -north, east


def _hemisphere(earth: Earth) -> FloatArray:
    """-1 to 1 from south to north, smooth across the tropics, (H, 1)."""
    return np.asarray(np.tanh(earth.lat / 15.0)[:, None])


def _air_masses(earth: Earth, mean: MeanState, noise: dict[str, FloatArray]) -> FloatArray:
    """Warmth at 500 hPa of displaced air, K: warm in ridges aloft."""
    side = _hemisphere(earth)
    north = 0.75 * noise["stream_aloft"] * side**2 + 0.65 * noise["planetary"]
    return np.asarray(-mean.t500_slope * AIRMASS_SHIFT_DEG * north)


def _stirred_vapor(
    earth: Earth,
    mean: MeanState,
    noise: dict[str, FloatArray],
    wind: tuple[FloatArray, FloatArray],
    strength: float,
) -> FloatArray:
    """Precipitable water of the mean state, fetched from where the flow brought it from.

    First the large flow carries it, then small whirls stir what that has made. Both displacements
    are rotational, so that air is moved and neither made nor lost.
    """
    side = _hemisphere(earth)
    per_hour = 3600.0 / KM_PER_DEGREE * 1e-3
    ridge = strength * VAPOR_RIDGE_DEG * noise["stream_aloft"] * side**2
    large_north = VAPOR_WIND_HOURS * per_hour * wind[1] + ridge
    large_east = VAPOR_WIND_HOURS * per_hour * wind[0]
    slope = next(gradient_per_meter(layer) for layer in LAYERS if layer.name == "stir")
    east, north = gradient(noise["stir"] * (strength * VAPOR_STIR_DEG / slope), earth)
    polar = np.clip((90.0 - np.abs(earth.lat)) / 15.0, 0.0, 1.0)[:, None]
    stirred = [
        _fetch(field * polar, earth, east * polar, -north * polar)
        for field in (large_north, large_east)
    ]
    north_total, east_total = stirred[0] + east * polar, stirred[1] - north * polar
    fetched = _fetch(mean.vapor, earth, north_total, east_total / np.maximum(earth.cos_lat, 0.2))
    return fetched * np.exp(strength * 0.05 * noise["vapor"] * polar)


def _fetch(field: FloatArray, earth: Earth, north: FloatArray, east: FloatArray) -> FloatArray:
    """Bilinear values of a field at points displaced by degrees to the south and west."""
    height, width = field.shape
    row = np.arange(height)[:, None] - north * ((height - 1) / 180.0)
    row = np.clip(row, 0.0, height - 1.0 - 1e-9)
    column = np.mod(np.arange(width)[None, :] - east * (width / 360.0), width)
    low_row, low_column = row.astype(np.int32), column.astype(np.int32) % width
    row_share, column_share = row - low_row, column - np.floor(column)
    flat, start = field.ravel(), low_row * width
    next_column = low_column + 1
    next_column[next_column == width] = 0
    lower = (
        flat[start + low_column] * (1.0 - column_share) + flat[start + next_column] * column_share
    )
    start = start + width
    upper = (
        flat[start + low_column] * (1.0 - column_share) + flat[start + next_column] * column_share
    )
    return np.asarray(lower * (1.0 - row_share) + upper * row_share)


def _showers(
    earth: Earth,
    mean: MeanState,
    vapor: FloatArray,
    noise: dict[str, FloatArray],
    v_wave: FloatArray,
    strength: float,
) -> FloatArray:
    """Rain of the background, m s-1.

    Where air is moist for its place, flows poleward and so rises, and by chance; and in deep
    convection where the column is nearly saturated (Bretherton et al. 2004, J. Climate 17, 1517).
    """
    moist = np.log(np.maximum(vapor, 0.1) / np.maximum(mean.vapor, 0.1))
    rising = 0.055 * v_wave * _hemisphere(earth)
    chance = strength * (0.5 * noise["showers"] + 0.4 * noise["vapor"])
    excess = np.maximum(chance + rising + 2.2 * moist - RAIN_THRESHOLD, 0.0)
    cells = np.exp(
        sum(
            strength * weight * noise[name]
            # Keeps the mean of the exponential at 1, whatever part of the noise the grid holds.
            - 0.5 * (strength * weight) ** 2 * resolved_variance(name, *earth.shape)
            for name, weight in CELL_WEIGHTS.items()
        )
    )
    deep = np.maximum(vapor * mean.altitude_share - CONVECTION_VAPOR, 0.0) ** 2
    return np.asarray(mean.rain * excess**2 * LIFTED_RAIN + DEEP_RAIN * deep * cells)
