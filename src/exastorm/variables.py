"""Name, unit and plausible range of every field; name, flag and color of every class.

One vocabulary for the whole package: readers translate into it, everything else speaks it.
Names and units are CAM's, in the order of the SC18 data set (Kurth et al. 2018;
channel list of the published label maker).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One field of the vocabulary.

    Attributes:
        name: CAM name, the key in every dataset of the package.
        long_name: What it is, in words.
        standard_name: CF standard name.
        units: UDUNITS string of the values.
        low: Lowest plausible value, in `units`; below it the unit or the field is wrong.
        high: Highest plausible value, in `units`.
        level_hpa: Pressure level for fields on one, else None.
        height_m: Height above the surface for near-surface fields whose height is fixed, else None.
        is_rate: True for precipitation-like rates, which are regridded conservatively.
        flips_with_hemisphere: True for northward components and vorticity, which change sign where
            north and south are swapped.
    """

    name: str
    long_name: str
    standard_name: str
    units: str
    low: float
    high: float
    level_hpa: float | None = None
    height_m: float | None = None
    is_rate: bool = False
    flips_with_hemisphere: bool = False


def _field(
    name: str,
    units: str,
    valid: tuple[float, float],
    long_name: str,
    standard_name: str,
    **extra: Any,
) -> Variable:
    """One row of the tables below."""
    low, high = valid
    return Variable(
        name=name,
        units=units,
        low=low,
        high=high,
        long_name=long_name,
        standard_name=standard_name,
        **extra,
    )


# Plausible ranges are the observed extremes of the WMO archive of weather and climate extremes
# (surface pressure 870 and 1085 hPa, temperature -89 and +57 C) where it has one, otherwise the
# extremes of ERA5, each widened by about a tenth: they catch wrong units, not rare weather.
CHANNELS: tuple[Variable, ...] = (
    _field(
        "TMQ",
        "kg m-2",
        (-0.5, 120.0),
        "total precipitable water",
        "atmosphere_mass_content_of_water_vapor",
    ),
    _field(
        "U850", "m s-1", (-130.0, 130.0), "zonal wind at 850 hPa", "eastward_wind", level_hpa=850.0
    ),
    _field(
        "V850",
        "m s-1",
        (-130.0, 130.0),
        "meridional wind at 850 hPa",
        "northward_wind",
        level_hpa=850.0,
        flips_with_hemisphere=True,
    ),
    _field(
        "UBOT", "m s-1", (-120.0, 120.0), "zonal wind at the lowest model level", "eastward_wind"
    ),
    _field(
        "VBOT",
        "m s-1",
        (-120.0, 120.0),
        "meridional wind at the lowest model level",
        "northward_wind",
        flips_with_hemisphere=True,
    ),
    _field(
        "QREFHT",
        "kg kg-1",
        (-0.001, 0.05),
        "specific humidity at 2 m",
        "specific_humidity",
        height_m=2.0,
    ),
    _field("PS", "Pa", (40000.0, 112000.0), "surface pressure", "surface_air_pressure"),
    _field(
        "PSL", "Pa", (84000.0, 112000.0), "sea-level pressure", "air_pressure_at_mean_sea_level"
    ),
    _field(
        "T200", "K", (170.0, 270.0), "temperature at 200 hPa", "air_temperature", level_hpa=200.0
    ),
    _field(
        "T500", "K", (200.0, 300.0), "temperature at 500 hPa", "air_temperature", level_hpa=500.0
    ),
    _field(
        "PRECT",
        "m s-1",
        (-1e-07, 0.0001),
        "total precipitation rate, as liquid water",
        "lwe_precipitation_rate",
        is_rate=True,
    ),
    _field("TS", "K", (170.0, 360.0), "surface temperature", "surface_temperature"),
    _field(
        "TREFHT", "K", (170.0, 340.0), "air temperature at 2 m", "air_temperature", height_m=2.0
    ),
    _field(
        "Z1000",
        "m",
        (-1600.0, 6000.0),
        "geopotential height at 1000 hPa",
        "geopotential_height",
        level_hpa=1000.0,
    ),
    _field(
        "Z200",
        "m",
        (9000.0, 14000.0),
        "geopotential height at 200 hPa",
        "geopotential_height",
        level_hpa=200.0,
    ),
    _field(
        "ZBOT", "m", (1.0, 300.0), "height of the lowest model level above the surface", "height"
    ),
)
"""The 16 channels of the SC18 data set, in its order."""

OPTIONAL: tuple[Variable, ...] = (
    _field(
        "IVTX",
        "kg m-1 s-1",
        (-4000.0, 4000.0),
        "eastward vertically integrated vapor transport",
        "eastward_atmosphere_water_transport_across_unit_distance",
    ),
    _field(
        "IVTY",
        "kg m-1 s-1",
        (-4000.0, 4000.0),
        "northward vertically integrated vapor transport",
        "northward_atmosphere_water_transport_across_unit_distance",
        flips_with_hemisphere=True,
    ),
    _field(
        "Z300",
        "m",
        (7000.0, 11000.0),
        "geopotential height at 300 hPa",
        "geopotential_height",
        level_hpa=300.0,
    ),
    _field(
        "Z500",
        "m",
        (4000.0, 7000.0),
        "geopotential height at 500 hPa",
        "geopotential_height",
        level_hpa=500.0,
    ),
    _field(
        "T400", "K", (190.0, 290.0), "temperature at 400 hPa", "air_temperature", level_hpa=400.0
    ),
    _field("U10", "m s-1", (-110.0, 110.0), "zonal wind at 10 m", "eastward_wind", height_m=10.0),
    _field(
        "V10",
        "m s-1",
        (-110.0, 110.0),
        "meridional wind at 10 m",
        "northward_wind",
        height_m=10.0,
        flips_with_hemisphere=True,
    ),
    _field(
        "LANDFRAC", "1", (-0.01, 1.01), "fraction of the cell that is land", "land_area_fraction"
    ),
    _field("PHIS", "m2 s-2", (-6000.0, 90000.0), "surface geopotential", "surface_geopotential"),
)
"""Fields that rules use where an archive has them."""

DERIVED: tuple[Variable, ...] = (
    _field(
        "IVT",
        "kg m-1 s-1",
        (0.0, 4000.0),
        "magnitude of vertically integrated vapor transport",
        "magnitude_of_atmosphere_water_transport_across_unit_distance",
    ),
    _field(
        "QV850",
        "m s-1",
        (0.0, 6.0),
        "vapor transport proxy: 850 hPa wind speed times 2 m humidity",
        "",
    ),
    _field(
        "TMQV850",
        "kg m-1 s-1",
        (0.0, 15000.0),
        "vapor transport proxy: precipitable water times 850 hPa wind speed",
        "",
    ),
    _field(
        "VORT850",
        "s-1",
        (-0.02, 0.02),
        "relative vorticity at 850 hPa",
        "atmosphere_relative_vorticity",
        level_hpa=850.0,
        flips_with_hemisphere=True,
    ),
)
"""Fields the package computes (IVT is also read where an archive has only the magnitude)."""

VARIABLES: dict[str, Variable] = {v.name: v for v in (*CHANNELS, *OPTIONAL, *DERIVED)}
"""Every field of the vocabulary by its name."""

CHANNEL_NAMES: tuple[str, ...] = tuple(v.name for v in CHANNELS)
"""Names of the 16 channels, in order."""


@dataclass(frozen=True, kw_only=True)
class StormClass:
    """One class of the class map.

    Attributes:
        flag: Value in `class_map`.
        name: CF flag meaning.
        short_name: As printed in tables.
        color: Hex color in maps, told apart by the color-blind too (Wong 2011, Nature Methods 8).
    """

    flag: int
    name: str
    short_name: str
    color: str


CLASSES: tuple[StormClass, ...] = (
    StormClass(flag=0, name="background", short_name="BG", color="#FFFFFF"),
    StormClass(flag=1, name="tropical_cyclone", short_name="TC", color="#D55E00"),
    StormClass(flag=2, name="atmospheric_river", short_name="AR", color="#0072B2"),
)
"""Background, tropical cyclone, atmospheric river: flags of the SC18 labels."""

BACKGROUND, TROPICAL_CYCLONE, ATMOSPHERIC_RIVER = (c.flag for c in CLASSES)
NUM_CLASSES = len(CLASSES)
