"""Writes datasets block by block, so that archives larger than memory can be written.

Here is what the formats share: how blocks of time follow each other into files and stores, how
time is counted, and how fields on single levels become one variable with a pressure axis.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cftime
import dask.base
import netCDF4
import xarray as xr

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.lexicon import PROFILES
from exastorm.readers.schema import coordinate_attrs
from exastorm.variables import VARIABLES

BLOCK_STEPS = 8
"""Time steps in a block of a dataset that has no blocks of its own."""

TIME_UNITS = "days since 1850-01-01"
"""How times are counted, as CMIP6 does; readers round to the second."""


def save_blocks(outputs: Mapping[Path, xr.Dataset]) -> list[Path]:
    """Write datasets with common times to netCDF-4 files or Zarr stores, block by block.

    All blocks of one stretch of time are computed together, so that what they share is computed
    once, however many files there are.

    Args:
        outputs: Dataset by path; a path that ends in `.zarr` becomes a store (format 3).

    Returns:
        The paths.
    """
    clean = {path: dataset.drop_encoding() for path, dataset in outputs.items()}
    lengths = {d.sizes["time"] for d in clean.values() if "time" in d.dims}
    starts = _block_starts(clean.values(), max(lengths, default=1))
    for start, stop in track(list(itertools.pairwise(starts)), "writing"):
        blocks = {
            path: dataset.isel(time=slice(start, stop)) if "time" in dataset.dims else dataset
            for path, dataset in clean.items()
            if "time" in dataset.dims or start == 0
        }
        for path, block in zip(blocks, dask.base.compute(*blocks.values()), strict=True):
            _write_block(path, block, start)
    return list(clean)


def _block_starts(datasets: Iterable[xr.Dataset], num_times: int) -> list[int]:
    """Where blocks begin, and the end of the last: the largest blocks that the fields have."""
    sizes = [v.chunksizes["time"][0] for d in datasets for v in d.variables.values() if v.chunks]
    size = max(sizes, default=BLOCK_STEPS)
    return [*range(0, num_times, size), num_times]


def _write_block(path: Path, block: xr.Dataset, start: int) -> None:
    """Write the first block of a file or store, or add a later one."""
    is_store = path.suffix == ".zarr"
    if start == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = _encoding(block, is_store)
        if is_store:
            block.to_zarr(path, mode="w", encoding=encoding, zarr_format=3, consolidated=False)
            return
        unlimited = ["time"] if "time" in block.dims else []
        block.to_netcdf(path, engine="netcdf4", encoding=encoding, unlimited_dims=unlimited)
    elif is_store:
        still = [n for n, v in block.variables.items() if "time" not in v.dims]
        block.drop_vars(still).to_zarr(path, append_dim="time", consolidated=False)
    else:
        _append(path, block, start)


def _append(path: Path, block: xr.Dataset, start: int) -> None:
    """Add times to a netCDF-4 file."""
    with netCDF4.Dataset(path, "a") as file:
        for name, variable in block.variables.items():
            if "time" not in variable.dims:
                continue
            values = variable.values
            if values.dtype.kind == "O":
                values = cftime.date2num(values, TIME_UNITS, calendar=values.flat[0].calendar)
            steps = slice(start, start + variable.sizes["time"])
            file[str(name)][tuple(steps if d == "time" else slice(None) for d in variable.dims)] = (
                values
            )


def _encoding(dataset: xr.Dataset, is_store: bool) -> dict[str, dict[str, Any]]:
    """Storage of each variable: times counted in days; fields in blocks, lightly compressed."""
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if is_store:
            encoding[str(name)] = {"chunks": variable.shape} if variable.ndim > 1 else {}
        elif variable.dtype.kind == "f":
            packing = {"zlib": True, "complevel": 1} if variable.ndim > 1 else {}
            encoding[str(name)] = {"_FillValue": None, **packing}
        if variable.dtype.kind == "O":
            calendar = str(variable.values.flat[0].calendar)
            how = {"units": TIME_UNITS, "calendar": calendar, "dtype": "float64"}
            encoding[str(name)] = {**encoding.get(str(name), {}), **how}
    return encoding


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
