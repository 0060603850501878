"""Any latitude-longitude netCDF or Zarr whose names, CF standard names and units say what it is.

Names of our own vocabulary and of CMIP6 are taken first, then CF standard names with their level
or height. Units are always read, never guessed.
"""

from pathlib import Path

import xarray as xr

from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.coordinates import AXIS_NAMES, AXIS_STANDARD_NAMES, AXIS_UNITS
from exastorm.readers.lexicon import CAM, CF, CMIP6
from exastorm.readers.opening import Header, peek
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import field_names
from exastorm.readers.writing import output_dataset, save_blocks

NAME = "cf"

RECIPE = Recipe(name=NAME, entries=(*CAM, *CMIP6, *CF))


def recognize(path: str) -> bool:
    """True for a netCDF or Zarr with a latitude and a longitude that run along themselves."""
    header = peek(path)
    return header is not None and all(_has_axis(header, axis) for axis in ("lat", "lon"))


def _has_axis(header: Header, axis: str) -> bool:
    """True where a file has an axis by name or by CF attribute."""
    if header.has_axis(*AXIS_NAMES[axis]):
        return True
    return any(
        attrs.get("standard_name") == AXIS_STANDARD_NAMES[axis]
        or attrs.get("units") in AXIS_UNITS[axis]
        for name, attrs in header.variable_attrs.items()
        if header.has_axis(name)
    )


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read files and stores as one archive; see `readers.assembly.assemble`."""
    return assemble(paths, options, RECIPE)


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Write all fields under our names to one netCDF file (`.nc`) or Zarr store (`.zarr`).

    Args:
        dataset: A dataset in the schema.
        out: The file or store; without a suffix a directory for `exastorm.nc`.

    Returns:
        What was written.

    Raises:
        InputError: If the dataset holds no field.
    """
    whole = output_dataset({n: dataset[n] for n in field_names(dataset)}, {}, out, "CF")
    path = out if out.suffix in (".nc", ".zarr") else out / "exastorm.nc"
    return save_blocks({path: whole})
