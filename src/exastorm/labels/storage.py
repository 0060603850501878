"""Puts class maps and tables of tracks on disk, whole or not at all, in the same bytes always."""

import shutil
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import xarray as xr

from exastorm.errors import InputError, writing

SUFFIXES = (".nc", ".zarr")


def check_out(out: Path) -> None:
    """Refuse a place that labels can't be written to.

    Raises:
        InputError: For another suffix, or a folder that is no Zarr store.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"labels must go to a .nc file or a .zarr store, got {out.name!r}")
    if out.is_dir() and not any((out / name).exists() for name in ("zarr.json", ".zgroup")):
        raise InputError("is a folder but no Zarr store; it is left as it is", file=out)


def write_tracks(table: pd.DataFrame, path: Path) -> None:
    """Write under another name and rename, so that what stands under `path` is always whole."""
    partial = path.with_name(f".{path.stem}.writing{path.suffix}")
    if path.suffix == ".csv":
        table.to_csv(partial, index=False, float_format="%.6g")
    else:
        table.to_parquet(partial, index=False)
    partial.replace(path)


def write_maps(maps: xr.Dataset, out: Path) -> None:
    """Write under another name and rename, so that what stands under `out` is always whole."""
    partial = out.with_name(f".{out.stem}.writing{out.suffix}")
    _remove(partial)
    # One map and one chunk after the other, so that they lie in the file in the same order always.
    with dask.config.set(scheduler="synchronous"):
        for n, name in enumerate(maps.data_vars):
            chunks = maps[name].data.chunksize
            mode: Any = "w" if n == 0 else "a"
            if out.suffix == ".zarr":
                encoding: dict[str, Any] = {str(name): {"chunks": chunks}}
                maps[[name]].to_zarr(partial, mode=mode, encoding=encoding, consolidated=False)
            else:
                encoding = {str(name): {"zlib": True, "complevel": 1, "chunksizes": chunks}}
                with writing(out):
                    maps[[name]].to_netcdf(partial, mode=mode, engine="netcdf4", encoding=encoding)
    _remove(out)
    partial.replace(out)


def _remove(path: Path) -> None:
    """Delete a file or a store, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
