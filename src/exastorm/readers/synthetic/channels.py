"""From the painted fields to the channels of the vocabulary.

Everything that is not painted follows here: heights by the hypsometric equation, surface pressure
from sea-level pressure and terrain, surface winds by friction, humidity from temperature and
moisture, vapor transport from vapor and wind.
"""

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import DRY_AIR_GAS_CONSTANT, STANDARD_GRAVITY, VAPOR_MASS_RATIO
from exastorm.readers.synthetic.canvas import Canvas
from exastorm.readers.synthetic.climatology import (
    AIR_DENSITY,
    DEEP_LAYER,
    LOWER_LAYER,
    MIDDLE_LAYER,
)

FloatArray = NDArray[np.float64]
Fields = dict[str, FloatArray]

BOTTOM_LAYER = 0.00747
"""Logarithm of surface pressure over that of the lowest model level: ln(1 / 0.99256) of CAM5's 30
levels (Neale et al. 2012, NCAR/TN-486)."""

SEA_FRICTION = (0.88, 14.0)
"""Wind at the lowest level over that at 850 hPa at sea, and its turn toward low pressure, degrees
(Stull 1988; the ratio makes the deviations of U850 and UBOT those of ClimateNet)."""

LAND_FRICTION = (0.70, 26.0)
"""The same over land."""

TEN_METER_SHARE = 0.85
"""Wind at 10 m over that at the lowest level (Zarzycki et al. 2021, J. Appl. Meteor. Climatol. 60,
643, use the same for cyclones)."""

WARM_CORE_LEVELS = {"lower": 0.60, "t500": 0.95, "t400": 1.35, "middle": 1.45, "t200": 0.80}
"""Warmth of a warm core at levels and in layers over its mean of 1000-200 hPa: greatest near
300 hPa (Frank 1977, Mon. Wea. Rev. 105, 1119). With 1.12 for 300-200 hPa the layers'
thicknesses add up to the mean's."""

HEAVIEST_RAIN = 2.5e-5
"""Rain that three-hourly means of a 0.25-degree cell stay below, m s-1: 90 mm an hour."""

DIURNAL_RANGE = (0.4, 5.0)
"""Half the daily range of air temperature at sea and inland, K (Dai and Trenberth 2004, J. Climate
17, 930)."""


def channels(canvas: Canvas, with_optional: bool) -> Fields:
    """All fields of one time in the units of the vocabulary, (H, W), not yet rounded.

    Args:
        canvas: The painted fields.
        with_optional: Also those of `exastorm.variables.OPTIONAL` that change in time.
    """
    fields = _aloft(canvas)
    fields |= _near_surface(canvas)
    fields |= _winds(canvas)
    fields["TMQ"] = canvas.vapor * canvas.mean.altitude_share
    fields["PRECT"] = canvas.rain / (1.0 + canvas.rain / HEAVIEST_RAIN)
    fields |= _humidity(canvas, fields)
    if with_optional:
        fields |= _transport(fields)
        fields["U10"] = TEN_METER_SHARE * fields["UBOT"]
        fields["V10"] = TEN_METER_SHARE * fields["VBOT"]
    else:
        fields = {k: v for k, v in fields.items() if k not in ("Z300", "Z500", "T400")}
    for name, field in fields.items():
        if name not in ("U850", "V850", "UBOT", "VBOT", "IVTX", "IVTY", "U10", "V10"):
            field[0], field[-1] = field[0].mean(), field[-1].mean()
    return fields


def _aloft(canvas: Canvas) -> Fields:
    """Temperatures and heights of pressure levels."""
    mean, warm, mass = canvas.mean, canvas.warmth, canvas.airmass
    core = WARM_CORE_LEVELS
    away = 1.0 - np.exp(-0.5 * (canvas.earth.lat / 20.0) ** 2)[:, None]
    t500 = mean.t500 + core["t500"] * warm + mass
    # Where the troposphere is cold the tropopause is low and the air above it warm.
    t200 = mean.t200 + core["t200"] * warm + canvas.stratosphere - 0.9 * away * mass
    t200 += 2.0 * canvas.noise["planetary"]
    t400 = 0.71 * mean.t500 + 0.29 * (mean.t200 + 3.0) + core["t400"] * warm + 0.9 * mass
    # Mean temperature of layers from that at 500 hPa, a straight line through the zonal means of
    # the GFS analysis of 11 October 2011 (slope 0.985; 261.9 K where it is 267.8 K).
    deep = 261.9 + 0.985 * (mean.t500 - 267.8) + warm + 0.9 * mass
    lower = 281.0 + 1.0 * (mean.t500 - 267.8) + core["lower"] * warm + 0.95 * mass
    middle = 256.5 + 0.95 * (mean.t500 - 267.8) + core["middle"] * warm + 0.85 * mass
    low = _height_1000(canvas)
    ground = np.clip(canvas.earth.terrain / 100.0, 0.0, 1.0)
    floor = np.maximum(low, canvas.earth.terrain + 61.0)
    z500 = low + LOWER_LAYER * lower
    return {
        "T500": t500,
        "T200": t200,
        "T400": t400,
        # Where 1000 hPa lies below the ground CAM gives the height of its lowest level.
        "Z1000": low + ground * (floor - low),
        "Z500": z500,
        "Z300": z500 + MIDDLE_LAYER * middle,
        "Z200": low + DEEP_LAYER * deep,
    }


def _height_1000(canvas: Canvas) -> FloatArray:
    """Height of 1000 hPa from sea-level pressure, m."""
    return (canvas.psl - 100000.0) / (AIR_DENSITY * STANDARD_GRAVITY)


def _near_surface(canvas: Canvas) -> Fields:
    """Temperatures and pressures at the ground."""
    earth, mean = canvas.earth, canvas.mean
    coast = earth.continent
    # Warmest at 15 local time (Dai and Trenberth 2004).
    local = canvas.hour + earth.lon[None, :] / 15.0 - 15.0
    sun = np.cos(2.0 * np.pi * local / 24.0) * earth.cos_lat
    daily = DIURNAL_RANGE[0] + (DIURNAL_RANGE[1] - DIURNAL_RANGE[0]) * coast
    weather = canvas.airmass * (0.45 + 0.65 * coast) + 1.5 * canvas.noise["eddies"] * coast
    t2m = mean.t2m + daily * sun + weather
    skin = t2m + (0.6 + 0.6 * daily * sun) * coast + 0.7 * (1.0 - coast)
    virtual = t2m + 0.5 * 0.0065 * earth.terrain
    rough = 0.25 * np.abs(earth.roughness) * canvas.noise["vapor"]
    psl = canvas.psl + np.clip(rough, -400.0, 400.0)
    ps = psl * np.exp(-STANDARD_GRAVITY * earth.terrain / (DRY_AIR_GAS_CONSTANT * virtual))
    return {"TREFHT": t2m, "TS": skin, "PS": ps, "PSL": psl}


def _winds(canvas: Canvas) -> Fields:
    """Winds at 850 hPa and at the lowest level."""
    earth, mean = canvas.earth, canvas.mean
    # Below the highest mountains the level is inside the ground and the wind is what is left.
    left = 1.0 - 0.75 * np.clip(earth.terrain / 3000.0, 0.0, 1.0)
    gusts = (
        1.0 + 0.25 * np.clip(np.abs(earth.roughness) / 400.0, 0.0, 1.0) * canvas.noise["showers"]
    )
    u, v = canvas.u850 * left * gusts, canvas.v850 * left * gusts
    ratio = SEA_FRICTION[0] + (LAND_FRICTION[0] - SEA_FRICTION[0]) * earth.land
    turn = np.deg2rad(SEA_FRICTION[1] + (LAND_FRICTION[1] - SEA_FRICTION[1]) * earth.land)
    turn = turn * np.tanh(earth.lat / 8.0)[:, None]
    along, across = ratio * np.cos(turn), ratio * np.sin(turn)
    return {
        "U850": u,
        "V850": v,
        "UBOT": u * along - v * across - mean.u_shear,
        "VBOT": v * along + u * across - mean.v_shear,
    }


def saturation_humidity(kelvin: FloatArray, pressure: FloatArray) -> FloatArray:
    """Specific humidity of saturated air, kg kg-1 (Bolton 1980, Mon. Wea. Rev. 108, 1046, eq. 10).

    Args:
        kelvin: Temperature, K.
        pressure: Pa.
    """
    celsius = kelvin - 273.15
    vapor = 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))
    return np.asarray(VAPOR_MASS_RATIO * vapor / (pressure - 0.378 * vapor))


def _humidity(canvas: Canvas, fields: Fields) -> Fields:
    """Humidity at 2 m, near 80 % at sea and varying with the column above, and what hangs on it."""
    usual = np.maximum(canvas.mean.vapor, 0.3)
    relative = (
        0.78 - 0.08 * canvas.earth.continent + 0.16 * np.log(np.maximum(canvas.vapor, 0.1) / usual)
    )
    desert = np.clip(canvas.mean.t2m - 283.0 - 0.45 * canvas.mean.vapor, 0.0, 20.0) / 20.0
    relative = np.clip(relative - 0.5 * desert * canvas.earth.continent, 0.12, 0.99)
    humidity = relative * saturation_humidity(fields["TREFHT"], fields["PS"])
    # Moist air is lighter: its layers are as thick as those of warmer dry air.
    virtual = fields["TREFHT"] * (1.0 + (1.0 / VAPOR_MASS_RATIO - 1.0) * humidity)
    bottom = DRY_AIR_GAS_CONSTANT * BOTTOM_LAYER / STANDARD_GRAVITY * virtual
    return {"QREFHT": humidity, "ZBOT": bottom}


def _transport(fields: Fields) -> Fields:
    """Vapor transport: precipitable water times the mean wind of the two levels.

    Half of the vapor is below 850 hPa (scale height 2 km).
    """
    return {
        "IVT" + axis: fields["TMQ"] * 0.5 * (fields[wind + "850"] + fields[wind + "BOT"])
        for axis, wind in (("X", "U"), ("Y", "V"))
    }
