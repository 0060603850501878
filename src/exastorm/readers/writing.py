"""Writes datasets block by block, so that archives larger than memory can be written.

dask writes each block as soon as it is made; this module fixes what the formats share: how time
is counted, how fields are packed, and how fields on single levels become one variable with a
pressure axis.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.lexicon import PROFILES
from exastorm.readers.schema import coordinate_attrs
from exastorm.variables import VARIABLES

BLOCK_STEPS = 8
"""Time steps in a block of a dataset that has no blocks of its own."""

TIME_UNITS = "days since 1850-01-01"
"""How times are counted, as CMIP6 does; readers round to the second."""


def in_blocks(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset in blocks along time, its own where it has some."""
    if any(v.chunks for v in dataset.variables.values()) or "time" not in dataset.dims:
        return dataset
    return dataset.chunk({"time": BLOCK_STEPS})


def _encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Storage of each variable: float32 lightly compressed, times counted in days."""
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype == np.float32 and variable.ndim >= 2:
            encoding[str(name)] = {"zlib": True, "complevel": 1, "_FillValue": None}
        elif variable.dtype.kind == "f":
            encoding[str(name)] = {"_FillValue": None}
    if "time" in dataset.dims:
        calendar = str(dataset["time"].values[0].calendar)
        encoding["time"] = {"units": TIME_UNITS, "calendar": calendar, "dtype": "float64"}
        if "time_bnds" in dataset.variables:
            encoding["time_bnds"] = dict(encoding["time"])
            encoding["time"]["bounds"] = "time_bnds"
    return encoding


def without_encoding(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset without what it remembers of the files it was read from."""
    return dataset.drop_encoding()


def save_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    """Write one netCDF-4 file with an unlimited time, block by block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = in_blocks(without_encoding(dataset))
    unlimited = ["time"] if "time" in clean.dims else []
    clean.to_netcdf(path, engine="netcdf4", encoding=_encoding(clean), unlimited_dims=unlimited)
    return path


def save_zarr(dataset: xr.Dataset, path: Path) -> Path:
    """Write one Zarr store (format 3), block by block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = in_blocks(without_encoding(dataset))
    encoding = {
        name: {k: v for k, v in how.items() if k not in ("zlib", "complevel", "_FillValue")}
        for name, how in _encoding(clean).items()
    }
    clean.to_zarr(path, mode="w", encoding=encoding, zarr_format=3, consolidated=False)
    return path


def profile_levels(dataset: xr.Dataset, letter: str) -> list[tuple[float, str]]:
    """Levels (hPa, descending) and names of the fields of a profile that a dataset holds."""
    found = [(VARIABLES[n].level_hpa or 0.0, n) for n in PROFILES[letter] if n in dataset]
    return sorted(found, reverse=True)


def stack_levels(
    dataset: xr.Dataset, levels: Sequence[tuple[float, str]], axis: str, scale: float
) -> xr.DataArray:
    """Fields on single levels as one variable (time, level, lat, lon).

    Args:
        dataset: A dataset in the schema.
        levels: Level in hPa and name of each field.
        axis: Name of the pressure axis.
        scale: What one hPa is in the axis's unit.
    """
    arrays = [dataset[name].variable for _, name in levels]
    stacked = xr.Variable.concat(arrays, dim=axis).transpose("time", axis, "lat", "lon")
    coords = {d: dataset[d] for d in ("time", "lat", "lon")}
    return xr.DataArray(
        stacked.data, dims=stacked.dims, coords={**coords, axis: [hpa * scale for hpa, _ in levels]}
    )


def output_dataset(
    arrays: Mapping[str, xr.DataArray], attrs: Mapping[str, str], file: Path, format_name: str
) -> xr.Dataset:
    """The variables to be written, as one dataset with CF axes.

    Raises:
        InputError: If there is nothing that the format has a name for.
    """
    if not arrays:
        raise InputError(f"{format_name} has no name for any field of the dataset", file=file)
    dataset = xr.Dataset(dict(arrays), attrs={"Conventions": "CF-1.8", **attrs})
    for axis in ("lat", "lon"):
        if axis in dataset.coords:
            dataset[axis].attrs = dict(coordinate_attrs(axis))
    if "time" in dataset.coords:
        dataset["time"].attrs = {"standard_name": "time", "axis": "T"}
    return dataset
