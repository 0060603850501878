"""ClimateNet netCDF: one file for each expert annotation of a snapshot.

A file holds CAM fields (time=1, lat, lon) under CAM's names and the annotation `LABELS`, (lat, lon)
or (time, lat, lon). Its name, `data-YYYY-MM-DD-TT-R_N.nc`, numbers the annotations N of a snapshot,
which repeat its fields: these are read once, from the first of them, and the annotations become
`labels_0`, `labels_1`, ... in the order of their numbers, -1 where a snapshot has fewer.

The time is the file's own where it can be decoded, else the name's. Units are converted from what
the file says; a field without units is CAM output and has CAM's, with a note. Source: Prabhat et
al. 2021, Geoscientific Model Development 14, 107, and the published reader of its data.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.file_stack import FileStack
from exastorm.readers.formats.climatenet_files import (
    LABELS,
    ClimateNetLayout,
    check_sound,
    conversion_of,
    look_at_header,
    read_field,
    read_labels,
)
from exastorm.readers.formats.deepcam_layouts import check_labels
from exastorm.readers.opening import peek
from exastorm.readers.options import ReadOptions, stated_units
from exastorm.readers.schema import (
    CLASS_ATTRS,
    DIMS,
    NO_LABEL,
    check_dataset,
    coordinate_attrs,
    field_attrs,
    field_names,
    label_names,
)
from exastorm.readers.snapshot_files import (
    NAME_PATTERN,
    SnapshotFile,
    base_name,
    choose_run,
    keep_sound,
    look_at_files,
    snapshot_stem,
    source_of,
    with_bad_files,
)
from exastorm.readers.sources import BadFiles
from exastorm.variables import VARIABLES

NAME = "climatenet"

NO_UNITS_NOTE = "the file gives no units; CAM's are taken"


Files = list[SnapshotFile[ClimateNetLayout]]


def recognize(path: str) -> bool:
    """True for netCDF with `LABELS` beside CAM fields, or of the data set's name."""
    header = peek(path)
    if header is None or not any(name in VARIABLES for name in header.dims):
        return False
    return LABELS in header.dims or bool(NAME_PATTERN.fullmatch(base_name(path)))


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read annotations as one lazy dataset in the schema, one time a snapshot.

    Args:
        paths: Files in any order.
        options: `run`, `fields`, `units` and `skip_bad` are heeded.

    Raises:
        InputError: For a file that can't be read or dated, holds several times, lacks fields or has
            another grid, and for an annotation given twice.
    """
    bad = BadFiles(skip=options.skip_bad)
    look = partial(look_at_header, stated_units=stated_units(options))
    files = _refuse_differences(look_at_files(paths, look, bad), bad)
    files = keep_sound(files, check_sound, bad)
    snapshots = _by_time(choose_run(files, options.run), bad)
    firsts = [annotations[0] for annotations in snapshots]
    grid = firsts[0].layout.grid
    dataset = xr.Dataset(
        {**_fields(firsts, options.fields), **_labels(snapshots)},
        coords={
            "time": ("time", np.array([f.time for f in firsts])),
            "lat": ("lat", grid.lat, coordinate_attrs("lat")),
            "lon": ("lon", grid.lon, coordinate_attrs("lon")),
        },
        attrs={
            "source": source_of([f.path for f in files]),
            "source_format": NAME,
            "run": firsts[0].run,
        },
    )
    return with_bad_files(dataset, bad)


def write(dataset: xr.Dataset, out: Path, *, run: str | None = None) -> list[Path]:
    """Write a dataset as ClimateNet files, one for each label set of each time.

    Args:
        dataset: In the schema, three-hourly. Label sets `labels_0`, ... become annotations, or else
            the map `truth`, where there is one; a time that none labels becomes one file without
            `LABELS`.
        out: Folder, made if missing.
        run: Run in the file names; by default the dataset's attribute `run`, else "1".

    Raises:
        InputError: If a time can't be said in a file name, or a map holds other values than flags.
    """
    check_dataset(dataset)
    run = run or str(dataset.attrs.get("run", "1"))
    stems = [snapshot_stem(time, run) for time in dataset["time"].values]
    names = label_names(dataset) or [n for n in ("truth",) if n in dataset.data_vars]
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for at, stem in enumerate(track(stems, "Writing files")):
        now = dataset[[*field_names(dataset), *names]].isel(time=[at]).load()
        fields = now.drop_vars(names)
        fields.attrs = {}
        maps = [now[name].isel(time=0) for name in names]
        annotations = {k: m for k, m in enumerate(maps) if np.any(m != NO_LABEL)}
        if not annotations:
            paths.append(_write_file(fields, out / f"{stem}_0.nc"))
        for number, labels in annotations.items():
            flags = check_labels(labels.values, variable=names[number], time=now["time"].item())
            annotated = fields.assign({LABELS: (("lat", "lon"), flags, CLASS_ATTRS)})
            paths.append(_write_file(annotated, out / f"{stem}_{number}.nc"))
    return paths


def _write_file(dataset: xr.Dataset, path: Path) -> Path:
    """Write one file under another name first, so that a stop leaves no half of one."""
    unfinished = path.with_suffix(".partial")
    encoding = {name: {"_FillValue": None} for name in dataset.variables}
    dataset.to_netcdf(unfinished, engine="netcdf4", encoding=encoding)
    unfinished.replace(path)
    return path


def _refuse_differences(files: Files, bad: BadFiles) -> Files:
    """Files with the grid, the fields and the calendar of the first one."""
    first = files[0]
    kept = []
    for file in files:
        lacking = ", ".join(sorted(set(first.layout.units) - set(file.layout.units)))
        problem = ""
        if not file.layout.grid.has_same_points(first.layout.grid):
            problem = f"all files must have one grid; this one differs from {first.path}"
        elif lacking:
            problem = f"lacks {lacking}, which {first.path} has"
        elif file.time.calendar != first.time.calendar:
            problem = (
                f"all files must have one calendar; this one has {file.time.calendar},"
                f" {first.path} has {first.time.calendar}"
            )
        if problem:
            bad.handle(InputError(problem, file=file.path, time=file.time))
        else:
            kept.append(file)
    return kept


def _by_time(files: Files, bad: BadFiles) -> list[Files]:
    """Files grouped by time, the annotations of each in the order of their numbers."""
    groups: dict[Any, dict[int, SnapshotFile[ClimateNetLayout]]] = defaultdict(dict)
    for file in files:
        taken = groups[file.time].get(file.layout.annotation)
        if taken is not None:
            problem = f"annotation {file.layout.annotation} is given twice, also by {taken.path}"
            bad.handle(InputError(problem, file=file.path, time=file.time))
            continue
        groups[file.time][file.layout.annotation] = file
    return [[numbered[n] for n in sorted(numbered)] for _, numbered in sorted(groups.items())]


def _fields(files: Files, wanted: tuple[str, ...] | None) -> dict[str, Any]:
    """The fields as lazy variables, in the vocabulary's order."""
    out = {}
    for name, units in files[0].layout.units.items():
        if wanted is not None and name not in wanted:
            continue
        changes = [conversion_of(name, f.layout.units[name], f.path) for f in files]
        sources = [(f, name, change) for f, change in zip(files, changes, strict=True)]
        stack = FileStack(sources, read_field, files[0].layout.grid.shape, "float32")
        attrs = {**field_attrs(name), "source_name": name}
        attrs["source_units"] = attrs["units"] if units is None else units
        if units is None:
            attrs["note"] = NO_UNITS_NOTE
        out[name] = (DIMS, stack.lazy(), attrs)
    return out


def _labels(snapshots: Sequence[Files]) -> dict[str, Any]:
    """The annotations as lazy variables, as many as the snapshot with the most has."""
    labeled = [[f for f in files if f.layout.has_labels] for files in snapshots]
    grid = snapshots[0][0].layout.grid
    out = {}
    for number in range(max(len(files) for files in labeled)):
        sources = [files[number] if number < len(files) else grid.shape for files in labeled]
        attrs = {**CLASS_ATTRS, "long_name": f"given class map, annotation {number} of a snapshot"}
        stack = FileStack(sources, read_labels, grid.shape, "int8")
        out[f"labels_{number}"] = (DIMS, stack.lazy(), attrs)
    return out
