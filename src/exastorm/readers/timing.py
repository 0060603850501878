"""Brings fields on different time axes to one: instants stay, interval means are assigned.

The rule: the time axis is that of the instantaneous fields (the times that all of them have). A
mean over an interval belongs to the instants after its begin and up to its end, begin < t <= end.
So CMIP6 three-hourly `pr`, stamped 01:30 for 00:00 to 03:00, goes to 03:00, and a daily mean goes
to each instant of its day that follows midnight and to the midnight that ends it. Instants
without an interval (as the first of an archive) are left out, and said so. Where all fields share
one axis nothing is moved.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cftime
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.fields import Field, add_note
from exastorm.readers.groups import Group

TIME_CELL_METHOD = re.compile(r"\btime:\s*(?!\w+:)(\w+)")
"""The method along time in a CF cell_methods attribute, as in "area: mean time: point"."""

BOUNDS_NAMES = ("time_bnds", "time_bounds")
"""Names of time bounds that files don't always point to by attribute."""


def interval_bounds(group: Group, name: str) -> NDArray[Any] | None:
    """Bounds (T, 2), cftime, of a variable that is a mean over time intervals; None if instant.

    Args:
        group: The files.
        name: The variable.
    """
    time = group.first.time_name
    methods = str(group.array(name).attrs.get("cell_methods", ""))
    found = TIME_CELL_METHOD.search(_joined(methods))
    if time is None or found is None or found[1] == "point" or not group.has_time(name):
        return None
    axis = group.first.dataset[time]
    named = [axis.attrs.get("bounds"), axis.encoding.get("bounds"), *BOUNDS_NAMES]
    for bounds in (b for b in named if b in group.first.dataset.variables):
        values = [np.asarray(s.dataset.variables[bounds].values) for s in group.sources]
        joined = np.concatenate([v.reshape(-1, 2) for v in values])
        if joined.size and isinstance(joined[0, 0], cftime.datetime):
            return joined
    return None


def _joined(methods: str) -> str:
    """Cell methods with shared methods written out: "area: time: mean" is a time mean."""
    return re.sub(r"time:\s+(?:\w+:\s+)+(\w+)", r"time: \1", methods)


def as_seconds(times: NDArray[Any]) -> NDArray[np.float64]:
    """Times as seconds since 1850 in their own calendar."""
    flat = np.asarray(times).ravel()
    seconds = cftime.date2num(flat, "seconds since 1850-01-01", calendar=flat[0].calendar)
    return np.asarray(seconds, dtype=np.float64).reshape(np.shape(times))


def align(fields: Mapping[str, Field], file: str) -> tuple[dict[str, Field], list[str]]:
    """Bring all fields to one time axis by the rule of this module.

    Args:
        fields: Fields by name.
        file: The archive, for messages.

    Returns:
        The fields on one axis (those without time unchanged) and remarks for the history.

    Raises:
        InputError: If no time is left that all fields have.
    """
    timed = {n: f for n, f in fields.items() if f.times is not None}
    seconds = {n: as_seconds(f.array["time"].values) for n, f in timed.items()}
    axes = list(seconds.values())
    if all(np.array_equal(axes[0], other) for other in axes[1:]):
        return dict(fields), []
    means = {n for n, f in timed.items() if f.bounds is not None}
    instants = [n for n in timed if n not in means] or list(timed)
    target = seconds[instants[0]]
    for name in instants[1:]:
        target = np.intersect1d(target, seconds[name])
    places: dict[str, NDArray[np.intp]] = {}
    num_before = target.size
    for name in timed:
        if name in instants:
            continue
        target = target[_place(timed[name], target) >= 0]
    if not target.size:
        raise InputError(_no_common_time(timed), file=file)
    for name, item in timed.items():
        places[name] = (
            np.searchsorted(seconds[name], target) if name in instants else _place(item, target)
        )
    out = {
        n: _at(f, places[n], target, timed[instants[0]]) if n in timed else f
        for n, f in fields.items()
    }
    return out, _remarks(timed, instants, num_before, target.size)


def _place(item: Field, target: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the interval that holds each target time, begin < t <= end; -1 without one."""
    assert item.bounds is not None
    begin, end = as_seconds(item.bounds).T
    index = np.searchsorted(end, target, side="left")
    inside = index < end.size
    inside[inside] &= begin[index[inside]] < target[inside]
    return np.where(inside, index, -1)


def _at(item: Field, index: NDArray[np.intp], target: NDArray[np.float64], axis: Field) -> Field:
    """A field at the target times."""
    assert axis.times is not None
    times = axis.times[np.searchsorted(as_seconds(axis.times), target)]
    steps = np.diff(index)
    chosen: Any = index
    if index.size and np.all(steps == 1):
        chosen = slice(int(index[0]), int(index[-1]) + 1)
    array = item.array.isel(time=chosen).assign_coords(time=times)
    mask = None if item.mask is None else item.mask.isel(time=chosen).assign_coords(time=times)
    if item.bounds is not None and item is not axis:
        array = add_note(array, _interval_note(item.bounds[index], target))
    return replace(item, array=array, mask=mask, bounds=None)


def _interval_note(bounds: NDArray[Any], target: NDArray[np.float64]) -> str:
    """How the interval of a mean lies to the time it is given to."""
    begin, end = as_seconds(bounds).T
    hours = f"{float(np.median(end - begin)) / 3600:g} h"
    if np.all(np.abs(end - target) < 1):
        return f"mean over the {hours} that end at the time"
    return f"mean over the interval of {hours} that holds the time"


def _no_common_time(timed: Mapping[str, Field]) -> str:
    """What to say where the axes share no time."""
    spans = []
    for name, item in timed.items():
        times: Any = item.times
        kind = "means" if item.bounds is not None else "instants"
        spans.append(f"{name} {times[0]} to {times[-1]} ({times.size} {kind})")
    return "no time is common to all variables: " + ", ".join(spans)


def _remarks(
    timed: Mapping[str, Field], instants: list[str], num_before: int, num_after: int
) -> list[str]:
    """What the history says of an alignment."""
    longest = max(len(timed[n].array["time"]) for n in instants)
    remarks = ["times are those that all instantaneous fields have; interval means are assigned"]
    if num_after < longest:
        remarks.append(
            f"{longest - num_after} of {longest} times are left out, {longest - num_before} for"
            f" want of an instant and {num_before - num_after} for want of an interval"
        )
    return remarks
