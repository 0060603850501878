"""CMIP6 output: one variable a file, pressure levels in Pa, any calendar; CMIP5's is alike."""

from pathlib import Path
from typing import Any

import cftime
import numpy as np
import xarray as xr

from exastorm.constants import STANDARD_GRAVITY, WATER_DENSITY
from exastorm.errors import InputError
from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.lexicon import CMIP6
from exastorm.readers.opening import peek
from exastorm.readers.options import ReadOptions
from exastorm.readers.timing import as_seconds
from exastorm.readers.writing import output_dataset, profile_levels, save_blocks, stack_levels
from exastorm.variables import VARIABLES

NAME = "cmip6"

PROJECTS = ("CMIP5", "CMIP6", "CMIP6Plus", "CMIP7", "CORDEX-CMIP6")
"""Values of the global attributes mip_era and project_id that this reader takes."""

RECIPE = Recipe(name=NAME, entries=CMIP6)

PROFILE_NAMES = {"U": "ua", "V": "va", "T": "ta", "Z": "zg"}
"""CMIP6 names of our profiles."""

FIELD_NAMES = {
    "TMQ": "prw",
    "U10": "uas",
    "V10": "vas",
    "QREFHT": "huss",
    "PS": "ps",
    "PSL": "psl",
    "PRECT": "pr",
    "TS": "ts",
    "TREFHT": "tas",
    "IVTX": "intuaw",
    "IVTY": "intvaw",
    "LANDFRAC": "sftlf",
    "PHIS": "orog",
}
"""CMIP6 names of our other fields; UBOT, VBOT and ZBOT have none."""

OTHER_UNITS = {
    "pr": ("kg m-2 s-1", WATER_DENSITY, "precipitation_flux"),
    "sftlf": ("%", 100.0, "land_area_fraction"),
    "orog": ("m", 1.0 / STANDARD_GRAVITY, "surface_altitude"),
}
"""Variables whose unit differs from ours: unit, factor from ours, standard name."""

HEIGHTS_M = {"uas": 10.0, "vas": 10.0, "huss": 2.0, "tas": 2.0}
"""Height coordinate of the near-surface variables, m."""

DEFAULT_STEP_S = 3 * 3600.0
"""Length of the rain interval where a dataset has one time only, s."""


def recognize(path: str) -> bool:
    """True for a file whose attributes say that it belongs to a model intercomparison."""
    header = peek(path)
    if header is None:
        return False
    eras = {str(header.attrs.get(key)) for key in ("mip_era", "project_id")}
    return bool(eras & set(PROJECTS))


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read a set of files, each with one variable; see `readers.assembly.assemble`."""
    return assemble(paths, options, RECIPE)


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Write one file a variable, named by CMIP6's template, into a directory.

    Precipitation is written as the mean over the step that ends at each time, stamped at its
    middle with bounds, as CMIP6 has it.

    Args:
        dataset: A dataset in the schema.
        out: The directory.

    Returns:
        The files written.

    Raises:
        InputError: If `out` looks like a file, or no field has a CMIP6 name.
    """
    if out.suffix:
        raise InputError("must be a directory, as CMIP6 has one variable a file", file=out)
    arrays = _profiles(dataset) | _fields(dataset)
    if not arrays:
        raise InputError("CMIP6 has no name for any field of the dataset", file=out)
    outputs = dict(_output(name, array, out) for name, array in arrays.items())
    return save_blocks(outputs)


def _profiles(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """Variables on pressure levels in Pa."""
    arrays = {}
    for letter, name in PROFILE_NAMES.items():
        levels = profile_levels(dataset, letter)
        if not levels:
            continue
        array = stack_levels(dataset, levels, "plev", 100.0)
        array.attrs = _attrs(VARIABLES[levels[0][1]].units, levels[0][1])
        array["plev"].attrs = {"units": "Pa", "standard_name": "air_pressure", "positive": "down"}
        arrays[name] = array
    return arrays


def _fields(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """Variables on one level."""
    arrays = {}
    for ours, name in FIELD_NAMES.items():
        if ours not in dataset:
            continue
        units, factor, standard_name = OTHER_UNITS.get(name, (VARIABLES[ours].units, 1.0, ""))
        array = dataset[ours]
        if factor != 1.0:
            array = (array.astype(np.float64) * factor).astype(np.float32)
        array.attrs = _attrs(units, ours)
        if standard_name:
            array.attrs["standard_name"] = standard_name
        if name in HEIGHTS_M:
            height = xr.Variable((), HEIGHTS_M[name], {"units": "m", "standard_name": "height"})
            array = array.assign_coords(height=height)
        arrays[name] = array
    return arrays


def _attrs(units: str, ours: str) -> dict[str, Any]:
    """Attributes of a variable."""
    return {
        "units": units,
        "standard_name": VARIABLES[ours].standard_name,
        "cell_methods": "area: mean time: point",
    }


def _output(name: str, array: xr.DataArray, out: Path) -> tuple[Path, xr.Dataset]:
    """Path and content of the file of one variable."""
    attrs = {"mip_era": "CMIP6", "variable_id": name, "source_id": "exastorm", "grid_label": "gn"}
    whole = output_dataset({name: array}, attrs, out, "CMIP6")
    span = ""
    if "time" in whole.dims:
        whole = _with_bounds(whole, name)
        ends = [whole["time"].values[i].strftime("%Y%m%d%H%M") for i in (0, -1)]
        span = f"_{ends[0]}-{ends[1]}"
    table = "3hr" if span else "fx"
    return out / f"{name}_{table}_exastorm_historical_r1i1p1f1_gn{span}.nc", whole


def _with_bounds(whole: xr.Dataset, name: str) -> xr.Dataset:
    """Rain as a mean over the step before each time, other variables unchanged."""
    if name != "pr":
        return whole
    end = as_seconds(whole["time"].values)
    steps = np.diff(end)
    begin = end - np.concatenate([steps[:1] if steps.size else [DEFAULT_STEP_S], steps])
    calendar = str(whole["time"].values[0].calendar)

    def dates(seconds: Any) -> Any:
        return cftime.num2date(seconds, "seconds since 1850-01-01", calendar=calendar)

    whole["pr"].attrs["cell_methods"] = "area: time: mean"
    whole = whole.assign_coords(time=("time", dates((begin + end) / 2), whole["time"].attrs))
    whole["time"].attrs["bounds"] = "time_bnds"
    whole["time_bnds"] = (("time", "bnds"), dates(np.stack([begin, end], axis=-1)))
    return whole
