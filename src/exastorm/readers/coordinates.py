"""Finds the axes of a foreign file and turns its grid into ours.

Axes are told by CF attributes (standard name, units, axis) and, failing these, by the names that
models and archives give them. Latitudes are turned to ascend, longitudes rolled into [0, 360).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import check_grid, wrap_longitude
from exastorm.readers.units import conversion

AXIS_NAMES: dict[str, tuple[str, ...]] = {
    "lat": ("lat", "latitude"),
    "lon": ("lon", "longitude"),
    "time": ("time", "valid_time"),
}
"""Names of the axes in the archives, ours first."""

AXIS_STANDARD_NAMES = {"lat": "latitude", "lon": "longitude", "time": "time"}
"""CF standard names of the axes."""

AXIS_UNITS: dict[str, tuple[str, ...]] = {
    "lat": ("degrees_north", "degree_north", "degrees_N", "degree_N"),
    "lon": ("degrees_east", "degree_east", "degrees_E", "degree_E"),
    "time": (),
}
"""Units that tell an axis (CF conventions 1.8, sections 4.1 and 4.2)."""

LEVEL_NAMES = ("plev", "level", "pressure_level", "isobaricInhPa", "isobaricInPa", "pressure")
"""Names of pressure axes in the archives."""

HPA_NAMES = ("level", "pressure_level", "isobaricInhPa")
"""Pressure axes of the ECMWF tools and the cloud stores made with them: hPa without units too."""

MEMBER_NAMES = ("number", "member", "ensemble", "realization", "member_id", "ensemble_member")
"""Names of ensemble axes."""

GRID_TOLERANCE_DEG = 1e-3
"""Largest difference of two grids taken for one, degrees (single-precision files round)."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the points of one file go in the schema.

    Attributes:
        lat: Latitudes as they will be, ascending (H,), degrees.
        lon: Longitudes as they will be, ascending in [0, 360) (W,), degrees.
        lat_order: Index into the file's latitudes (H,).
        lon_order: Index into the file's longitudes (W,); a column repeated at 360 is left out.
        lat_name: The file's name of the latitude axis.
        lon_name: The file's name of the longitude axis.
        num_columns: Number of longitudes in the file.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    lat_order: NDArray[np.intp]
    lon_order: NDArray[np.intp]
    lat_name: str
    lon_name: str
    num_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of latitudes and longitudes."""
        return self.lat.size, self.lon.size

    @property
    def is_in_order(self) -> bool:
        """True where the file already stores its points as the schema has them."""
        return (
            np.array_equal(self.lat_order, np.arange(self.lat.size))
            and np.array_equal(self.lon_order, np.arange(self.lon.size))
            and self.num_columns == self.lon.size
        )

    def has_same_points(self, other: "Grid") -> bool:
        """True where both grids have the same points in the schema."""
        return self.shape == other.shape and bool(
            np.allclose(self.lat, other.lat, rtol=0, atol=GRID_TOLERANCE_DEG)
            and np.allclose(self.lon, other.lon, rtol=0, atol=GRID_TOLERANCE_DEG)
        )


def find_axis(dataset: xr.Dataset, axis: str) -> str | None:
    """The name of the "lat", "lon" or "time" coordinate, or None where there is none."""
    for name in AXIS_NAMES[axis]:
        if name in dataset.dims and name in dataset.variables:
            return name
    found = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.attrs.get("standard_name") == AXIS_STANDARD_NAMES[axis]
        or variable.attrs.get("units") in AXIS_UNITS[axis]
        or name in AXIS_NAMES[axis]
    ]
    along_itself = [name for name in found if name in dataset.dims]
    return next(iter(along_itself or found), None)


def find_grid(dataset: xr.Dataset, file: str) -> Grid:
    """The grid of a file in the schema's order.

    Raises:
        InputError: Where it is no latitude-longitude grid.
    """
    names = [find_axis(dataset, "lat"), find_axis(dataset, "lon")]
    if None in names:
        missing = " and ".join(w for w, n in zip(("lat", "lon"), names, strict=True) if n is None)
        raise InputError(f"must have a coordinate for {missing}", file=file)
    lat_name, lon_name = (str(n) for n in names)
    axes = []
    for name in (lat_name, lon_name):
        variable = dataset.variables[name]
        if variable.dims != (name,):
            raise InputError(
                f"must be a latitude-longitude grid, whose {name} runs along itself;"
                f" got dimensions {tuple(map(str, variable.dims))}",
                file=file,
                variable=name,
            )
        axes.append(np.asarray(variable.values, dtype=np.float64))
    lat_order = np.argsort(axes[0], kind="stable")
    lon = _wrapped(axes[1])
    lon_order = np.argsort(lon, kind="stable")
    lon_order = _without_repeat(lon, lon_order, axes[1])
    grid = Grid(
        lat=axes[0][lat_order],
        lon=lon[lon_order],
        lat_order=lat_order,
        lon_order=lon_order,
        lat_name=lat_name,
        lon_name=lon_name,
        num_columns=lon.size,
    )
    check_grid(grid.lat, grid.lon, file)
    return grid


def _wrapped(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes in [0, 360); what rounds to 360 is 0."""
    wrapped = np.asarray(wrap_longitude(lon), dtype=np.float64)
    return np.where(wrapped > 360.0 - 1e-6, 0.0, wrapped)


def _without_repeat(
    lon: NDArray[np.float64], order: NDArray[np.intp], raw: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Leave out the column that closes the circle, as where both 0 and 360 are stored."""
    if order.size > 2 and abs(raw[-1] - raw[0] - 360.0) < 1e-6:
        return np.asarray([i for i in order if i != raw.size - 1])
    return order


def file_times(dataset: xr.Dataset, file: str) -> tuple[str | None, NDArray[Any]]:
    """Name of the time axis and its times (T,) as cftime objects; (None, empty) without one.

    Raises:
        InputError: Where the times are numbers without CF units.
    """
    name = find_axis(dataset, "time")
    if name is None:
        return None, np.empty(0, dtype=object)
    values = np.atleast_1d(dataset.variables[name].values)
    if values.ndim != 1:
        raise InputError(f"must have one dimension, got {values.ndim}", file=file, variable=name)
    if values.size and not isinstance(values[0], cftime.datetime):
        raise InputError(
            f"must have CF units such as 'days since 2000-01-01', got {values[0]!r}",
            file=file,
            variable=name,
        )
    return name, _rounded(values)


def _rounded(times: NDArray[Any]) -> NDArray[Any]:
    """Times to the full second: days counted in floating point miss it by microseconds."""
    if not any(t.microsecond for t in times):
        return times
    units, calendar = "seconds since 1850-01-01", times[0].calendar
    seconds = np.round(cftime.date2num(times, units, calendar=calendar))
    return np.asarray(cftime.num2date(seconds, units, calendar=calendar))


def is_hybrid(attrs: Mapping[Any, Any]) -> bool:
    """True for attributes of hybrid levels, which CAM gives in hPa though they are no pressures.

    Such an axis has a standard name of its own, a formula (CF 1.8, section 4.3.3), or is called
    hybrid, as in CAM's "hybrid level at midpoints (1000*(A+B))".
    """
    if "hybrid" in str(attrs.get("standard_name", "")):
        return True
    if "hybrid" in str(attrs.get("long_name", "")).lower():
        return attrs.get("standard_name") != "air_pressure"
    return "formula_terms" in attrs


def find_level_axis(array: xr.DataArray) -> str | None:
    """The pressure axis of a variable, or None (hybrid and sigma levels are no pressures)."""
    for dim in map(str, array.dims):
        attrs = array.coords[dim].attrs if dim in array.coords else {}
        if is_hybrid(attrs):
            continue
        kind = str(attrs.get("standard_name", ""))
        if kind == "air_pressure" or (dim in LEVEL_NAMES and not kind):
            return dim
        if not kind and _is_pressure(attrs.get("units", "")):
            return dim
    return None


def _is_pressure(units: str) -> bool:
    """True for a unit of pressure."""
    try:
        conversion(str(units), "hPa")
    except ValueError:
        return False
    return True


def levels_hpa(levels: xr.DataArray) -> NDArray[np.float64]:
    """Values of a pressure axis, hPa.

    Raises:
        ValueError: Where it has no unit of pressure.
    """
    units = levels.attrs.get("units")
    if not units and levels.name in HPA_NAMES:
        units = "hPa"
    change = conversion(str(units or ""), "hPa")
    return np.asarray(levels.values, dtype=np.float64) * change.scale
