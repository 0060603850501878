"""Tables from each archive's variable names, levels and units to ours: one table an archive.

Units are not in the tables: they are read from the files and converted by readers/units.py.
What the tables add is what a file does not say: which name means which field, over which time an
amount was gathered, and what a reader should know of a field that only resembles ours.
"""

import re
from dataclasses import dataclass, replace

from exastorm.variables import VARIABLES

PROFILES: dict[str, tuple[str, ...]] = {
    letter: tuple(
        v.name
        for v in VARIABLES.values()
        if v.level_hpa is not None and v.name == f"{letter}{v.level_hpa:g}"
    )
    for letter in "UVTZ"
}
"""Fields on pressure levels by the letter of what they are: wind, temperature, height."""

ERA5_RAIN_NOTE = "ERA5 gathers precipitation over the hour that ends at the time"
"""ERA5 documentation, table 'mean rates/fluxes and accumulations': hourly data accumulate over
the hour that ends at the validity time, whatever the step between the times of a file
(Hersbach et al. 2020, doi:10.1002/qj.3803; ECMWF, 'ERA5: data documentation')."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How an archive calls one field.

    Attributes:
        field: Our name, an auxiliary's, or the letter of a profile (U, V, T, Z).
        names: Names in the archive, the preferred first; empty to go by standard names.
        standard_names: CF standard names. With `names`, the variable's must be one of them if it
            has one; without, this is how the variable is told.
        beside: Other names that must be in the file too, where a name alone is ambiguous.
        height_m: Height above ground that the variable's height coordinate must have, m.
        accumulated_s: Time over which an amount was gathered, s, where the archive fixes it.
        note: What a reader should know.
    """

    field: str
    names: tuple[str, ...] = ()
    standard_names: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    height_m: float | None = None
    accumulated_s: float | None = None
    note: str = ""

    @property
    def is_profile(self) -> bool:
        """True for a letter of PROFILES, to be read at each level wanted."""
        return self.field in PROFILES


def _same_names(*names: str) -> tuple[Entry, ...]:
    """Entries for fields that an archive calls as we do."""
    return tuple(Entry(field=name, names=(name,)) for name in names)


CAM: tuple[Entry, ...] = (
    *_same_names(
        "TMQ", "UBOT", "VBOT", "QREFHT", "PS", "PSL", "PRECT", "PRECC", "PRECL", "TS", "TREFHT"
    ),
    *_same_names("ZBOT", "LANDFRAC", "PHIS", "IVTX", "IVTY", "IVT"),
    Entry(field="IVTX", names=("TUQ",)),
    Entry(field="IVTY", names=("TVQ",)),
    # CAM's own U10 is the speed of the wind at 10 m; it is a component only where V10 is too.
    Entry(field="U10", names=("U10",), standard_names=("eastward_wind",), beside=("V10",)),
    Entry(field="V10", names=("V10",), standard_names=("northward_wind",), beside=("U10",)),
    Entry(field="U", names=("U",)),
    Entry(field="V", names=("V",)),
    Entry(field="T", names=("T",)),
    Entry(field="Z", names=("Z", "Z3")),
)
"""CAM and E3SM atmosphere history files (CAM master field list)."""

CMIP6: tuple[Entry, ...] = (
    Entry(field="TMQ", names=("prw",)),
    Entry(field="U", names=("ua",)),
    Entry(field="V", names=("va",)),
    Entry(field="T", names=("ta",)),
    Entry(field="Z", names=("zg",)),
    Entry(field="U10", names=("uas",), standard_names=("eastward_wind",)),
    Entry(field="V10", names=("vas",), standard_names=("northward_wind",)),
    Entry(field="QREFHT", names=("huss",), standard_names=("specific_humidity",)),
    Entry(field="PS", names=("ps",), standard_names=("surface_air_pressure",)),
    Entry(
        field="PSL",
        names=("psl",),
        standard_names=("air_pressure_at_mean_sea_level", "air_pressure_at_sea_level"),
    ),
    Entry(field="PRECT", names=("pr",), standard_names=("precipitation_flux",)),
    Entry(field="TS", names=("ts",), standard_names=("surface_temperature",)),
    Entry(field="TREFHT", names=("tas",), standard_names=("air_temperature",)),
    Entry(field="IVTX", names=("intuaw",)),
    Entry(field="IVTY", names=("intvaw",)),
    Entry(field="LANDFRAC", names=("sftlf",)),
    Entry(field="PHIS", names=("orog",), standard_names=("surface_altitude",)),
)
"""CMIP6 variables (CMIP6 data request; variable names of CMIP5 are the same)."""

ECMWF: tuple[Entry, ...] = (
    Entry(field="TMQ", names=("tcwv", "total_column_water_vapour")),
    Entry(field="U", names=("u", "u_component_of_wind")),
    Entry(field="V", names=("v", "v_component_of_wind")),
    Entry(field="T", names=("t", "temperature")),
    Entry(field="Z", names=("z", "gh", "geopotential", "geopotential_height")),
    Entry(field="U10", names=("u10", "10u", "10m_u_component_of_wind", "u10m")),
    Entry(field="V10", names=("v10", "10v", "10m_v_component_of_wind", "v10m")),
    Entry(field="DEWPOINT", names=("d2m", "2d", "2m_dewpoint_temperature")),
    Entry(field="QREFHT", names=("sh2", "2sh", "q2m")),
    Entry(field="PS", names=("sp", "surface_pressure")),
    Entry(field="PSL", names=("msl", "mean_sea_level_pressure", "prmsl")),
    Entry(
        field="PRECT",
        names=("avg_tprate", "mtpr", "mean_total_precipitation_rate"),
        note=ERA5_RAIN_NOTE,
    ),
    Entry(
        field="PRECT",
        names=("tp", "total_precipitation"),
        accumulated_s=3600.0,
        note=ERA5_RAIN_NOTE,
    ),
    Entry(field="TS", names=("skt", "skin_temperature")),
    Entry(field="TREFHT", names=("t2m", "2t", "2m_temperature")),
    Entry(
        field="IVTX", names=("viwve", "p71.162", "vertical_integral_of_eastward_water_vapour_flux")
    ),
    Entry(
        field="IVTY", names=("viwvn", "p72.162", "vertical_integral_of_northward_water_vapour_flux")
    ),
    Entry(field="LANDFRAC", names=("lsm", "land_sea_mask")),
    Entry(field="PHIS", names=("geopotential_at_surface", "z", "geopotential", "orog")),
)
"""ECMWF names: short ones of the Climate Data Store, long ones of the cloud stores."""

GRIB: tuple[Entry, ...] = (
    *_same_names("UBOT", "VBOT"),
    *(replace(e, accumulated_s=None, note="") for e in ECMWF),
)
"""Variables that readers/formats/grib_messages.py selects; the messages say how they gathered."""

CF: tuple[Entry, ...] = (
    Entry(
        field="TMQ",
        standard_names=("atmosphere_mass_content_of_water_vapor", "atmosphere_water_vapor_content"),
    ),
    Entry(field="U", standard_names=("eastward_wind",)),
    Entry(field="V", standard_names=("northward_wind",)),
    Entry(field="T", standard_names=("air_temperature",)),
    Entry(field="Z", standard_names=("geopotential_height", "geopotential")),
    Entry(field="U10", standard_names=("eastward_wind",), height_m=10.0),
    Entry(field="V10", standard_names=("northward_wind",), height_m=10.0),
    Entry(field="QREFHT", standard_names=("specific_humidity",), height_m=2.0),
    Entry(field="DEWPOINT", standard_names=("dew_point_temperature",), height_m=2.0),
    Entry(field="TREFHT", standard_names=("air_temperature",), height_m=2.0),
    Entry(field="PS", standard_names=("surface_air_pressure",)),
    Entry(
        field="PSL", standard_names=("air_pressure_at_mean_sea_level", "air_pressure_at_sea_level")
    ),
    Entry(field="PRECT", standard_names=("lwe_precipitation_rate", "precipitation_flux")),
    Entry(field="TS", standard_names=("surface_temperature",)),
    Entry(
        field="IVTX", standard_names=("eastward_atmosphere_water_transport_across_unit_distance",)
    ),
    Entry(
        field="IVTY", standard_names=("northward_atmosphere_water_transport_across_unit_distance",)
    ),
    Entry(
        field="IVT",
        standard_names=("magnitude_of_atmosphere_water_transport_across_unit_distance",),
    ),
    Entry(field="LANDFRAC", standard_names=("land_area_fraction", "land_binary_mask")),
    Entry(field="PHIS", standard_names=("surface_geopotential", "surface_altitude")),
)
"""CF standard names (table version 86), with their aliases in older files."""

LEVEL_IN_NAME = re.compile(r"(?P<name>[A-Za-z]+)_?(?P<level>\d{3,4})(?:hpa|mb)?", re.IGNORECASE)
"""A variable on one level whose name says so: U850, ua850, t_500, zg500hPa."""
