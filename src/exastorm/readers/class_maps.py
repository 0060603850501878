"""Opens class maps: of `exastorm label`, of `exastorm segment`, and the truth of a made-up climate.

Whatever made it, a class map is int8 (time, lat, lon) with the flags of `exastorm.variables`, or
-1 where nothing is known. What is not that is refused in one line: at the door, or, for a value
that is no class, when the block that holds it is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cftime
import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import check_grid
from exastorm.readers.archives import open_archive
from exastorm.readers.opening import READ_ERRORS, open_lazily
from exastorm.readers.schema import CLASS_ATTRS, DIMS, NO_LABEL, check_times, coordinate_attrs
from exastorm.variables import CLASSES

KNOWN_VALUES = np.array([NO_LABEL, *(c.flag for c in CLASSES)])
"""Values that a class map may hold."""

BLOCK_BYTES = 16 * 2**20
"""Cells read at once."""


def open_class_map(path: str | Path, variable: str = "class_map") -> xr.Dataset:
    """Open class maps lazily.

    Args:
        path: A netCDF file or a Zarr store; for `labels_0`, `labels_1`, ... any archive.
        variable: The variable that holds the classes, as `truth`, or a given mask of an archive.

    Returns:
        `class_map` int8 (time, lat, lon) with CF flags and cftime times; other variables of the
        file over time, lat and lon (`rule`, `probability`) as they are; global attributes kept.

    Raises:
        InputError: If there is no such file or variable, if its dimensions, coordinates, times
            or flags are others, or, when it is read, if a value is no class.
    """
    path = str(path)
    dataset = _open_holder(path, variable)
    if variable not in dataset.data_vars:
        held = ", ".join(map(str, dataset.data_vars)) or "none"
        raise InputError(f"has no variable {variable}; it has {held}", file=path)
    stored = dataset[variable]
    if stored.dims != DIMS:
        raise InputError(
            f"must have dimensions {DIMS}, got {stored.dims}", file=path, variable=variable
        )
    _check_coordinates(dataset, path)
    _check_flags(stored, path, variable)
    others = dataset.drop_vars(variable)
    # Not Dataset.map, which loses the coordinates where no other variable is left.
    others = others.assign(
        {
            name: array.chunk({d: -1 if d != "time" else _step(stored) for d in array.dims})
            for name, array in others.data_vars.items()
        }
    )
    attrs = {**stored.attrs, **CLASS_ATTRS}
    result = others.assign(class_map=(DIMS, _lazy_classes(stored, path), attrs))
    for name in DIMS[1:]:
        result[name].attrs = coordinate_attrs(name)
    return result.assign_attrs(dataset.attrs)


def open_label_sets(
    paths: Sequence[str | Path], variables: Sequence[str] = ("class_map",)
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Open several class maps of the same snapshots, by annotators or by rules, as one dataset.

    Args:
        paths: Files or stores, as `open_class_map` takes them.
        variables: Variables that hold classes, each in every one of the files.

    Returns:
        A dataset with a class map for each file and variable, lazy and int8 (time, lat, lon), and
        the maps' names in order: those of the variables where there is one file, else those of the
        files, or both. Of a single map the other variables of its file are kept.

    Raises:
        InputError: As `open_class_map`, and where maps are given twice or differ in grid or times.
    """
    wanted = [(str(path), variable) for path in paths for variable in variables]
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"label sets must be given once each, got {', '.join(map(str, paths))}")
    names = _set_names([path for path, _ in wanted], variables)
    opened = [open_class_map(path, variable) for path, variable in wanted]
    sets = {}
    for (path, _), name, maps in zip(wanted, names, opened, strict=True):
        _check_same_snapshots(opened[0], maps, wanted[0][0], path)
        # Attributes of a file that not all maps share are told with its map.
        attrs = maps.attrs if len(paths) > 1 else {}
        sets[name] = (DIMS, maps["class_map"].data, attrs | maps["class_map"].attrs)
    if len(wanted) == 1:
        return opened[0].assign(sets), names
    together = xr.Dataset(sets, coords={name: opened[0][name] for name in DIMS})
    shared = {"source": ", ".join(map(str, paths))} if len(paths) > 1 else opened[0].attrs
    return together.assign_attrs(shared), names


def _set_names(paths: Sequence[str], variables: Sequence[str]) -> tuple[str, ...]:
    """Names of label sets, of the path of each; variables go round fastest."""
    if len(set(paths)) == 1:
        return tuple(variables)
    stems = [Path(path).stem for path in paths]
    files = stems if len(set(stems)) == len(set(paths)) else paths
    if len(variables) == 1:
        return tuple(files)
    return tuple(f"{f}.{variables[k % len(variables)]}" for k, f in enumerate(files))


def _check_same_snapshots(first: xr.Dataset, other: xr.Dataset, path: str, other_path: str) -> None:
    """Refuse label sets of other snapshots, naming how they differ."""
    for name in DIMS:
        ours, theirs = first[name].values, other[name].values
        if name == "time":
            is_same = list(ours) == list(theirs)
        else:
            # 1e-4 degrees is the rounding of single precision near 360.
            is_same = ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=1e-4)
        if not is_same:
            raise InputError(
                f"must be that of {path} ({ours.size} from {ours[0]} to {ours[-1]}), as label sets"
                f" are of the same snapshots, got {theirs.size} from {theirs[0]} to {theirs[-1]}",
                file=other_path,
                variable=name,
            )


def _open_holder(path: str, variable: str) -> xr.Dataset:
    """The file itself if it has the variable; else what a reader of archives makes of it.

    So masks given in an archive are found under the schema's names, as in DeepCAM files.
    """
    if not variable.startswith("labels_"):
        return open_lazily(path)
    try:
        dataset = open_lazily(path)
    except InputError:
        # A folder or a pattern of files, of which the readers of archives say what is wrong.
        return open_archive(path)
    return dataset if variable in dataset else open_archive(path)


def _check_coordinates(dataset: xr.Dataset, path: str) -> None:
    """Refuse missing or wrong coordinates."""
    for name in DIMS:
        if name not in dataset.coords:
            raise InputError(f"must have a coordinate {name}", file=path)
    check_grid(dataset["lat"].values, dataset["lon"].values, path)
    times = dataset["time"].values
    if times.size == 0:
        raise InputError("must have at least one time, got none", file=path)
    if not isinstance(times[0], cftime.datetime):
        raise InputError(
            f"must have CF units such as 'hours since 2000-01-01', got {times[0]!r}",
            file=path,
            variable="time",
        )
    check_times(times, path)


def _check_flags(stored: xr.DataArray, path: str, variable: str) -> None:
    """Refuse a variable that is no numbers or says that its numbers mean something else."""
    if stored.dtype.kind not in "iuf":
        raise InputError(f"must hold numbers, got {stored.dtype}", file=path, variable=variable)
    meanings = stored.attrs.get("flag_meanings")
    if meanings is None:
        return
    theirs = dict(
        zip(str(meanings).split(), np.ravel(stored.attrs.get("flag_values", ())), strict=False)
    )
    ours = {c.name: c.flag for c in CLASSES}
    if any(theirs.get(name) != flag for name, flag in ours.items()):
        raise InputError(
            f"must have the flags {ours}, got { {k: int(v) for k, v in theirs.items()} }",
            file=path,
            variable=variable,
        )


def _step(stored: xr.DataArray) -> int:
    """Number of times in a block."""
    return max(1, BLOCK_BYTES // max(1, int(np.prod(stored.shape[1:]))))


def _lazy_classes(stored: xr.DataArray, path: str) -> Any:
    """The classes as a lazy array whose blocks are checked as they are read."""
    num_times, step = stored.shape[0], _step(stored)
    from_delayed: Any = da.from_delayed
    concatenate: Any = da.concatenate
    parts = []
    for start in range(0, num_times, step):
        part = stored.isel(time=slice(start, start + step))
        read = delayed(_read_classes, pure=False)(part, path)
        parts.append(from_delayed(read, part.shape, np.int8))
    return concatenate(parts)


def _read_classes(part: xr.DataArray, path: str) -> NDArray[np.int8]:
    """Read one block; missing values are `NO_LABEL`.

    Raises:
        InputError: If it can't be read or holds a value that is no class.
    """
    try:
        values = np.asarray(part.values)
    except READ_ERRORS as error:
        raise InputError(
            f"can't be read (truncated or corrupt?): {error}", file=path, variable=str(part.name)
        ) from error
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), NO_LABEL, values)
    is_known = np.isin(values, KNOWN_VALUES)
    if not is_known.all():
        step = int(np.argmin(is_known.all(axis=(1, 2))))
        wrong = values[step][~is_known[step]][0]
        raise InputError(
            f"must hold only {', '.join(map(str, KNOWN_VALUES))}, got {wrong}",
            file=path,
            variable=str(part.name),
            time=part["time"].values[step],
        )
    return values.astype(np.int8)
