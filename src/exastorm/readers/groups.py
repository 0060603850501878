"""Reads one variable of a group of files that hold the same variables on the same grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.coordinates import MEMBER_NAMES, find_level_axis, levels_hpa
from exastorm.readers.fields import Source, require_numbers
from exastorm.readers.levels import find_level
from exastorm.readers.lexicon import LEVEL_IN_NAME
from exastorm.readers.options import ReadOptions, stand_in_levels, stated_units
from exastorm.readers.series import Part, join_parts
from exastorm.readers.vertical import hybrid_axis

STREAM_DIM = "expver"
"""ERA5's axis of final (1) and preliminary (5) data, of which each time has one or the other."""


class LeftOut(Exception):  # noqa: N818 - not an error: the variable is told of, not refused
    """Why a variable was not taken."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Where a variable lies in the vertical.

    Attributes:
        axis: Its pressure axis; None for a variable on one level.
        hpa: Pressures (L,), hPa.
    """

    axis: str | None
    hpa: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files with the same variables on the same grid, in the order of their times.

    Attributes:
        sources: The files; one where there is no time.
        options: Member, stand-in levels and stated units are used.
    """

    sources: Sequence[Source]
    options: ReadOptions

    @property
    def first(self) -> Source:
        """The first file, which stands for all where names and attributes are asked."""
        return self.sources[0]

    @property
    def times(self) -> NDArray[Any] | None:
        """Times over all files (T,), None without time."""
        if self.first.time_name is None:
            return None
        return np.concatenate([s.times for s in self.sources])

    def array(self, name: str) -> xr.DataArray:
        """A variable of the first file."""
        return self.first.dataset[name]

    def has_time(self, name: str) -> bool:
        """True where a variable belongs to times, False where it holds for all of them."""
        time = self.first.time_name
        if time is None:
            return False
        return time in self.array(name).dims or self.first.dataset[time].ndim == 0

    def units(self, name: str) -> str:
        """The unit string of a variable: the user's, else the file's.

        Raises:
            LeftOut: If there is none.
        """
        attrs = self.array(name).attrs
        stated = stated_units(self.options).get(name, attrs.get("units", attrs.get("unit", "")))
        if not str(stated).strip():
            raise LeftOut("has no units, and units are never guessed (state them by `units`)")
        return str(stated).strip()

    def level_of(self, name: str, field: str, wanted_hpa: float) -> int | None:
        """Index of the level to take for a field: its own, else the stand-in asked for."""
        levels = self.levels(name)
        if levels is None:
            return None
        index = find_level(levels.hpa, wanted_hpa)
        stand_in = stand_in_levels(self.options).get(field)
        if index is None and stand_in is not None:
            return find_level(levels.hpa, stand_in)
        return index

    def levels(self, name: str) -> Levels | None:
        """The pressure levels of a variable; None where it has none.

        Raises:
            LeftOut: If its axis has no values, or none in a unit of pressure; if it lies on
                several hybrid levels.
        """
        array = self.array(name)
        hybrid = hybrid_axis(self.first.dataset, array)
        # One hybrid level may be the lowest, which the name of the variable then says.
        if hybrid is not None and (array.sizes[hybrid] > 1 or "unusable" in array.attrs):
            given = f"lies on hybrid model levels ({hybrid}), which are no pressure levels"
            raise LeftOut(str(array.attrs.get("unusable", given)))
        axis = find_level_axis(array)
        if axis is not None:
            return Levels(axis=axis, hpa=_pressures(array, axis))
        for scalar, coord in array.coords.items():
            if coord.ndim == 0 and coord.attrs.get("standard_name") == "air_pressure":
                return Levels(axis=None, hpa=np.atleast_1d(_pressures(array, str(scalar))))
        match = LEVEL_IN_NAME.fullmatch(name)
        return Levels(axis=None, hpa=np.array([float(match["level"])])) if match else None

    def read(self, name: str, index: dict[str, int] | None = None) -> tuple[Any, str]:
        """A variable over all files, in the schema's order of points.

        Args:
            name: The variable.
            index: Entry to take along dimensions that are not kept, as a level.

        Returns:
            Lazy (T, H, W), or (H, W) in memory where it has no time; a note on what was chosen.

        Raises:
            LeftOut: If it has a dimension that nothing is known of.
            InputError: If the member asked for is missing.
        """
        chosen, note = self._choose(name, index or {})
        if STREAM_DIM in self.array(name).dims and STREAM_DIM not in chosen:
            streams = [
                self._join(name, {**chosen, STREAM_DIM: i})
                for i in range(self.array(name).sizes[STREAM_DIM])
            ]
            data = streams[0]
            for other in streams[1:]:
                data = da.where(da.isnan(data), other, data)
            return data, note
        return self._join(name, chosen), note

    def _choose(self, name: str, index: dict[str, int]) -> tuple[dict[str, int], str]:
        """Entry along each dimension beside time, lat and lon; a note where there was a choice."""
        array = self.array(name)
        kept = {self.first.time_name, self.first.grid.lat_name, self.first.grid.lon_name}
        chosen, note = dict(index), ""
        for dim in (str(d) for d in array.dims if d not in kept and d not in index):
            if array.sizes[dim] == 1:
                chosen[dim] = 0
            elif dim in MEMBER_NAMES:
                chosen[dim], note = self._choose_member(array, dim)
            elif dim != STREAM_DIM:
                raise LeftOut(f"has a dimension {dim} of {array.sizes[dim]} beside time, lat, lon")
        return chosen, note

    def _choose_member(self, array: xr.DataArray, dim: str) -> tuple[int, str]:
        """Index and note of the ensemble member asked for."""
        members = list(array.coords[dim].values) if dim in array.coords else range(array.sizes[dim])
        wanted = members[0] if self.options.member is None else self.options.member
        if wanted not in members:
            raise InputError(
                f"member {wanted} must be one of {', '.join(str(m) for m in members)}",
                file=self.first.path,
                variable=str(array.name),
            )
        return list(members).index(wanted), f"member {wanted} of {len(members)}"

    def _join(self, name: str, chosen: dict[str, int]) -> Any:
        """A variable over all files with the other dimensions taken away."""
        parts = [self._part(source, name, chosen) for source in self.sources]
        if self.has_time(name):
            return join_parts(name, parts)
        return parts[0].read(slice(0, 1), name)[0]

    @staticmethod
    def _part(source: Source, name: str, chosen: dict[str, int]) -> Part:
        """A variable of one file, (time, lat, lon) or (lat, lon).

        Raises:
            LeftOut: If it does not lie on the grid.
            InputError: If it holds no numbers.
        """
        variable = source.dataset.variables[name]
        require_numbers(variable.dtype, source.path, name)
        entries = {d: i for d, i in chosen.items() if d in variable.dims}
        # Both steps cost more than a look, and there are a thousand files and sixteen variables.
        variable = variable.isel(entries) if entries else variable
        grid = (source.grid.lat_name, source.grid.lon_name)
        order = (source.time_name, *grid) if source.time_name in variable.dims else grid
        if set(variable.dims) != set(order):
            raise LeftOut(f"must lie on the grid {grid}, got dimensions {variable.dims}")
        return Part(
            file=source.path,
            variable=variable if variable.dims == order else variable.transpose(*order),
            times=source.times,
            grid=source.grid,
        )


def _pressures(array: xr.DataArray, axis: str) -> NDArray[np.float64]:
    """Values of a pressure coordinate, hPa.

    Raises:
        LeftOut: If it has no values, or none in a unit of pressure.
    """
    if axis not in array.coords:
        raise LeftOut(f"its axis {axis} has no values")
    try:
        return levels_hpa(array.coords[axis])
    except ValueError as error:
        raise LeftOut(f"its axis {axis} is in no unit of pressure") from error
