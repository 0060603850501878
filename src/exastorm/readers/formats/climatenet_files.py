"""What one ClimateNet file holds: its header, its time, and its maps in the schema's order.

A file is opened once, when it is looked at, and read through xarray's locks later: the netCDF
library is not safe to open files with from several threads.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.checks import check_values
from exastorm.readers.coordinates import Grid, file_times, find_axis, find_grid
from exastorm.readers.formats.deepcam_layouts import check_labels
from exastorm.readers.opening import READ_ERRORS, open_lazily
from exastorm.readers.schema import NO_LABEL
from exastorm.readers.snapshot_files import (
    NAME_PATTERN,
    SnapshotFile,
    base_name,
    parse_snapshot_name,
    refuse_blank,
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
        variables: Its fields of the vocabulary, and `LABELS` if it holds them, lazily indexed.
    """

    grid: Grid
    annotation: int
    variables: dict[str, xr.Variable]

    @property
    def has_labels(self) -> bool:
        """True where the file is annotated."""
        return LABELS in self.variables

    @property
    def units(self) -> dict[str, str | None]:
        """Units of each field, None where the file gives none."""
        fields = {n: v for n, v in self.variables.items() if n != LABELS}
        return {n: v.attrs.get("units") for n, v in fields.items()}


def look_at_header(path: str, stated_units: dict[str, str]) -> SnapshotFile[ClimateNetLayout]:
    """Header and time of one file.

    Args:
        path: The file.
        stated_units: Units that the user knows better than the file, by field.
    """
    dataset = open_lazily(path, decode_times=False)
    grid = find_grid(dataset, path)
    names = [n for n in VARIABLES if n in dataset.variables and _is_ours(dataset[n])]
    names += [LABELS] if LABELS in dataset.variables else []
    for name in names:
        _check_shape(dataset[name], grid, path)
    variables = {name: dataset.variables[name] for name in names}
    for name in variables.keys() & stated_units.keys():
        variables[name].attrs["units"] = stated_units[name]
    layout = ClimateNetLayout(grid=grid, annotation=0, variables=variables)
    for name, units in layout.units.items():
        conversion_of(name, units, path)
    time = _decoded_time(dataset, path)
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
    """Refuse a variable that is not one map of numbers on the grid."""
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"must hold numbers, got {array.dtype}", file=path, variable=str(array.name)
        )
    extra = [d for d in array.dims if d not in (grid.lat_name, grid.lon_name)]
    if len(extra) != array.ndim - 2 or any(array.sizes[d] != 1 for d in extra):
        raise InputError(
            f"must be one map on ({grid.lat_name}, {grid.lon_name}), got {dict(array.sizes)}",
            file=path,
            variable=str(array.name),
        )


def _decoded_time(dataset: xr.Dataset, path: str) -> Any | None:
    """The file's own time, None where it has none that can be decoded."""
    name = find_axis(dataset, "time")
    if name is None or dataset[name].size != 1:
        return None
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    try:
        decoded = xr.decode_cf(dataset[[name]].load(), decode_times=coder)
        _, times = file_times(decoded, path)
    except (*READ_ERRORS, OverflowError):
        return None
    return times[0]


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
    refuse_blank(values, name, file)
    if change.is_identity:
        return values.astype(np.float32)
    return (values.astype(np.float64) * change.scale + change.offset).astype(np.float32)


def read_labels(source: SnapshotFile[ClimateNetLayout] | tuple[int, int]) -> NDArray[np.int8]:
    """One annotation (H, W), all -1 where there is only a shape."""
    if isinstance(source, tuple):
        return np.full(source, NO_LABEL, np.int8)
    values = read_map(source, LABELS)
    return check_labels(values, file=source.path, variable=LABELS, time=source.time)


def check_sound(file: SnapshotFile[ClimateNetLayout]) -> None:
    """Read all of a file and refuse values that can't be.

    Raises:
        InputError: For blank fields, implausible values, or labels that are no classes.
    """
    for name, units in file.layout.units.items():
        values = read_field((file, name, conversion_of(name, units, file.path)))
        attrs = {} if units is None else {"source_units": units}
        check_values(name, values, attrs, file=file.path, time=file.time)
    if file.layout.has_labels:
        read_labels(file)


def read_map(file: SnapshotFile[ClimateNetLayout], name: str) -> NDArray[Any]:
    """One variable of a file (H, W), in the schema's order of rows and columns."""
    grid = file.layout.grid
    variable = file.layout.variables[name]
    try:
        values = np.asarray(variable)
    except READ_ERRORS as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"can't be read (truncated or corrupt?): {text}",
            file=file.path,
            variable=name,
            time=file.time,
        ) from error
    lat, lon = variable.dims.index(grid.lat_name), variable.dims.index(grid.lon_name)
    values = np.moveaxis(values, (lat, lon), (-2, -1))
    values = values.reshape(values.shape[-2:])
    return values[np.ix_(grid.lat_order, grid.lon_order)]
