"""GRIB files, read through the extra cfgrib into the same way as netCDF."""

from pathlib import Path

import fsspec
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.formats.grib_messages import open_messages
from exastorm.readers.lexicon import GRIB
from exastorm.readers.opening import file_system, is_local, kind_of
from exastorm.readers.options import ReadOptions

NAME = "grib"


def recognize(path: str) -> bool:
    """True for a file that begins as GRIB does."""
    try:
        return kind_of(path) == "grib"
    except InputError:
        return False


def _open(path: str) -> list[xr.Dataset]:
    """The variables of one file; one that is not local is copied once, as ecCodes needs it."""
    if kind_of(path) != "grib":
        raise InputError("must be a GRIB file", file=path)
    local = file_system(path)[1] if is_local(path) else fsspec.open_local(f"simplecache::{path}")
    return open_messages(path, str(local))


RECIPE = Recipe(name=NAME, entries=GRIB, opener=_open)


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read files as one archive; see `readers.assembly.assemble`."""
    return assemble(paths, options, RECIPE)


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """GRIB is not written.

    Raises:
        InputError: Always, naming formats that are.
    """
    raise InputError("GRIB is not written; write cam, cmip6, era5 or cf", file=out)
