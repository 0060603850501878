"""ERA5 as the Climate Data Store delivers it (netCDF) and as cloud stores hold it (Zarr)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.constants import STANDARD_GRAVITY
from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.coordinates import HPA_NAMES
from exastorm.readers.derived import dew_point
from exastorm.readers.lexicon import ECMWF
from exastorm.readers.opening import peek
from exastorm.readers.options import ReadOptions
from exastorm.readers.writing import output_dataset, profile_levels, save_blocks, stack_levels
from exastorm.variables import VARIABLES

NAME = "era5"

RECIPE = Recipe(name=NAME, entries=ECMWF)

RAIN_SECONDS = 3600.0
"""Time over which ERA5 gathers precipitation, s (see readers/lexicon.py)."""

NAMES: dict[str, tuple[str, str]] = {
    "TMQ": ("tcwv", "total_column_water_vapour"),
    "U10": ("u10", "10m_u_component_of_wind"),
    "V10": ("v10", "10m_v_component_of_wind"),
    "PS": ("sp", "surface_pressure"),
    "PSL": ("msl", "mean_sea_level_pressure"),
    "PRECT": ("tp", "total_precipitation"),
    "TS": ("skt", "skin_temperature"),
    "TREFHT": ("t2m", "2m_temperature"),
    "IVTX": ("viwve", "vertical_integral_of_eastward_water_vapour_flux"),
    "IVTY": ("viwvn", "vertical_integral_of_northward_water_vapour_flux"),
    "LANDFRAC": ("lsm", "land_sea_mask"),
    "PHIS": ("geopotential_at_surface", "geopotential_at_surface"),
}
"""Short and long names; UBOT, VBOT and ZBOT have none."""

PROFILE_NAMES: dict[str, tuple[str, str]] = {
    "U": ("u", "u_component_of_wind"),
    "V": ("v", "v_component_of_wind"),
    "T": ("t", "temperature"),
    "Z": ("z", "geopotential"),
}
"""Short and long names on pressure levels; z is geopotential, m2 s-2."""


def recognize(path: str) -> bool:
    """True for a netCDF or Zarr with ECMWF's names on a latitude-longitude grid."""
    header = peek(path)
    if header is None:
        return False
    if not (header.has_axis("latitude", "lat") and header.has_axis("longitude", "lon")):
        return False
    names = set(header.dims)
    on_levels = {name for entry in ECMWF if entry.is_profile for name in entry.names}
    known = {name for entry in ECMWF for name in entry.names}
    # One letter alone may mean anything; on ECMWF's axes it means what ECMWF means.
    has_axes = bool(names & {*HPA_NAMES, "valid_time", "latitude"})
    return bool(names & (known - on_levels)) or (has_axes and bool(names & on_levels))


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read files and stores as one archive; see `readers.assembly.assemble`."""
    return assemble(paths, options, RECIPE)


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Write a Zarr store with long names, or a netCDF file with short ones.

    Latitudes descend, geopotential is in m2 s-2, rain in m of the past hour, and humidity is
    written as the dew point, for which surface pressure is needed.

    Args:
        dataset: A dataset in the schema.
        out: A path that ends in `.zarr` or `.nc`; another is a directory for `era5.nc`.

    Returns:
        The file or store written.

    Raises:
        InputError: If no field has an ERA5 name.
    """
    is_store = out.suffix == ".zarr"
    path = out if out.suffix in (".zarr", ".nc") else out / "era5.nc"
    style = int(is_store)
    arrays = _profiles(dataset, style) | _fields(dataset, style)
    attrs = {"source": "written by exastorm in the layout of ERA5"}
    whole = output_dataset(arrays, attrs, out, "ERA5").isel(lat=slice(None, None, -1))
    whole = whole.rename(lat="latitude", lon="longitude")
    return save_blocks({path: whole})


def _fields(dataset: xr.Dataset, style: int) -> dict[str, xr.DataArray]:
    """Variables on one level."""
    arrays = {}
    for ours, names in NAMES.items():
        if ours in dataset:
            array, units = dataset[ours], VARIABLES[ours].units
            if ours == "PRECT":
                array, units = _scaled(array, RAIN_SECONDS), "m"
            arrays[names[style]] = _described(array, units, VARIABLES[ours].long_name)
    if "QREFHT" in dataset and "PS" in dataset:
        humidity, pressure = (dataset[n].astype(np.float64) for n in ("QREFHT", "PS"))
        array = dew_point(humidity, pressure).astype(np.float32)
        name = ("d2m", "2m_dewpoint_temperature")[style]
        arrays[name] = _described(array, "K", "dew point at 2 m")
    return arrays


def _profiles(dataset: xr.Dataset, style: int) -> dict[str, xr.DataArray]:
    """Variables on pressure levels; those on the same levels share an axis."""
    arrays: dict[str, xr.DataArray] = {}
    axes: dict[tuple[float, ...], str] = {}
    for letter, names in PROFILE_NAMES.items():
        levels = profile_levels(dataset, letter)
        if not levels:
            continue
        values = tuple(hpa for hpa, _ in levels)
        axis = axes.setdefault(values, f"level_{len(axes)}" if axes else "level")
        array = stack_levels(dataset, levels, axis, 1.0)
        units = VARIABLES[levels[0][1]].units
        if letter == "Z":
            array, units = _scaled(array, STANDARD_GRAVITY), "m2 s-2"
        arrays[names[style]] = _described(array, units, names[1].replace("_", " "))
        arrays[names[style]][axis].attrs = {"units": "hPa", "standard_name": "air_pressure"}
    return arrays


def _scaled(array: xr.DataArray, factor: float) -> xr.DataArray:
    """The array times a factor, in float32."""
    return (array.astype(np.float64) * factor).astype(np.float32)


def _described(array: xr.DataArray, units: str, long_name: str) -> xr.DataArray:
    """The array with ERA5's attributes and no other."""
    out: Any = array.copy(deep=False)
    out.attrs = {"units": units, "long_name": long_name}
    return out  # type: ignore[no-any-return]
