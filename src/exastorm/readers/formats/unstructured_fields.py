"""Which fields a file on columns gives: those it has, and those that its model levels hold."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from exastorm.readers.columns import ColumnWeights
from exastorm.readers.fields import require_numbers
from exastorm.readers.formats.unstructured_arrays import PlainField, gridded
from exastorm.readers.lexicon import CAM
from exastorm.readers.options import ReadOptions
from exastorm.readers.profiles import LOWEST_LEVEL_FIELDS, PRESSURE_ATTRS, make_profile
from exastorm.readers.vertical import find_levels

PROFILE_NAMES = {"U": "U", "V": "V", "T": "T", "Z3": "Z", "Z": "Z"}
"""CAM's names of fields on model levels, and their letter."""

KNOWN_NAMES = {name for entry in CAM for name in entry.names}
"""Names that mean a field, which must hold numbers."""


@dataclass(frozen=True, kw_only=True)
class ColumnFile:
    """A file on columns, opened.

    Attributes:
        path: Where it is.
        dataset: Its variables, lazily indexed.
        dim: The dimension of columns.
        lead: The dimension of time, where it has one: (time,) or ().
    """

    path: str
    dataset: xr.Dataset
    dim: str
    lead: tuple[str, ...]


def gridded_fields(
    file: ColumnFile, weights: ColumnWeights, options: ReadOptions
) -> dict[str, xr.Variable]:
    """Every field of a file as a lazy variable on the grid, and the axes of pressure it needs.

    Args:
        file: The file.
        weights: From its columns to the grid.
        options: `stand_ins` and `units` (of the surface pressure) are heeded.

    Raises:
        InputError: If hybrid levels lack their reference pressure, pressures their unit, or a
            field holds no numbers.
    """
    out: dict[str, xr.Variable] = {}
    for name, variable in file.dataset.data_vars.items():
        if file.dim not in variable.dims:
            continue
        if name in KNOWN_NAMES:
            require_numbers(variable.dtype, file.path, str(name))
        if variable.dtype.kind not in "fiu":
            continue
        lead = tuple(d for d in file.lead if d in variable.dims)
        if set(variable.dims) == {*lead, file.dim}:
            field = PlainField(variable=variable.variable.transpose(*lead, file.dim))
            out[str(name)] = gridded(field, weights, lead, variable.attrs)
        elif name in PROFILE_NAMES:
            out |= _fields_of_profile(file, str(name), lead, weights, options)
    return out


def _fields_of_profile(
    file: ColumnFile, name: str, lead: tuple[str, ...], weights: ColumnWeights, options: ReadOptions
) -> dict[str, xr.Variable]:
    """A variable on model levels, on pressures and at the lowest level."""
    levels = find_levels(file.dataset, name, file.path)
    variable = file.dataset.variables[name]
    if levels is None or set(variable.dims) != {*lead, levels.axis, file.dim}:
        return {}
    variable = variable.transpose(*lead, levels.axis, file.dim)
    out = {}
    letter = PROFILE_NAMES[name]
    profile = make_profile(file.dataset, file.path, variable, letter, levels, options)
    if profile is not None:
        axis = f"plev_{name}"
        out[axis] = xr.Variable((axis,), np.array(profile.levels_hpa), dict(PRESSURE_ATTRS))
        attrs = {**variable.attrs, "note": profile.note}
        out[name] = gridded(profile, weights, (*lead, axis), attrs)
    lowest = LOWEST_LEVEL_FIELDS.get(name)
    if lowest and lowest not in file.dataset.variables and levels.needs_surface_pressure:
        field = PlainField(variable=variable.isel({levels.axis: int(levels.order[-1])}))
        note = f"lowest level of {name}"
        out[lowest] = gridded(field, weights, lead, {**variable.attrs, "note": note})
    return out
