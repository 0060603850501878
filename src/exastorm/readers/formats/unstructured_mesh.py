"""Finds the columns of an unstructured file and where they lie.

A column is a cell center or a spectral-element node: a dimension such as `ncol` that fields have in
place of latitude and longitude. Its coordinates are in the data file, or in a mesh file that the
user names: SCRIP (`grid_center_lat`), UGRID (`face_lat` or what the topology names) or any other
with latitudes and longitudes over as many points.
"""

from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import FloatArray
from exastorm.readers.opening import Header

COLUMN_DIMS = ("ncol", "ncol_d", "n_face", "nCells", "ncells", "cell", "grid_size")
"""Dimensions of columns: CAM-SE and E3SM; UGRID; MPAS; ICON; SCRIP."""

PLACES = ("latitude", "longitude", "x", "y", "z")
"""Standard names, with those of UGRID writers, of where columns are."""

LAT_NAMES = ("lat", "latitude", "clat", "latCell", "grid_center_lat")
LON_NAMES = ("lon", "longitude", "clon", "lonCell", "grid_center_lon")
"""Names of the centers' coordinates where no standard name tells them (CAM, ICON, MPAS, SCRIP)."""


def column_dim(header: Header) -> str | None:
    """The dimension of columns on which a file has a field; None where it has none."""
    for dim in COLUMN_DIMS:
        if any(dim in dims and _is_field(header, name) for name, dims in header.dims.items()):
            return dim
    return None


def _is_field(header: Header, name: str) -> bool:
    """False for coordinates and the tables of a mesh: these have no units or are places."""
    attrs = header.variable_attrs[name]
    is_place = name in (*LAT_NAMES, *LON_NAMES) or attrs.get("standard_name") in PLACES
    return "units" in attrs and not is_place


def find_columns(dataset: xr.Dataset, dim: str, file: str) -> tuple[FloatArray, FloatArray] | None:
    """Latitudes and longitudes (N,) of columns, degrees; None where a file has none for them.

    Args:
        dataset: A data or mesh file.
        dim: The columns' dimension in the data; in a mesh file the length alone counts if it has
            no dimension of that name.
        file: Its path, for messages.

    Raises:
        InputError: If they are in no unit of angle.
    """
    pair = _coordinate_names(dataset, dim)
    if pair is None:
        return None
    lat, lon = (_degrees(dataset[name], file) for name in pair)
    if not (np.isfinite(lat).all() and np.isfinite(lon).all() and np.abs(lat).max() <= 90.001):
        raise InputError("columns must lie on the globe", file=file, variable=", ".join(pair))
    return np.clip(lat, -90.0, 90.0), lon


def mesh_dim(mesh: xr.Dataset, dim: str, size: int) -> str | None:
    """The dimension of a mesh file that means the columns of a data file, None without one."""
    if mesh.sizes.get(dim) == size:
        return dim
    fitting = [
        str(d) for d, n in mesh.sizes.items() if n == size and _coordinate_names(mesh, str(d))
    ]
    return fitting[0] if fitting else None


def _coordinate_names(dataset: xr.Dataset, dim: str) -> tuple[str, str] | None:
    """Names of the latitude and longitude along a dimension."""
    along = [str(n) for n, v in dataset.variables.items() if v.dims == (dim,)]
    lat = [n for n in along if _is_named(dataset, n, "latitude", LAT_NAMES)]
    lon = [n for n in along if _is_named(dataset, n, "longitude", LON_NAMES)]
    return (lat[0], lon[0]) if lat and lon else None


def _is_named(dataset: xr.Dataset, name: str, standard_name: str, names: tuple[str, ...]) -> bool:
    return dataset[name].attrs.get("standard_name") == standard_name or name in names


def _degrees(array: xr.DataArray, file: str) -> FloatArray:
    """Angles in degrees.

    Raises:
        InputError: If the unit is no angle.
    """
    units = str(array.attrs.get("units", "")).strip().lower()
    values: Any = np.asarray(array.values, dtype=np.float64)
    if units.startswith("deg"):
        return np.asarray(values)
    if units.startswith("rad"):
        return np.asarray(np.rad2deg(values))
    raise InputError(
        f"must be in degrees or radians, got units {units!r}", file=file, variable=str(array.name)
    )
