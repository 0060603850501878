"""Which fields a file on columns gives: those it has, and those that its model levels hold."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from exastorm.readers.columns import ColumnWeights
from exastorm.readers.formats.unstructured_arrays import PlainField, ProfileField, gridded
from exastorm.readers.lexicon import PROFILES
from exastorm.readers.options import ReadOptions, stand_in_levels, stated_units
from exastorm.readers.units import find_conversion
from exastorm.readers.vertical import ModelLevels, find_levels
from exastorm.variables import VARIABLES

PROFILE_NAMES = {"U": "U", "V": "V", "T": "T", "Z3": "Z", "Z": "Z"}
"""CAM's names of fields on model levels, and their letter."""

PA_PER_HPA = 100.0

LOWEST_LEVEL_FIELDS = {"U": "UBOT", "V": "VBOT"}
"""Fields at the lowest model level that a profile gives where the file lacks them."""


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
        InputError: If hybrid levels lack their reference pressure, or pressures their unit.
    """
    out: dict[str, xr.Variable] = {}
    for name, variable in file.dataset.data_vars.items():
        if file.dim not in variable.dims or variable.dtype.kind not in "fiu":
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
    profile = _profile(file, name, variable, levels, options)
    if profile is not None:
        axis = f"plev_{name}"
        attrs = {"units": "hPa", "standard_name": "air_pressure"}
        out[axis] = xr.Variable((axis,), np.array(profile.levels_hpa), attrs)
        note = f"interpolated in log pressure from {levels.order.size} levels"
        out[name] = gridded(profile, weights, (*lead, axis), {**variable.attrs, "note": note})
    lowest = LOWEST_LEVEL_FIELDS.get(name)
    if lowest and lowest not in file.dataset.variables and levels.needs_surface_pressure:
        field = PlainField(variable=variable.isel({levels.axis: int(levels.order[-1])}))
        note = f"lowest level of {name}"
        out[lowest] = gridded(field, weights, lead, {**variable.attrs, "note": note})
    return out


def _profile(
    file: ColumnFile, name: str, variable: xr.Variable, levels: ModelLevels, options: ReadOptions
) -> ProfileField | None:
    """A field on model levels at the pressures that the vocabulary and the user want of it.

    None where it reaches none of them, or has hybrid levels and no surface pressure beside it.

    Raises:
        InputError: If the surface pressure is in no unit of pressure.
    """
    letter = PROFILE_NAMES[name]
    stand_ins = stand_in_levels(options)
    wanted = [VARIABLES[ours].level_hpa for ours in PROFILES[letter]]
    wanted += [stand_ins[ours] for ours in PROFILES[letter] if ours in stand_ins]
    reached = sorted({float(p) for p in wanted if p is not None and levels.reaches(p)})
    is_hybrid = levels.needs_surface_pressure
    if not reached or (is_hybrid and "PS" not in file.dataset.variables):
        return None
    dims = tuple(d for d in variable.dims if d != levels.axis)
    return ProfileField(
        variable=variable,
        letter=letter,
        levels=levels,
        levels_hpa=tuple(reached),
        surface=file.dataset.variables["PS"].transpose(*dims) if is_hybrid else None,
        surface_hpa=_surface_unit_hpa(file, options) if is_hybrid else 1.0,
    )


def _surface_unit_hpa(file: ColumnFile, options: ReadOptions) -> float:
    """One unit of the surface pressure, hPa.

    Raises:
        InputError: If it is no unit of pressure.
    """
    given = str(file.dataset.variables["PS"].attrs.get("units", ""))
    change = find_conversion(
        stated_units(options).get("PS", given),
        VARIABLES["PS"],
        accumulated_s=None,
        file=file.path,
        source_name="PS",
    )
    return change.scale / PA_PER_HPA
