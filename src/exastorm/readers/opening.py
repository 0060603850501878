"""Opens one file or store lazily, and says in one line why it can't.

A path is anything fsspec understands. What it holds is told by its first bytes, not by its name.
Nothing but coordinates is read here; fields are read block by block later, through `FileSeries`
(readers/series.py), which turns a failure deep in a library into a line with file and variable.
"""

import re
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fsspec
import numpy as np
import xarray as xr
from fsspec.implementations.local import LocalFileSystem

from exastorm.errors import InputError

READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, EOFError, zlib.error)
"""What the netCDF, HDF5, GRIB and Zarr libraries raise on files they can't read."""

ZARR_MARKERS = ("zarr.json", ".zgroup", ".zmetadata")
"""Files that make a directory a Zarr store (format 3; format 2; format 2, consolidated)."""

ZARR_LOST = re.compile(r"Object at (.+) is not recognized as a component of a Zarr hierarchy")
"""How the Zarr library warns of a directory in a store that is neither array nor group."""

ZARR_CHUNK = re.compile(r"c|\.zattrs|\d+(\.\d+)*")
"""What lies in the directory of an array: chunks (format 3; format 2) and attributes."""

TIME_VARIABLE = re.compile(r"variable '([^']+)'")
"""Where xarray names the variable whose times it can't decode."""

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"CDF\x01", "netcdf3"),
    (b"CDF\x02", "netcdf3"),
    (b"CDF\x05", "netcdf3"),
    (b"GRIB", "grib"),
)
"""First bytes of each kind of file (HDF5, netCDF classic in its three sizes, GRIB)."""


def file_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a path and the path inside it.

    Raises:
        InputError: If no file system is known for the path's protocol.
    """
    try:
        fs, inner = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise InputError(f"can't be opened: {error}", file=path) from error
    return fs, inner


def is_local(path: str) -> bool:
    """True where plain file access reaches the path."""
    return isinstance(file_system(path)[0], LocalFileSystem)


def is_zarr(path: str) -> bool:
    """True where the path is a Zarr store."""
    fs, inner = file_system(path)
    return any(fs.exists(f"{inner.rstrip('/')}/{marker}") for marker in ZARR_MARKERS)


def kind_of(path: str) -> str:
    """What a path holds: "hdf5" (netCDF-4 too), "netcdf3", "grib" or "zarr".

    Raises:
        InputError: If the path does not exist, is empty or is none of these.
    """
    fs, inner = file_system(path)
    try:
        if not fs.exists(inner):
            raise InputError("does not exist", file=path)
        if fs.isdir(inner):
            if is_zarr(path):
                return "zarr"
            raise InputError("is a directory but not a Zarr store", file=path)
        with fs.open(inner, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"can't be read: {error}", file=path) from error
    if not start:
        raise InputError("is empty", file=path)
    for magic, kind in MAGIC:
        if start.startswith(magic):
            return kind
    raise InputError("is no data file (not netCDF, HDF5, GRIB or Zarr)", file=path)


def _is_consolidated(path: str) -> bool:
    """True where a Zarr store keeps the metadata of all its arrays in one file."""
    fs, inner = file_system(path)
    root = inner.rstrip("/")
    if fs.exists(f"{root}/.zmetadata"):
        return True
    marker = f"{root}/zarr.json"
    return bool(fs.exists(marker)) and b'"consolidated_metadata": {' in fs.cat_file(marker)


def _engine_arguments(path: str, kind: str) -> dict[str, Any]:
    """What xarray needs to open a file of this kind at this place."""
    if kind == "zarr":
        # xarray warns where a store has no consolidated metadata, so say whether it has.
        store = file_system(path)[1] if is_local(path) else path
        return {"filename_or_obj": store, "engine": "zarr", "consolidated": _is_consolidated(path)}
    if is_local(path):
        return {"filename_or_obj": file_system(path)[1], "engine": "netcdf4"}
    if kind == "netcdf3":
        # The classic format has no reader for remote files that reads on demand: copy it once.
        copy = fsspec.open_local(f"simplecache::{path}")
        return {"filename_or_obj": copy, "engine": "netcdf4"}
    return {"filename_or_obj": fsspec.open(path, "rb").open(), "engine": "h5netcdf"}


def open_lazily(path: str, *, decode_times: bool = True) -> xr.Dataset:
    """Open a netCDF, HDF5 or Zarr path; packed values and times are decoded, nothing is read.

    Args:
        path: Anything fsspec understands.
        decode_times: Turn times into cftime objects; False for a look at names and attributes.

    Raises:
        InputError: If it can't be read, or its times can't.
    """
    kind = kind_of(path)
    if kind == "grib":
        raise InputError("is GRIB, not netCDF or Zarr", file=path)
    coder: Any = xr.coders.CFDatetimeCoder(use_cftime=True) if decode_times else False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = xr.open_dataset(
                **_engine_arguments(path, kind),
                chunks=None,
                cache=False,
                decode_times=coder,
                decode_timedelta=False,
            )
    except READ_ERRORS as error:
        text = " ".join(str(error).split())
        if decode_times and "decode" in text and "time" in text:
            raise _time_problem(path, text) from error
        problem = f"can't be read (truncated or corrupt?): {text[:160]}"
        raise InputError(problem, file=path) from error
    _heed(caught, path)
    if kind == "netcdf3":
        _check_size(dataset, path)
    return dataset


def _time_problem(path: str, text: str) -> InputError:
    """What must be, and what was got, of times that can't be decoded."""
    found = TIME_VARIABLE.search(text)
    name = found[1] if found else "time"
    with open_lazily(path, decode_times=False) as dataset:
        attrs = dataset.variables[name].attrs if name in dataset.variables else {}
    return InputError(
        "must have CF units such as 'days since 2000-01-01', a CF calendar and dates that it has;"
        f" got units {attrs.get('units', '')!r}, calendar {attrs.get('calendar', 'standard')!r}",
        file=path,
        variable=name,
    )


def _heed(caught: Iterable[warnings.WarningMessage], path: str) -> None:
    """Pass on what the libraries warned of while a path was opened, or refuse the path for it.

    Raises:
        InputError: If a Zarr store holds the chunks of an array and not its metadata.
    """
    for warning in caught:
        found = ZARR_LOST.match(str(warning.message))
        if found is None:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif _has_chunks(path, found[1]):
            raise InputError(
                "must have metadata (zarr.json or .zarray) beside its chunks, got none",
                file=path,
                variable=found[1],
            )


def _has_chunks(path: str, name: str) -> bool:
    """True where a directory of a Zarr store looks like an array, not like something put there."""
    fs, inner = file_system(path)
    entries = fs.ls(f"{inner.rstrip('/')}/{name}", detail=False)
    return any(ZARR_CHUNK.fullmatch(str(e).rstrip("/").rsplit("/", 1)[-1]) for e in entries)


def _check_size(dataset: xr.Dataset, path: str) -> None:
    """Refuse a classic netCDF file that is shorter than its variables; its library pads zeros."""
    fs, inner = file_system(path)
    needed = sum(
        int(np.prod(v.encoding.get("original_shape", v.shape)))
        * np.dtype(v.encoding.get("dtype", v.dtype)).itemsize
        for v in dataset.variables.values()
    )
    size = int(fs.size(inner))
    if size < needed:
        raise InputError(f"is truncated: has {size} bytes of at least {needed}", file=path)


@dataclass(frozen=True, kw_only=True)
class Header:
    """Names and attributes of a file or store, without its values.

    Attributes:
        attrs: Global attributes.
        sizes: Length of each dimension.
        dims: Dimensions of each variable, coordinates included.
        variable_attrs: Attributes of each variable.
    """

    attrs: dict[str, Any]
    sizes: dict[str, int]
    dims: dict[str, tuple[str, ...]]
    variable_attrs: dict[str, dict[str, Any]]

    def has_axis(self, *names: str) -> bool:
        """True where one of these names is a variable along itself, as a coordinate is."""
        return any(self.dims.get(name) == (name,) for name in names)


@lru_cache(maxsize=128)
def _peek(path: str, _stamp: str) -> Header:
    """The header of a path; `_stamp` changes when the file does."""
    with open_lazily(path, decode_times=False) as dataset:
        return Header(
            attrs=dict(dataset.attrs),
            sizes={str(k): int(n) for k, n in dataset.sizes.items()},
            dims={str(k): tuple(map(str, v.dims)) for k, v in dataset.variables.items()},
            variable_attrs={str(k): dict(v.attrs) for k, v in dataset.variables.items()},
        )


def peek(path: str) -> Header | None:
    """The header of a netCDF, HDF5 or Zarr path, cached; None where it can't be read as one."""
    try:
        fs, inner = file_system(path)
        info = fs.info(inner)
        return _peek(path, f"{info.get('size')} {info.get('mtime', info.get('created'))}")
    except (InputError, OSError):
        return None
