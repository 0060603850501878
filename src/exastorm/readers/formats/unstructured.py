"""CAM-SE, E3SM and other output on unstructured columns (`ncol`), brought to a grid on the way in.

Fields on model levels are first interpolated to the pressure levels of the vocabulary in their own
columns (readers/vertical.py), then every field is regridded (readers/columns.py): to the grid the
user asks for, by the user's weight file, or to CAM's finite-volume grid of about the same spacing.
From there on the files are read as CAM's on a grid are. Columns that cover only a region leave the
rest of the grid without values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import FloatArray
from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.columns import ColumnWeights, nearest_weights, weights_from_file
from exastorm.readers.coordinates import find_axis
from exastorm.readers.formats.unstructured_arrays import PlainField, ProfileField, gridded
from exastorm.readers.formats.unstructured_mesh import column_dim, find_columns, mesh_dim
from exastorm.readers.lexicon import CAM, CF, PROFILES
from exastorm.readers.opening import open_lazily, peek
from exastorm.readers.options import ReadOptions, stand_in_levels
from exastorm.readers.schema import coordinate_attrs
from exastorm.readers.units import conversion
from exastorm.readers.vertical import ModelLevels, find_levels
from exastorm.variables import VARIABLES

NAME = "unstructured"

PROFILE_NAMES = {"U": "U", "V": "V", "T": "T", "Z3": "Z", "Z": "Z"}
"""CAM's names of fields on model levels, and their letter."""

LOWEST_LEVEL_FIELDS = {"U": "UBOT", "V": "VBOT"}
"""Fields at the lowest model level that a profile gives where the file lacks them."""


def recognize(path: str) -> bool:
    """True where a file has fields on columns and no latitude and longitude axes."""
    header = peek(path)
    if header is None or header.has_axis("lat", "latitude"):
        return False
    return column_dim(header) is not None


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read files on columns as one lazy dataset in the schema.

    Args:
        paths: Files with the same columns.
        options: Beside the options of every archive: `mesh` (file with the coordinates), `weights`
            (ESMF weight file) and `grid`, which is made directly unless there are weights.

    Raises:
        InputError: As `assemble`; or where the columns' coordinates or weights don't fit.
    """
    columns = Columns(options)
    dataset = assemble(paths, options, Recipe(name=NAME, entries=(*CAM, *CF), opener=columns.open))
    assert columns.weights is not None
    weights = columns.weights
    covered = xr.DataArray(weights.covered, dims=("lat", "lon"))
    for name, array in dataset.data_vars.items():
        masked = array
        if array.dtype.kind == "f" and not weights.covered.all():
            masked = array.where(covered)
        dataset[name] = masked.assign_attrs({**array.attrs, "regridding": weights.method})
    note = (
        f"regridded from {weights.num_columns} columns to {weights.lat.size} x {weights.lon.size}"
    )
    dataset.attrs["history"] = "; ".join(filter(None, [dataset.attrs.get("history"), note]))
    return dataset


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Refuse: the package works on grids, and has no mesh to write on.

    Raises:
        InputError: Always.
    """
    raise InputError("unstructured files can be read, not written; write cam instead", file=out)


class Columns:
    """Opens files on one set of columns as lazy fields on a grid.

    Attributes:
        weights: From columns to the grid; None before the first file.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.weights: ColumnWeights | None = None
        self._options = options
        self._places: tuple[FloatArray, FloatArray] | None = None
        self._first = ""

    def open(self, path: str) -> list[xr.Dataset]:
        """One file, its fields gridded.

        Raises:
            InputError: If it has no columns, or others than the first file.
        """
        header = peek(path)
        raw = open_lazily(path)
        dim = column_dim(header) if header else None
        if dim is None:
            raise InputError("has no fields on unstructured columns", file=path)
        weights = self._weights_of(raw, dim, path)
        time = find_axis(raw, "time")
        lead = (time,) if time is not None and time in raw.dims else ()
        fields: dict[str, xr.Variable] = {}
        for name in map(str, raw.data_vars):
            fields |= _fields_of(raw, name, dim, lead, weights, self._options, path)
        out = xr.Dataset(fields).assign_coords(
            lat=("lat", weights.lat, coordinate_attrs("lat")),
            lon=("lon", weights.lon, coordinate_attrs("lon")),
        )
        return [_with_time(out, raw, time)]

    def _weights_of(self, raw: xr.Dataset, dim: str, path: str) -> ColumnWeights:
        """The weights, made for the first file and checked against the others."""
        places = self._find_places(raw, dim, path)
        if self.weights is None:
            options = self._options
            if options.weights is not None:
                self.weights = weights_from_file(options.weights)
            elif places is not None:
                self.weights = nearest_weights(*places, options.grid)
            self._places, self._first = places, path
        assert self.weights is not None
        if raw.sizes[dim] != self.weights.num_columns:
            raise InputError(
                f"must have {self.weights.num_columns} columns as"
                f" {self._options.weights or self._first} has, got {raw.sizes[dim]}",
                file=path,
            )
        if places is not None and self._places is not None:
            same = all(
                np.allclose(a, b, atol=1e-3) for a, b in zip(places, self._places, strict=True)
            )
            if not same:
                raise InputError(
                    f"all files must have the same columns; these lie elsewhere than in"
                    f" {self._first}",
                    file=path,
                )
        return self.weights

    def _find_places(
        self, raw: xr.Dataset, dim: str, path: str
    ) -> tuple[FloatArray, FloatArray] | None:
        """Coordinates of the columns; None where a weight file makes them needless.

        Raises:
            InputError: If they are needed and not there.
        """
        places = find_columns(raw, dim, path)
        if places is not None or self._options.weights is not None:
            return places
        mesh_path = self._options.mesh
        if mesh_path is None:
            raise InputError(
                f"has no coordinates for its {raw.sizes[dim]} columns; name the file that has them"
                " with the option mesh, or a weight file with weights",
                file=path,
            )
        with open_lazily(mesh_path, decode_times=False) as mesh:
            along = mesh_dim(mesh, dim, raw.sizes[dim])
            places = find_columns(mesh, along, mesh_path) if along else None
        if places is None:
            raise InputError(
                f"must hold latitudes and longitudes of {raw.sizes[dim]} columns, those of {path}",
                file=mesh_path,
            )
        return places


def _with_time(out: xr.Dataset, raw: xr.Dataset, time: str | None) -> xr.Dataset:
    """The dataset with the file's time axis and its bounds."""
    if time is None:
        return out
    out = out.assign_coords({time: raw.variables[time]})
    bounds = [n for n in raw.data_vars if raw[n].dims[:1] == (time,) and raw[n].shape[1:] == (2,)]
    return out.assign({n: raw.variables[n] for n in bounds})


def _fields_of(
    raw: xr.Dataset,
    name: str,
    dim: str,
    lead: tuple[str, ...],
    weights: ColumnWeights,
    options: ReadOptions,
    path: str,
) -> dict[str, xr.Variable]:
    """The gridded fields that one variable of a file gives; none for what is no field."""
    variable = raw.variables[name]
    here = tuple(d for d in lead if d in variable.dims)
    if dim not in variable.dims:
        return {}
    if set(variable.dims) == {*here, dim}:
        field = PlainField(variable=variable.transpose(*here, dim))
        return {name: gridded(field, weights, here, variable.attrs)}
    levels = find_levels(raw, name, path) if name in PROFILE_NAMES else None
    if levels is None or set(variable.dims) != {*here, levels.axis, dim}:
        return {}
    variable = variable.transpose(*here, levels.axis, dim)
    out = {}
    profile = _profile(raw, name, variable, levels, options)
    if profile is not None:
        axis = f"plev_{name}"
        out[axis] = xr.Variable(
            (axis,), np.array(profile.levels_hpa), {"units": "hPa", "standard_name": "air_pressure"}
        )
        note = f"interpolated in log pressure from {levels.order.size} levels"
        attrs = {**variable.attrs, "note": note}
        out[name] = gridded(profile, weights, (*here, axis), attrs)
    lowest = LOWEST_LEVEL_FIELDS.get(name)
    if lowest and lowest not in raw.variables and levels.needs_surface_pressure:
        field = PlainField(variable=variable.isel({levels.axis: int(levels.order[-1])}))
        note = f"lowest level of {name}"
        out[lowest] = gridded(field, weights, here, {**variable.attrs, "note": note})
    return out


def _profile(
    raw: xr.Dataset, name: str, variable: xr.Variable, levels: ModelLevels, options: ReadOptions
) -> ProfileField | None:
    """A field on model levels at the pressures that the vocabulary and the user want of it.

    None where it reaches none of them, or has hybrid levels and no surface pressure beside it.
    """
    letter = PROFILE_NAMES[name]
    stand_ins = stand_in_levels(options)
    wanted = [VARIABLES[ours].level_hpa for ours in PROFILES[letter]]
    wanted += [stand_ins[ours] for ours in PROFILES[letter] if ours in stand_ins]
    reached = sorted({float(p) for p in wanted if p is not None and levels.reaches(p)})
    surface: Any = None
    surface_hpa = 1.0
    if levels.needs_surface_pressure:
        if "PS" not in raw.variables:
            return None
        dims = tuple(d for d in variable.dims if d != levels.axis)
        surface = raw.variables["PS"].transpose(*dims)
        surface_hpa = conversion(str(surface.attrs.get("units", "Pa")), "hPa").scale
    if not reached:
        return None
    return ProfileField(
        variable=variable,
        letter=letter,
        levels=levels,
        levels_hpa=tuple(reached),
        surface=surface,
        surface_hpa=surface_hpa,
    )
