"""SC18 and DeepCAM HDF5: one snapshot a file, in all three generations of the data set.

The files hold numbers only. Date, time and run come from the file name, the fields and their units
from CAM's list of 16 channels, the grid from its size: latitudes from pole to pole and longitudes
from 0, as CAM's finite-volume grid of 768 x 1152 has them; other sizes follow the same rule, with a
note. Label sets become `labels_0`, `labels_1`, ...; a `stats.h5` among the files is passed over.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import regular_grid
from exastorm.readers.file_stack import FileStack, pick_channel
from exastorm.readers.formats.deepcam_layouts import (
    DeepcamLayout,
    check_sound,
    fields_that_fit,
    find_layout,
    is_deepcam,
    is_statistics,
    open_hdf5,
    read_channels,
    read_labels,
)
from exastorm.readers.formats.deepcam_statistics import read_statistics
from exastorm.readers.formats.deepcam_writing import write_deepcam
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import CLASS_ATTRS, DIMS, coordinate_attrs, field_attrs
from exastorm.readers.snapshot_files import (
    SnapshotFile,
    choose_run,
    keep_sound,
    look_at_files,
    parse_snapshot_name,
    refuse_repeats,
    source_of,
    with_bad_files,
)
from exastorm.readers.sources import BadFiles

__all__ = ["NAME", "read", "read_statistics", "recognize", "write"]

NAME = "deepcam"

KNOWN_SIZE = (768, 1152)
"""Latitudes and longitudes of the published files (Kurth et al. 2018)."""

HALF_PRECISION_NOTE = (
    "stored in half precision: three significant digits, nothing above 65504 and little below 6e-8"
)

Files = list[SnapshotFile[DeepcamLayout]]


def recognize(path: str) -> bool:
    """True for an HDF5 file with the group `climate`, or a file with the data set's name."""
    return is_deepcam(path)


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read snapshots as one lazy dataset in the schema; each file is opened when it is computed.

    Args:
        paths: Snapshot files, in any order.
        options: `run`, `fields` and `skip_bad` are heeded.

    Raises:
        InputError: For a file that is cut short, lacks a dataset, has a wrong shape or another
            grid, a name without a date, a repeated time, or several runs where none is chosen.
    """
    if options.units:
        raise InputError(
            "DeepCAM files are in CAM's units by definition; the option units has no place here",
            file=paths[0],
        )
    bad = BadFiles(skip=options.skip_bad)
    files = choose_run(look_at_files(paths, _look, bad), options.run)
    files = _refuse_differences(refuse_repeats(files, bad), bad)
    files = keep_sound(files, check_sound, bad)
    layout = files[0].layout
    fitting = fields_that_fit(files[0])
    names = tuple(n for n in fitting if options.fields is None or n in options.fields)
    dataset = xr.Dataset(
        {**_fields(files, names), **_labels(files)},
        coords=_coordinates(files),
        attrs={"source": source_of([f.path for f in files]), "source_format": NAME},
    )
    dataset.attrs["run"] = files[0].run
    dataset.attrs["history"] = f"DeepCAM layout of generation {layout.generation}"
    if (layout.num_lat, layout.num_lon) != KNOWN_SIZE:
        dataset.attrs["history"] += (
            f"; a grid of {layout.num_lat} x {layout.num_lon} is taken to go from pole to pole and"
            " from 0 E, as that of 768 x 1152 does"
        )
    overflowed = [n for n in layout.channels if n not in fitting]
    if overflowed:
        lines = [f"{name}: overflows the half precision of the files" for name in overflowed]
        dataset.attrs["left_out"] = "\n".join(lines)
    return with_bad_files(dataset, bad)


def write(
    dataset: xr.Dataset,
    out: Path,
    *,
    generation: int = 1,
    precision: str = "fp32",
    run: str | None = None,
) -> list[Path]:
    """Write a dataset as DeepCAM files, one a snapshot, and the `stats.h5` of all of them.

    Args:
        dataset: In the schema, three-hourly, on a grid of `exastorm.grid.regular_grid`; with all
            16 channels for generations 1 and 2. Label sets `labels_0`, ... are written, or else
            the map `truth`, where there is one.
        out: Folder, made if missing.
        generation: 1 (channels last, as published), 2 (channels first) or 3 (staged copy, which
            may lack channels).
        precision: "fp32", or "fp16" for generation 3.
        run: Run in the file names; by default the dataset's attribute `run`, else "1".

    Returns:
        The files written, `stats.h5` last.

    Raises:
        InputError: If the dataset does not fit the layout.
    """
    return write_deepcam(dataset, out, generation=generation, precision=precision, run=run)


def _look(path: str) -> SnapshotFile[DeepcamLayout] | None:
    """Header of one file; None for the statistics."""
    with open_hdf5(path) as file:
        if is_statistics(file):
            return None
        layout = find_layout(file, path)
    name = parse_snapshot_name(path)
    return SnapshotFile(path=path, time=name.time, run=name.run, layout=layout)


def _refuse_differences(files: Files, bad: BadFiles) -> Files:
    """Files with the grid and the channels of the first one."""
    first = files[0].layout
    kept = []
    for file in files:
        layout, problem = file.layout, ""
        if (layout.num_lat, layout.num_lon) != (first.num_lat, first.num_lon):
            problem = (
                f"all files must have one grid; this one has {layout.num_lat} x {layout.num_lon},"
                f" {files[0].path} has {first.num_lat} x {first.num_lon}"
            )
        elif set(layout.channels) != set(first.channels):
            missing = sorted(set(first.channels) ^ set(layout.channels))
            problem = (
                f"all files must have the same channels; {', '.join(missing)} is not in both this"
                f" one and {files[0].path}"
            )
        if problem:
            bad.handle(InputError(problem, file=file.path, time=file.time))
        else:
            kept.append(file)
    return kept


def _fields(files: Files, names: tuple[str, ...]) -> dict[str, Any]:
    """The channels as lazy variables; channels-last files are read once for all of them."""
    layout = files[0].layout
    together = any(f.layout.channels_last for f in files)
    shape = (layout.num_lat, layout.num_lon)
    out = {}
    for group in [names] if together else [(name,) for name in names]:
        stack = FileStack(
            [(f, group) for f in files], _read_group, (len(group), *shape), "float32"
        ).lazy()
        for channel, name in enumerate(group):
            attrs = _attrs(name, layout)
            if any(f.layout.half_precision for f in files):
                attrs["note"] = HALF_PRECISION_NOTE
            out[name] = (DIMS, pick_channel(stack, channel), attrs)
    return out


def _read_group(source: tuple[SnapshotFile[DeepcamLayout], tuple[str, ...]]) -> Any:
    return read_channels(*source)


def _attrs(name: str, layout: DeepcamLayout) -> dict[str, Any]:
    """Attributes of a channel: ours, and where it came from."""
    place = layout.channels.index(name)
    source = f"climate/data[..., {place}]" if layout.channels_last else f"climate/data[{place}]"
    attrs = field_attrs(name)
    return {**attrs, "source_name": source, "source_units": attrs["units"]}


def _labels(files: Files) -> dict[str, Any]:
    """The label sets as lazy variables, as many as the file with the most has."""
    layout = files[0].layout
    out = {}
    for label_set in range(max(len(f.layout.labels) for f in files)):
        stack = FileStack(
            [(f, label_set) for f in files],
            _read_label_set,
            (layout.num_lat, layout.num_lon),
            "int8",
        ).lazy()
        attrs = {**CLASS_ATTRS, "long_name": f"given class map, label set {label_set}"}
        out[f"labels_{label_set}"] = (DIMS, stack, attrs)
    return out


def _read_label_set(source: tuple[SnapshotFile[DeepcamLayout], int]) -> Any:
    return read_labels(*source)


def _coordinates(files: Files) -> dict[str, Any]:
    layout = files[0].layout
    lat, lon = regular_grid(layout.num_lat, layout.num_lon)
    return {
        "time": ("time", np.array([f.time for f in files])),
        "lat": ("lat", lat, coordinate_attrs("lat")),
        "lon": ("lon", lon, coordinate_attrs("lon")),
    }
