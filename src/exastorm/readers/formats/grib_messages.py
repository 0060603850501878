"""What GRIB messages become lazily indexed variables, and how.

cfgrib makes one index of a file, in memory. Of it only the parameters that the package knows, on
the kind of level where they mean what it wants, become variables; each is a dataset of its own,
for one file may hold fields of different times.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.backends.locks import SerializableLock
from xarray.core import indexing

from exastorm.errors import InputError
from exastorm.readers.opening import READ_ERRORS

logging.getLogger("cfgrib").setLevel(logging.ERROR)

LOCK = SerializableLock()
"""ecCodes is read by one thread at a time."""

EXTRA_KEYS = ("time", "step", "shortName", "class:str")
"""Keys that the index holds beside cfgrib's own."""

READ_KEYS = ("startStep", "endStep", "stepRange", "class:str")
"""Keys that become attributes where a variable has one value of them."""

LEVEL_TOLERANCE = 1e-4
"""Levels are scaled integers: 0.995 comes back as 0.9949999999999999."""

STEP_TYPES = ("instant", "avg", "accum")
"""Kinds of statistics over a step, the preferred first."""

SURFACES = ("surface", "heightAboveGround", "entireAtmosphere", "atmosphereSingleLayer")
"""Kinds of level of surface and column fields; centers differ in which they use."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Messages that together are one variable.

    Attributes:
        name: The variable's name, one of readers/lexicon.py's table for ECMWF names.
        short_names: ecCodes short names, the preferred first.
        level_types: Kinds of level on which they mean the variable.
        level: The one level, None for all.
        center: Originating center for which alone this holds, as numbers of model levels do.
    """

    name: str
    short_names: tuple[str, ...]
    level_types: tuple[str, ...]
    level: float | None = None
    center: str | None = None


PRESSURE_LEVELS = ("isobaricInhPa", "isobaricInPa")

SELECTIONS: tuple[Selection, ...] = (
    *(
        Selection(name=name, short_names=(name,), level_types=PRESSURE_LEVELS)
        for name in ("u", "v", "t", "z", "gh")
    ),
    Selection(name="tcwv", short_names=("tcwv", "pwat"), level_types=SURFACES),
    Selection(name="u10", short_names=("10u",), level_types=SURFACES),
    Selection(name="v10", short_names=("10v",), level_types=SURFACES),
    Selection(name="t2m", short_names=("2t",), level_types=SURFACES),
    Selection(name="d2m", short_names=("2d",), level_types=SURFACES),
    Selection(name="sh2", short_names=("2sh",), level_types=SURFACES),
    Selection(name="sh2", short_names=("q",), level_types=("heightAboveGround",), level=2.0),
    Selection(name="sp", short_names=("sp",), level_types=("surface",)),
    Selection(name="msl", short_names=("msl", "prmsl"), level_types=("meanSea", "surface")),
    Selection(name="skt", short_names=("skt", "t"), level_types=("surface",)),
    Selection(
        name="avg_tprate", short_names=("avg_tprate", "mtpr", "prate"), level_types=("surface",)
    ),
    Selection(name="tp", short_names=("tp",), level_types=("surface",)),
    Selection(name="lsm", short_names=("lsm",), level_types=("surface",)),
    Selection(name="geopotential_at_surface", short_names=("z",), level_types=("surface",)),
    Selection(name="orog", short_names=("orog",), level_types=("surface",)),
    Selection(name="viwve", short_names=("viwve",), level_types=SURFACES),
    Selection(name="viwvn", short_names=("viwvn",), level_types=SURFACES),
    # NCEP counts model levels from the ground up (ECMWF from the top down).
    Selection(name="UBOT", short_names=("u",), level_types=("hybrid",), level=1.0, center="kwbc"),
    Selection(name="VBOT", short_names=("v",), level_types=("hybrid",), level=1.0, center="kwbc"),
    Selection(name="UBOT", short_names=("u",), level_types=("sigma",), level=0.995),
    Selection(name="VBOT", short_names=("v",), level_types=("sigma",), level=0.995),
)
"""What is taken from a GRIB file (ecCodes parameter database)."""


class GribArray(BackendArray):  # type: ignore[misc]
    """One variable of a GRIB file as (time, ..., lat, lon), read message by message.

    Attributes:
        shape: With the valid times first.
        dtype: Of the decoded values.
    """

    def __init__(self, messages: Any, starts: NDArray[Any], time_axes: tuple[int, int]) -> None:
        """Wrap cfgrib's lazy array.

        Args:
            messages: cfgrib's array.
            starts: Index of base time and step of each valid time (T, 2).
            time_axes: Places of base time and step among the array's dimensions.
        """
        self._messages, self._starts, self._axes = messages, starts, time_axes
        rest = [n for i, n in enumerate(messages.shape) if i not in time_axes]
        self.shape = (len(starts), *rest)
        self.dtype = messages.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Values at basic indices."""
        steps, rest = key[0], key[1:]
        if isinstance(steps, int | np.integer):
            return self._read_step(int(steps), rest)
        wanted = range(self.shape[0])[steps]
        if not wanted:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        return np.stack([self._read_step(i, rest) for i in wanted])

    def _read_step(self, step: int, rest: tuple[Any, ...]) -> NDArray[Any]:
        """Values at one valid time."""
        item: list[Any] = list(rest)
        for axis, index in sorted(zip(self._axes, self._starts[step], strict=True)):
            item.insert(axis, int(index))
        from eccodes import CodesInternalError

        try:
            with LOCK:
                return np.asarray(self._messages[tuple(item)])
        except CodesInternalError as error:
            raise OSError(str(error)) from error


def open_messages(path: str, local: str) -> list[xr.Dataset]:
    """All variables of a GRIB file that the package knows, each as a dataset.

    Args:
        path: The file as the user named it.
        local: Where it lies on this machine.

    Raises:
        InputError: If cfgrib is not installed, or the file can't be read.
    """
    try:
        from cfgrib import dataset as cfgrib
        from cfgrib.messages import FileStream
        from eccodes import CodesInternalError
    except ImportError as error:
        raise InputError(
            "reading GRIB needs the extra: pip install 'exastorm[grib]'", file=path
        ) from error
    try:
        keys = [*cfgrib.INDEX_KEYS, *EXTRA_KEYS]
        stream = FileStream(local, errors="raise")
        index = cfgrib.open_fileindex(stream, indexpath="", index_keys=keys)
        taken: dict[str, xr.Dataset] = {}
        for selection in SELECTIONS:
            if selection.name not in taken:
                found = _select(index, selection)
                if found is not None:
                    components = cfgrib.open_from_index(
                        found, read_keys=READ_KEYS, squeeze=False, errors="raise"
                    )
                    taken[selection.name] = _as_dataset(components, selection)
    except (*READ_ERRORS, CodesInternalError) as error:
        text = " ".join(str(error).split())[:160]
        raise InputError(f"can't be read (truncated or corrupt?): {text}", file=path) from error
    return list(taken.values())


def _select(index: Any, selection: Selection) -> Any | None:
    """The part of a file's index that a selection means, or None."""
    for short_name in selection.short_names:
        for level_type in selection.level_types:
            found = index.subindex({"shortName": short_name, "typeOfLevel": level_type})
            if selection.level is not None:
                found = _at_level(found, selection.level)
            if selection.center is not None:
                found = found.subindex({"centre": selection.center})
            if found.header_values.get("stepType"):
                return _one_step_type(found)
    return None


def _at_level(index: Any, level: float) -> Any:
    """The messages on one level, which GRIB stores as a scaled integer."""
    levels = index.header_values.get("level:float", [])
    near = [v for v in levels if isinstance(v, float | int) and abs(v - level) < LEVEL_TOLERANCE]
    return index.subindex({"level:float": near[0] if near else level})


def _one_step_type(index: Any) -> Any:
    """Of messages that differ in their statistics over the step, the preferred ones."""
    kinds: Iterable[str] = index.header_values["stepType"]
    kind = next((k for k in STEP_TYPES if k in kinds), next(iter(kinds)))
    return index.subindex({"stepType": kind})


def _as_dataset(components: Any, selection: Selection) -> xr.Dataset:
    """One variable with its valid times, levels and grid."""
    variables = components.variables
    name = next(
        n for n, v in variables.items() if "latitude" in v.dimensions and len(v.dimensions) > 1
    )
    messages = variables[name]
    dims = tuple(messages.dimensions)
    axes = (dims.index("time"), dims.index("step"))
    starts, times = _valid_times(messages.data, axes, variables["valid_time"].data)
    array = indexing.LazilyIndexedArray(GribArray(messages.data, starts, axes))
    kept = [d for d in dims if d not in ("time", "step")]
    coords = {
        d: (d, np.asarray(variables[d].data), dict(variables[d].attributes))
        for d in kept
        if d in variables
    }
    attrs = _attributes(dict(messages.attributes))
    data = xr.Variable(("time", *kept), array, attrs)
    return xr.Dataset({selection.name: data}, {"time": times, **coords})


def _valid_times(
    messages: Any, axes: tuple[int, int], valid: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Base time and step index (T, 2) and date (T,) of each time of which there are messages."""
    num_header = len(messages.shape) - 2
    grid = np.asarray(valid, dtype=np.float64).reshape(
        messages.shape[axes[0]], messages.shape[axes[1]]
    )
    present = {(k[axes[0]], k[axes[1]]) for k in messages.field_id_index if len(k) >= num_header}
    starts = np.array(sorted(present, key=lambda pair: grid[pair]), dtype=np.intp)
    seconds = grid[starts[:, 0], starts[:, 1]]
    return starts, np.asarray(
        cftime.num2date(seconds, "seconds since 1970-01-01", calendar="standard")
    )


def _attributes(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a variable: units, what its step means, how long it was gathered."""
    kept: dict[str, Any] = {
        k: attrs[k] for k in ("units", "standard_name", "long_name") if k in attrs
    }
    name, kind = attrs.get("GRIB_shortName"), attrs.get("GRIB_stepType")
    level = attrs.get("GRIB_typeOfLevel")
    kept["source_name"] = f"{name} ({level})"
    if name in ("u", "v") and level in ("hybrid", "sigma"):
        kept["note"] = f"lowest level of the model ({level})"
    if kind == "instant":
        return kept
    kept["note"] = f"GRIB step type {kind}, step {attrs.get('GRIB_stepRange', 'varies')}"
    if kind == "accum":
        hours = _gathered_hours(attrs)
        if hours is None:
            kept["unusable"] = "does not say over which time it was gathered"
        else:
            kept["accumulated_s"] = hours * 3600.0
    return kept


def _gathered_hours(attrs: dict[str, Any]) -> float | None:
    """Hours over which an accumulation was gathered; None where the file does not say.

    ERA5 (MARS class ea) says steps since the start of its short forecasts, yet gathers over the
    hour that ends at the time (see readers/lexicon.py).
    """
    if attrs.get("GRIB_class") == "ea":
        return 1.0
    begin, end = attrs.get("GRIB_startStep"), attrs.get("GRIB_endStep")
    if begin is None or end is None or end <= begin:
        return None
    return float(end - begin)
