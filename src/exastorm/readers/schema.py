"""What every reader returns, and the check that a dataset is that.

A dataset of the package has dimensions (time, lat, lon), latitudes and longitudes ascending,
longitudes in [0, 360), CF time with its calendar, and fields under the names and in the units of
`exastorm.variables`. Given masks come as `labels_0`, `labels_1`, ... (int8, one per label set or
annotator; -1 where that annotator has none).
"""

import itertools
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import check_grid, regular_grid
from exastorm.variables import CLASSES, VARIABLES

DIMS = ("time", "lat", "lon")
"""Order of the dimensions of every field."""

NO_LABEL = -1
"""Value of a given mask where its annotator labeled nothing."""

CLASS_ATTRS: dict[str, Any] = {
    "flag_values": np.array([c.flag for c in CLASSES], dtype=np.int8),
    "flag_meanings": " ".join(c.name for c in CLASSES),
}
"""CF attributes of every class map."""


def field_attrs(name: str) -> dict[str, Any]:
    """Attributes of one field: units, CF standard name, long name.

    Raises:
        KeyError: If the name is not in the vocabulary (our mistake, not the user's).
    """
    variable = VARIABLES[name]
    attrs = {"units": variable.units, "long_name": variable.long_name}
    if variable.standard_name:
        attrs["standard_name"] = variable.standard_name
    return attrs


def coordinate_attrs(name: str) -> dict[str, str]:
    """CF attributes of the coordinates lat and lon."""
    return {
        "lat": {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"},
        "lon": {"units": "degrees_east", "standard_name": "longitude", "axis": "X"},
    }[name]


def field_names(dataset: xr.Dataset) -> list[str]:
    """Fields of the vocabulary that a dataset holds, in the vocabulary's order."""
    return [name for name in VARIABLES if name in dataset.data_vars]


def label_names(dataset: xr.Dataset) -> list[str]:
    """Given masks (`labels_0`, `labels_1`, ...) that a dataset holds, in order."""
    names = [str(n) for n in dataset.data_vars if str(n).startswith("labels_")]
    return sorted(names, key=lambda n: int(n.split("_")[1]))


def require_fields(dataset: xr.Dataset, names: Any, purpose: str) -> None:
    """Refuse a dataset that lacks fields, naming all of them.

    Args:
        dataset: A dataset in the schema.
        names: Names of the fields needed.
        purpose: What they are needed for, as the message says it.

    Raises:
        InputError: If any is missing.
    """
    missing = [n for n in names if n not in dataset.data_vars]
    if missing:
        raise InputError(
            f"{purpose} needs {', '.join(missing)}; got only {', '.join(field_names(dataset))}",
            file=dataset.attrs.get("source"),
        )


def check_dataset(dataset: xr.Dataset, file: str | None = None) -> xr.Dataset:
    """Check that a dataset is in the schema, without reading its fields; returns it unchanged.

    Raises:
        InputError: For wrong dimensions, order, units, or an unsorted or repeated time.
    """
    missing = [d for d in DIMS if d not in dataset.dims]
    if missing:
        raise InputError(f"must have dimensions {DIMS}, lacks {', '.join(missing)}", file=file)
    check_grid(dataset["lat"].values, dataset["lon"].values, file)
    check_times(dataset["time"].values, file)
    for name in field_names(dataset):
        array = dataset[name]
        if array.dims != DIMS and array.dims != DIMS[1:]:
            raise InputError(
                f"must have dimensions {DIMS}, got {array.dims}", file=file, variable=name
            )
        if array.attrs.get("units") != VARIABLES[name].units:
            raise InputError(
                f"must be in {VARIABLES[name].units}, got {array.attrs.get('units')!r}",
                file=file,
                variable=name,
            )
    return dataset


def check_times(times: Any, file: str | None = None) -> None:
    """Refuse times that repeat or run backward, naming the first such step.

    Raises:
        InputError: As said.
    """
    times = np.asarray(times)
    for before, after in itertools.pairwise(times):
        if not after > before:
            word = "is repeated" if after == before else f"comes after {before}"
            raise InputError(
                f"times must ascend without repeats; this one {word}",
                file=file,
                variable="time",
                time=after,
            )


def mock_dataset(
    fields: dict[str, Any],
    num_lat: int,
    num_lon: int,
    num_times: int,
    *,
    start: str = "2000-01-01",
    calendar: str = "noleap",
    step_hours: int = 3,
) -> xr.Dataset:
    """A dataset in the schema from plain arrays or numbers, for tests and examples.

    Args:
        fields: Name to array that broadcasts to (num_times, num_lat, num_lon).
        num_lat: Number of latitudes.
        num_lon: Number of longitudes.
        num_times: Number of time steps.
        start: First time, ISO.
        calendar: CF calendar.
        step_hours: Time between snapshots, hours.
    """
    lat, lon = regular_grid(num_lat, num_lon)
    time = xr.date_range(
        start, periods=num_times, freq=f"{step_hours}h", calendar=calendar, use_cftime=True
    )
    shape = (num_times, num_lat, num_lon)
    dataset = xr.Dataset(
        {
            name: (
                DIMS,
                np.broadcast_to(np.asarray(v, np.float32), shape).copy(),
                field_attrs(name),
            )
            for name, v in fields.items()
        },
        coords={
            "time": time,
            "lat": ("lat", lat, coordinate_attrs("lat")),
            "lon": ("lon", lon, coordinate_attrs("lon")),
        },
    )
    return check_dataset(dataset)
