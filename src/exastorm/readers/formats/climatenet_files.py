"""What one ClimateNet file holds: its header, its time, and its maps in the schema's order."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.coordinates import Grid, file_times, find_grid
from exastorm.readers.formats.deepcam_layouts import check_labels
from exastorm.readers.opening import READ_ERRORS, open_lazily
from exastorm.readers.schema import NO_LABEL
from exastorm.readers.snapshot_files import (
    NAME_PATTERN,
    SnapshotFile,
    base_name,
    parse_snapshot_name,
)
from exastorm.readers.units import Conversion, find_conversion
from exastorm.variables import VARIABLES

LABELS = "LABELS"
"""Name of the annotation in a file."""


@dataclass(frozen=True, kw_only=True)
class ClimateNetLayout:
    """What one file holds.

    Attributes:
        grid: Its grid and how to bring it into the schema's order.
        annotation: Number of the annotation.
        has_labels: Whether it holds one.
        units: Units of each field of the vocabulary in it, None where it gives none.
    """

    grid: Grid
    annotation: int
    has_labels: bool
    units: dict[str, str | None]


def look_at_header(path: str) -> SnapshotFile[ClimateNetLayout]:
    """Header and time of one file."""
    with open_lazily(path, decode_times=False) as dataset:
        grid = find_grid(dataset, path)
        names = [n for n in VARIABLES if n in dataset.variables and _is_ours(dataset[n])]
        for name in [*names, *([LABELS] if LABELS in dataset.variables else [])]:
            _check_shape(dataset[name], grid, path)
        layout = ClimateNetLayout(
            grid=grid,
            annotation=0,
            has_labels=LABELS in dataset.variables,
            units={name: dataset[name].attrs.get("units") for name in names},
        )
    for name, units in layout.units.items():
        conversion_of(name, units, path)
    time = _decoded_time(path)
    if time is not None and not NAME_PATTERN.fullmatch(base_name(path)):
        return SnapshotFile(path=path, time=time, run="1", layout=layout)
    said = parse_snapshot_name(path)
    layout = replace(layout, annotation=said.annotation or 0)
    return SnapshotFile(path=path, time=time or said.time, run=said.run, layout=layout)


def _is_ours(array: xr.DataArray) -> bool:
    """False for CAM's own U10, which is a speed, unlike ours."""
    expected = VARIABLES[str(array.name)].standard_name
    return array.name not in ("U10", "V10") or array.attrs.get("standard_name") == expected


def _check_shape(array: xr.DataArray, grid: Grid, path: str) -> None:
    """Refuse a variable that is not one map on the grid."""
    extra = [d for d in array.dims if d not in (grid.lat_name, grid.lon_name)]
    if len(extra) != array.ndim - 2 or any(array.sizes[d] != 1 for d in extra):
        raise InputError(
            f"must be one map on ({grid.lat_name}, {grid.lon_name}), got {dict(array.sizes)}",
            file=path,
            variable=str(array.name),
        )


def _decoded_time(path: str) -> Any | None:
    """The file's own time, None where it has none that can be decoded."""
    try:
        with open_lazily(path) as dataset:
            _, times = file_times(dataset, path)
    except InputError:
        return None
    return times[0] if times.size == 1 else None


def conversion_of(name: str, units: str | None, path: str) -> Conversion:
    """From the file's units, or CAM's where it gives none."""
    if units is None:
        return Conversion()
    return find_conversion(units, VARIABLES[name], accumulated_s=None, file=path, source_name=name)


def read_field(
    source: tuple[SnapshotFile[ClimateNetLayout], str, Conversion],
) -> NDArray[np.float32]:
    """One field (H, W) in our unit, from a file, the field's name and its conversion."""
    file, name, change = source
    values = read_map(file, name)
    if change.is_identity:
        return values.astype(np.float32)
    return (values.astype(np.float64) * change.scale + change.offset).astype(np.float32)


def read_labels(source: SnapshotFile[ClimateNetLayout] | tuple[int, int]) -> NDArray[np.int8]:
    """One annotation (H, W), all -1 where there is only a shape."""
    if isinstance(source, tuple):
        return np.full(source, NO_LABEL, np.int8)
    values = read_map(source, LABELS)
    return check_labels(values, file=source.path, variable=LABELS, time=source.time)


def read_map(file: SnapshotFile[ClimateNetLayout], name: str) -> NDArray[Any]:
    """One variable of a file (H, W), in the schema's order of rows and columns."""
    grid = file.layout.grid
    try:
        with open_lazily(file.path, decode_times=False) as dataset:
            array = dataset[name].transpose(..., grid.lat_name, grid.lon_name)
            values = np.asarray(array.values).reshape(array.shape[-2:])
    except InputError:
        raise
    except READ_ERRORS as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"can't be read (truncated or corrupt?): {text}",
            file=file.path,
            variable=name,
            time=file.time,
        ) from error
    return values[np.ix_(grid.lat_order, grid.lon_order)]
