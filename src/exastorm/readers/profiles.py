"""Fields on hybrid model levels, seen as fields on pressure levels: interpolated when read.

CAM and E3SM keep U, V, T and Z3 on hybrid levels unless told otherwise. Their coordinate `lev`
says hPa, yet is the pressure only over a surface at P0; taken for one, T500 would be of 400 hPa
over high ground. Where a file has what the pressures are made from (`hyam`, `hybm`, `P0`, `PS`),
the profile is interpolated, step by step; else it is left out, with the reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from exastorm.readers.coordinates import find_axis
from exastorm.readers.fields import require_numbers
from exastorm.readers.lexicon import PROFILES, Entry
from exastorm.readers.options import ReadOptions, stand_in_levels, stated_units
from exastorm.readers.units import find_conversion
from exastorm.readers.vertical import ModelLevels, find_levels, hybrid_axis, interpolate
from exastorm.variables import VARIABLES

PA_PER_HPA = 100.0

LOWEST_LEVEL_FIELDS = {"U": "UBOT", "V": "VBOT"}
"""Fields at the lowest model level that a profile gives where the file lacks them."""

PRESSURE_ATTRS = {"units": "hPa", "standard_name": "air_pressure"}


@dataclass(frozen=True, kw_only=True)
class ProfileField:
    """A field on model levels, interpolated to pressures.

    Attributes:
        variable: Lazily indexed, (time, level, ...) or (level, ...), the rest being the places.
        letter: U, V, T or Z.
        levels: Its vertical axis.
        levels_hpa: Pressures wanted (P,), hPa.
        surface: Surface pressure, (time, ...) or (...), for hybrid levels.
        surface_hpa: One unit of the surface pressure, hPa.
    """

    variable: xr.Variable
    letter: str
    levels: ModelLevels
    levels_hpa: tuple[float, ...]
    surface: xr.Variable | None
    surface_hpa: float

    @property
    def lead_shape(self) -> tuple[int, ...]:
        """Shape without the places: (time, level) or (level,)."""
        num_lead = self.variable.dims.index(self.levels.axis)
        return (*self.variable.shape[:num_lead], len(self.levels_hpa))

    @property
    def note(self) -> str:
        """What a reader should know of the values."""
        return f"interpolated in log pressure from {self.levels.order.size} levels"

    def read(self, *indices: NDArray[np.intp]) -> NDArray[Any]:
        """Values at these times and pressures, (..., places)."""
        *times, wanted = indices
        if not times:
            return self._at_time((), wanted)
        return np.stack([self._at_time((int(t),), wanted) for t in times[0]])

    def _at_time(self, time: tuple[int, ...], wanted: NDArray[np.intp]) -> NDArray[Any]:
        """Values (P, places) at one time."""
        field = self.variable[time]
        surface: Any = np.zeros(1)
        if self.surface is not None:
            surface = np.asarray(self.surface[time]) * self.surface_hpa
        pressures = np.moveaxis(self.levels.pressures_hpa(surface), -1, 0)
        out = []
        for number in wanted:
            level_hpa = self.levels_hpa[number]
            around = self.levels.around(level_hpa)
            places = self.levels.order[around]
            first = int(places.min())
            block = np.asarray(field[first : int(places.max()) + 1])[places - first]
            out.append(interpolate(self.letter, block, pressures[around], level_hpa))
        return np.stack(out)


class ProfileArray(BackendArray):  # type: ignore[misc]
    """A profile on a grid, (..., P, H, W) float32, as xarray's lazy indexing wants it.

    Attributes:
        shape: Time (where it has one), pressure, latitude, longitude.
        dtype: Single precision.
    """

    def __init__(self, field: ProfileField) -> None:
        self.shape = (*field.lead_shape, *field.variable.shape[-2:])
        self.dtype = np.dtype(np.float32)
        self._field = field

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        """Values at integers, slices or index arrays of each dimension."""
        *lead, rows, columns = key
        indices = [np.arange(n)[k] for n, k in zip(self.shape, lead, strict=False)]
        values = self._field.read(*(np.atleast_1d(i) for i in indices)).astype(self.dtype)
        kept = tuple(0 if np.ndim(i) == 0 else slice(None) for i in indices)
        return np.asarray(values[kept][..., rows, :][..., columns])


def make_profile(
    dataset: xr.Dataset,
    path: str,
    variable: xr.Variable,
    letter: str,
    levels: ModelLevels,
    options: ReadOptions,
) -> ProfileField | None:
    """A field on model levels at the pressures that the vocabulary and the user want of it.

    Args:
        dataset: The file, which holds the surface pressure PS.
        path: Its path, for messages.
        variable: (time, level, ...) or (level, ...), lazily indexed.
        letter: U, V, T or Z.
        levels: Its vertical axis.
        options: `stand_ins` and `units` (of the surface pressure) are heeded.

    Returns:
        None where it reaches none of them, or has hybrid levels and no surface pressure beside it.

    Raises:
        InputError: If the surface pressure is in no unit of pressure.
    """
    stand_ins = stand_in_levels(options)
    wanted = [VARIABLES[ours].level_hpa for ours in PROFILES[letter]]
    wanted += [stand_ins[ours] for ours in PROFILES[letter] if ours in stand_ins]
    reached = sorted({float(p) for p in wanted if p is not None and levels.reaches(p)})
    is_hybrid = levels.needs_surface_pressure
    if not reached or (is_hybrid and "PS" not in dataset.variables):
        return None
    dims = tuple(d for d in variable.dims if d != levels.axis)
    return ProfileField(
        variable=variable,
        letter=letter,
        levels=levels,
        levels_hpa=tuple(reached),
        surface=dataset.variables["PS"].transpose(*dims) if is_hybrid else None,
        surface_hpa=_surface_unit_hpa(dataset, path, options) if is_hybrid else 1.0,
    )


def _surface_unit_hpa(dataset: xr.Dataset, path: str, options: ReadOptions) -> float:
    """One unit of the surface pressure, hPa.

    Raises:
        InputError: If it is no unit of pressure.
    """
    given = str(dataset.variables["PS"].attrs.get("units", ""))
    change = find_conversion(
        stated_units(options).get("PS", given),
        VARIABLES["PS"],
        accumulated_s=None,
        file=path,
        source_name="PS",
    )
    return change.scale / PA_PER_HPA


def with_pressure_levels(
    dataset: xr.Dataset, path: str, named: Iterable[tuple[Entry, str]], options: ReadOptions
) -> xr.Dataset:
    """A file on a grid with its profiles on hybrid levels put on pressure levels, lazily.

    Args:
        dataset: The file.
        path: Its path, for messages.
        named: Profiles of a table, each with a variable of the file that it may mean.
        options: As `make_profile`.

    Returns:
        The file; profiles that can't be put on pressure levels have the reason as an attribute
        `unusable`. The lowest level of the winds is added as UBOT and VBOT where it lacks them.

    Raises:
        InputError: If a profile holds no numbers, or PS or P0 are in no unit of pressure.
    """
    out: dict[str, xr.Variable] = {}
    for entry, name in named:
        axis = hybrid_axis(dataset, dataset[name])
        if axis is not None:
            require_numbers(dataset.variables[name].dtype, path, name)
            out |= _on_pressures(dataset, path, name, entry.field, options)
    return dataset.assign(out) if out else dataset


def _on_pressures(
    dataset: xr.Dataset, path: str, name: str, letter: str, options: ReadOptions
) -> dict[str, xr.Variable]:
    """A profile on pressures, their axis and the lowest level; or the profile, marked unusable."""
    variable = dataset.variables[name]
    axis = hybrid_axis(dataset, dataset[name])
    needed = [n for n in ("hyam", "hybm", "P0", "PS") if n not in dataset.variables]
    if needed:
        reason = (
            f"lies on hybrid model levels ({axis}), which are no pressure levels; to interpolate"
            f" it the file must hold {', '.join(needed)} too"
        )
        return {name: _unusable(variable, reason)}
    levels = find_levels(dataset, name, path)
    axes = [find_axis(dataset, a) for a in ("time", "lat", "lon")]
    lead = [a for a in axes[:1] if a in variable.dims]
    order = (*lead, axis, *axes[1:])
    if levels is None or levels.axis != axis or set(variable.dims) != set(order):
        return {name: _unusable(variable, f"lies on hybrid model levels ({axis}) of another form")}
    ordered = variable.transpose(*order)
    if set(dataset.variables["PS"].dims) != set(order) - {axis}:
        reason = f"lies on hybrid model levels ({axis}); PS must lie on {(*lead, *axes[1:])}"
        return {name: _unusable(variable, reason)}
    profile = make_profile(dataset, path, ordered, letter, levels, options)
    out = _lowest(dataset, name, letter, ordered, levels)
    if profile is None:
        reason = f"its {levels.order.size} hybrid levels reach none of the pressures wanted of it"
        return {name: _unusable(variable, reason), **out}
    plev = f"plev_{name}"
    attrs = {**variable.attrs, "note": profile.note}
    data = indexing.LazilyIndexedArray(ProfileArray(profile))
    out[name] = xr.Variable((*lead, plev, *axes[1:]), data, attrs)
    out[plev] = xr.Variable((plev,), np.array(profile.levels_hpa), dict(PRESSURE_ATTRS))
    return out


def _lowest(
    dataset: xr.Dataset, name: str, letter: str, ordered: xr.Variable, levels: ModelLevels
) -> dict[str, xr.Variable]:
    """The lowest level of a wind, where the file lacks it."""
    field = LOWEST_LEVEL_FIELDS.get(letter)
    if field is None or field in dataset.variables or not levels.needs_surface_pressure:
        return {}
    lowest = ordered.isel({levels.axis: int(levels.order[-1])})
    attrs = {**ordered.attrs, "source_name": name, "note": f"lowest level of {name}"}
    return {field: xr.Variable(lowest.dims, lowest._data, attrs)}


def _unusable(variable: xr.Variable, reason: str) -> xr.Variable:
    """The variable, with the reason why it can't be used."""
    marked = variable.copy(deep=False)
    marked.attrs = {**variable.attrs, "unusable": reason}
    return marked
