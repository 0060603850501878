"""From the variables of one archive's files to fields of the vocabulary.

A group of files that hold the same variables is translated at once. What can't be taken (no
units, a dimension too many) is left out with a reason, which `exastorm inspect` prints; what must
be wrong (units of another quantity) is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from exastorm.readers.fields import Field, add_note, first_step, make_array, variable_of
from exastorm.readers.groups import Group, LeftOut, Levels
from exastorm.readers.levels import FILL_NOTE, fill_below_ground, find_level, levels_above
from exastorm.readers.lexicon import LEVEL_IN_NAME, PROFILES, Entry
from exastorm.readers.timing import interval_bounds
from exastorm.readers.units import Conversion, convert, find_conversion
from exastorm.variables import VARIABLES

HEIGHT_TOLERANCE_M = 0.5
"""Models put their "2 m" between 1.5 and 2 m (CMIP6 data request, comment of `tas`)."""


@dataclass(frozen=True)
class Translation:
    """Fields taken from a group of files, and why others were not.

    Attributes:
        fields: By our name.
        left_out: Reason by the name in the archive.
    """

    fields: dict[str, Field] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def translate(group: Group, entries: Iterable[Entry]) -> Translation:
    """Take every field that a table knows from a group of files with the same variables.

    Args:
        group: The files.
        entries: The archive's table.

    Raises:
        InputError: For units that can't be the field's.
    """
    out = Translation()
    for rank, entry in enumerate(entries):
        out.left_out.update(_ambiguous(entry, group.first.dataset))
        for name in candidates(entry, group.first.dataset):
            try:
                found = _take(entry, name, group)
            except LeftOut as reason:
                out.left_out.setdefault(name, str(reason))
                continue
            for ours, taken in found.items():
                out.fields.setdefault(ours, replace(taken, rank=rank))
                out.left_out.pop(name, None)
    return out


def candidates(entry: Entry, dataset: xr.Dataset) -> list[str]:
    """Variables of a file that an entry may mean, the preferred first."""
    if any(name not in dataset.variables for name in entry.beside):
        return []
    if not entry.names:
        return [
            str(n)
            for n, a in dataset.data_vars.items()
            if a.attrs.get("standard_name") in entry.standard_names and _fits_height(entry, a)
        ]
    named = [n for n in entry.names if n in dataset.data_vars]
    if entry.is_profile:
        spelled = {n.lower() for n in entry.names}
        matches = ((str(n), LEVEL_IN_NAME.fullmatch(str(n))) for n in dataset.data_vars)
        named += [n for n, m in matches if m and m["name"].lower() in spelled]
    return [n for n in named if _fits_standard_name(entry, dataset[n])]


def _ambiguous(entry: Entry, dataset: xr.Dataset) -> dict[str, str]:
    """Reasons for names that an entry takes only beside others which are not there."""
    if all(name in dataset.variables for name in entry.beside):
        return {}
    reason = f"is taken only beside {', '.join(entry.beside)}; alone it may be another quantity"
    return {name: reason for name in entry.names if name in dataset.data_vars}


def _fits_standard_name(entry: Entry, array: xr.DataArray) -> bool:
    """True where a named variable's standard name, if it has one, is not another quantity's."""
    given = array.attrs.get("standard_name", "unknown")
    return not entry.standard_names or given == "unknown" or given in entry.standard_names


def _fits_height(entry: Entry, array: xr.DataArray) -> bool:
    """True where an entry asks for no height, or the variable lies at the one it asks for.

    xarray hands a scalar coordinate to every variable of a file, so the variable's own list of
    coordinates decides, where it has one.
    """
    if entry.height_m is None:
        return True
    own = str(array.encoding.get("coordinates", "")).split()
    heights = [
        float(c.values)
        for n, c in array.coords.items()
        if c.ndim == 0
        and (c.attrs.get("standard_name") == "height" or n == "height")
        and (n in own or not own)
    ]
    return len(heights) == 1 and abs(heights[0] - entry.height_m) <= HEIGHT_TOLERANCE_M


def _take(entry: Entry, name: str, group: Group) -> dict[str, Field]:
    """The fields that one variable gives; empty where it is of another kind."""
    levels = group.levels(name)
    if entry.is_profile:
        return {} if levels is None else _take_levels(entry, name, group, levels)
    if levels is not None:
        return {}
    return {entry.field: _read_field(entry, entry.field, name, group)}


def _change(entry: Entry, ours: str, name: str, group: Group) -> Conversion:
    """How a variable's values become ours.

    Raises:
        LeftOut: If it has no units, or its opener says that it can't be used.
        InputError: If its units are another quantity's.
    """
    attrs = group.array(name).attrs
    if "unusable" in attrs:
        raise LeftOut(attrs["unusable"])
    return find_conversion(
        group.units(name),
        variable_of(ours),
        accumulated_s=attrs.get("accumulated_s", entry.accumulated_s),
        file=group.first.path,
        source_name=name,
    )


def _read_field(
    entry: Entry, ours: str, name: str, group: Group, index: dict[str, int] | None = None
) -> Field:
    """One field of ours from one variable, or from one level of it."""
    change = _change(entry, ours, name, group)
    data, chosen = group.read(name, index)
    source = group.array(name)
    notes = [entry.note, change.note, chosen, str(source.attrs.get("note", ""))]
    attrs = {
        "source_name": source.attrs.get("source_name", name),
        "source_units": group.units(name),
    }
    if any(notes):
        attrs["note"] = "; ".join(n for n in notes if n)
    times = group.times if group.has_time(name) else None
    array = make_array(ours, data, times, group.first.grid, attrs)
    return Field(
        array=convert(array, change).assign_attrs(array.attrs),
        bounds=interval_bounds(group, name),
        file=group.first.path,
    )


def _take_levels(entry: Entry, name: str, group: Group, levels: Levels) -> dict[str, Field]:
    """The fields on pressure levels that one variable gives."""
    out: dict[str, Field] = {}
    for ours in PROFILES[entry.field]:
        index = group.level_of(name, ours, VARIABLES[ours].level_hpa or 0.0)
        if index is not None:
            out[ours] = _take_level(entry, ours, name, group, levels, index)
    return out


def _take_level(
    entry: Entry, ours: str, name: str, group: Group, levels: Levels, index: int
) -> Field:
    """One level of a variable, its gaps filled where it has any at its first time."""

    def read(i: int) -> Field:
        at = {} if levels.axis is None else {levels.axis: i}
        return _read_field(entry, ours, name, group, at)

    taken = read(index)
    level = float(levels.hpa[index])
    wanted = VARIABLES[ours].level_hpa or 0.0
    taken.array.attrs["source_level_hpa"] = level
    if find_level(np.array([level]), wanted) is None:
        note = f"{level:g} hPa stands in for {wanted:g} hPa, as asked"
        taken = replace(taken, array=add_note(taken.array, note))
    gaps = np.isnan(first_step(taken.array))
    if "time" not in taken.array.dims or not gaps.any() or gaps.all():
        return taken
    above = [(float(levels.hpa[i]), read(i).array.data) for i in levels_above(levels.hpa, level)]
    filled, mask = fill_below_ground(entry.field, level, taken.array.data, above)
    array = add_note(taken.array.copy(data=filled), FILL_NOTE.format(name=ours))
    return replace(taken, array=array, mask=_mask(array, mask))


def _mask(array: xr.DataArray, mask: Any) -> xr.DataArray:
    """The below-ground mask of a field, with CF flags."""
    attrs = {
        "long_name": f"where {array.name} lies below the ground and was filled",
        "flag_values": np.array([0, 1], dtype=np.int8),
        "flag_meanings": "above_ground below_ground",
    }
    named = array.copy(data=mask).rename(f"below_ground_{array.name}")
    named.attrs = attrs
    return named
