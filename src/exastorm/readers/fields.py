"""What passes between the steps of reading: opened files, and fields on their own time axes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.coordinates import Grid
from exastorm.readers.schema import DIMS, field_attrs
from exastorm.variables import VARIABLES, Variable


def _auxiliary(name: str, units: str, low: float, high: float, long_name: str) -> Variable:
    """One row of AUXILIARY."""
    return Variable(
        name=name, units=units, low=low, high=high, long_name=long_name, standard_name=""
    )


AUXILIARY: dict[str, Variable] = {
    "DEWPOINT": _auxiliary("DEWPOINT", "K", 150.0, 340.0, "dew point at 2 m"),
    "PRECC": _auxiliary("PRECC", "m s-1", -1e-7, 1e-4, "convective precipitation rate"),
    "PRECL": _auxiliary("PRECL", "m s-1", -1e-7, 1e-4, "large-scale precipitation rate"),
}
"""Fields that archives hold and from which ours are made; they don't leave the readers."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One opened file, store, or hypercube of a GRIB file.

    Attributes:
        path: Where it is.
        dataset: Its variables, lazily indexed.
        grid: How its points go into the schema.
        time_name: Its name of the time axis, None where it has no time.
        times: Its times (T,), cftime.
    """

    path: str
    dataset: xr.Dataset
    grid: Grid
    time_name: str | None
    times: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of the vocabulary on its own time axis.

    Attributes:
        array: (time, lat, lon) or (lat, lon), float32, in our unit, with attributes.
        bounds: (T, 2) cftime bounds where values are means over an interval, else None.
        mask: Below-ground mask, int8 like `array`, where gaps were filled, else None.
        file: The file of its first time.
        rank: Place of its source in the archive's table; the lower is preferred.
    """

    array: xr.DataArray
    bounds: NDArray[Any] | None = None
    mask: xr.DataArray | None = None
    file: str = ""
    rank: int = 0

    @property
    def times(self) -> NDArray[Any] | None:
        """Times (T,), None for a field without time."""
        return self.array["time"].values if "time" in self.array.dims else None


NOT_NUMBERS = {"b": "true and false", "c": "complex numbers", "M": "dates", "m": "durations"}
"""Kinds of values that are no numbers; of all others are strings."""


def require_numbers(dtype: Any, file: str, variable: str) -> None:
    """Refuse a field that holds strings, or true and false, even where these look like numbers.

    Raises:
        InputError: As said.
    """
    kind = np.dtype(dtype).kind
    if kind not in "fiu":
        got = NOT_NUMBERS.get(kind, "strings")
        raise InputError(f"must hold numbers, got {got}", file=file, variable=variable)


def variable_of(name: str) -> Variable:
    """The vocabulary's or the auxiliary row of a field."""
    return VARIABLES[name] if name in VARIABLES else AUXILIARY[name]


def make_array(
    name: str, data: Any, times: NDArray[Any] | None, grid: Grid, attrs: dict[str, Any]
) -> xr.DataArray:
    """A field's data with the schema's coordinates and attributes."""
    coords: dict[str, Any] = {"lat": grid.lat, "lon": grid.lon}
    dims: tuple[str, ...] = DIMS[1:]
    if times is not None:
        coords["time"] = times
        dims = DIMS
    base = field_attrs(name) if name in VARIABLES else {"units": variable_of(name).units}
    return xr.DataArray(data, dims=dims, coords=coords, name=name, attrs={**base, **attrs})


def add_note(array: xr.DataArray, note: str) -> xr.DataArray:
    """The array with one more remark in its attribute `note`."""
    if not note:
        return array
    notes = [n for n in (array.attrs.get("note", ""), note) if n]
    return array.assign_attrs(note="; ".join(dict.fromkeys(notes)))


def first_step(array: xr.DataArray) -> NDArray[np.float32]:
    """The field at its first time, (H, W), read now."""
    step = array.isel(time=0) if "time" in array.dims else array
    # For one step threads cost more than they bring.
    return np.asarray(step.compute(scheduler="synchronous").values)
