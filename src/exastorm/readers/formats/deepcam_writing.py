"""Writes the three generations of DeepCAM files, with their per-file statistics and `stats.h5`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import regular_grid
from exastorm.progress import track
from exastorm.readers.formats.deepcam_layouts import check_labels
from exastorm.readers.formats.deepcam_statistics import RunningStatistics, map_statistics
from exastorm.readers.regrid import is_same_grid
from exastorm.readers.schema import NO_LABEL, check_dataset, label_names, require_fields
from exastorm.readers.snapshot_files import snapshot_stem
from exastorm.variables import CHANNEL_NAMES, NUM_CLASSES

TIMES_PER_BLOCK = 8
"""Snapshots held in memory at once: a day of three-hourly ones (about 0.5 GB at 768 x 1152)."""

PRECISIONS: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One time, loaded.

    Attributes:
        time: cftime.
        cube: Fields (C, H, W) float32.
        labels: Label maps (H, W) int8 by their number; sets that label nothing now are left out.
        channels: Names of the fields.
    """

    time: Any
    cube: NDArray[np.float32]
    labels: dict[int, NDArray[np.int8]]
    channels: tuple[str, ...]


def write_deepcam(
    dataset: xr.Dataset, out: Path, *, generation: int, precision: str, run: str | None
) -> list[Path]:
    """See `exastorm.readers.formats.deepcam.write`."""
    if generation not in (1, 2, 3):
        raise InputError(f"generation must be 1, 2 or 3, got {generation}")
    if precision not in PRECISIONS or (precision == "fp16" and generation != 3):
        raise InputError(
            f"precision must be fp32, or fp16 for generation 3, got {precision!r} for"
            f" generation {generation}"
        )
    channels = _check(dataset, generation)
    run = run or str(dataset.attrs.get("run", "1"))
    out.mkdir(parents=True, exist_ok=True)
    statistics = RunningStatistics(len(channels))
    paths = []
    for snapshot in track(_snapshots(dataset, channels), "Writing files", dataset.sizes["time"]):
        path = out / f"{snapshot_stem(snapshot.time, run)}.h5"
        of_maps = map_statistics(snapshot.cube)
        _write_file(path, _contents(snapshot, generation, precision, of_maps))
        statistics.add(of_maps)
        paths.append(path)
    if channels == CHANNEL_NAMES:
        statistics.write(out / "stats.h5")
        paths.append(out / "stats.h5")
    return paths


def _check(dataset: xr.Dataset, generation: int) -> tuple[str, ...]:
    """The channels to write, where the dataset fits the layout."""
    check_dataset(dataset)
    grid = dataset["lat"].values, dataset["lon"].values
    if not is_same_grid(grid, regular_grid(grid[0].size, grid[1].size)):
        raise InputError(
            "DeepCAM files have no coordinates: the grid must go evenly from pole to pole and from"
            " 0 E; regrid first (option grid)"
        )
    for time in dataset["time"].values:
        snapshot_stem(time, "1")
    channels = tuple(n for n in CHANNEL_NAMES if n in dataset.data_vars)
    if generation < 3 or not channels:
        require_fields(dataset, CHANNEL_NAMES, f"a DeepCAM file of generation {generation}")
    return channels


def _snapshots(dataset: xr.Dataset, channels: tuple[str, ...]) -> Iterator[Snapshot]:
    """Every time of the dataset, loaded block by block."""
    labels = label_names(dataset) or [n for n in ("truth",) if n in dataset.data_vars]
    for start in range(0, dataset.sizes["time"], TIMES_PER_BLOCK):
        block = dataset[[*channels, *labels]].isel(time=slice(start, start + TIMES_PER_BLOCK))
        block = block.load()
        for at in range(block.sizes["time"]):
            now = block.isel(time=at)
            time = now["time"].item()
            maps = {k: now[name].values for k, name in enumerate(labels)}
            yield Snapshot(
                time=time,
                cube=np.stack([_finite(now[name].values, name, time) for name in channels]),
                labels={k: m for k, m in maps.items() if np.any(m != NO_LABEL)},
                channels=channels,
            )


def _finite(values: Any, name: str, time: Any) -> NDArray[np.float32]:
    """A field as float32, refused where it has gaps: the format knows none."""
    if not np.isfinite(values).all():
        raise InputError("DeepCAM files can't hold missing values", variable=name, time=time)
    return np.asarray(values, dtype=np.float32)


def _write_file(path: Path, contents: dict[str, NDArray[Any]]) -> None:
    """Write one file under another name first, so that a stop leaves no half of one."""
    unfinished = path.with_suffix(".partial")
    with h5py.File(unfinished, "w") as file:
        for name, values in contents.items():
            file[f"climate/{name}"] = values
    unfinished.replace(path)


def _contents(
    snapshot: Snapshot, generation: int, precision: str, of_maps: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """The datasets of one file's group `climate`: data, labels and statistics."""
    for label_set, labels in snapshot.labels.items():
        check_labels(labels, variable=f"labels_{label_set}", time=snapshot.time)
    if generation == 1:
        out: dict[str, NDArray[Any]] = {
            "data": np.ascontiguousarray(np.moveaxis(snapshot.cube, 0, 2)),
            "data_stats": of_maps.astype(np.float32),
        }
        for label_set, labels in snapshot.labels.items():
            out[f"labels_{label_set}"] = labels.astype(np.float32)
            out[f"labels_{label_set}_stats"] = _label_statistics(labels)[:, None]
        return out
    out = {"data": _in_precision(snapshot, precision)}
    planes = _label_planes(snapshot)
    if planes:
        out["labels"] = np.stack(planes).astype(np.float32 if generation == 2 else np.int32)
    if generation == 2:
        out["stats"] = of_maps.T.astype(np.float32)
        counts = [_class_counts(plane) for plane in planes]
        out["labels_stats"] = np.array(counts, dtype=np.int32).reshape(-1, NUM_CLASSES)
    elif snapshot.channels != CHANNEL_NAMES:
        numbers = [CHANNEL_NAMES.index(name) for name in snapshot.channels]
        out["channels"] = np.array(numbers, dtype=np.int32)
    return out


def _label_planes(snapshot: Snapshot) -> list[NDArray[np.int8]]:
    """The label maps in order.

    Raises:
        InputError: If a set in between labels nothing at this time: planes have no gaps.
    """
    if sorted(snapshot.labels) != list(range(len(snapshot.labels))):
        raise InputError(
            "generations 2 and 3 number their label maps without gaps; labels_0 has none here",
            time=snapshot.time,
        )
    return [snapshot.labels[k] for k in sorted(snapshot.labels)]


def _in_precision(snapshot: Snapshot, precision: str) -> NDArray[Any]:
    """The cube in the file's number type.

    Raises:
        InputError: If a field is too large for half precision.
    """
    dtype = PRECISIONS[precision]
    largest = np.nanmax(np.abs(snapshot.cube), axis=(1, 2))
    for name, value in zip(snapshot.channels, largest, strict=True):
        if value > np.finfo(dtype).max:
            raise InputError(
                f"half precision ends at 65504, got {value:g}; leave the field out or write fp32",
                variable=name,
                time=snapshot.time,
            )
    return np.asarray(snapshot.cube, dtype=dtype)


def _class_counts(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.bincount(labels[labels >= 0].ravel(), minlength=NUM_CLASSES)


def _label_statistics(labels: NDArray[np.int8]) -> NDArray[np.float32]:
    """Mean, maximum, minimum, standard deviation and class shares (7,), as the label maker has."""
    shares = _class_counts(labels) / labels.size
    measures = [labels.mean(), labels.max(), labels.min(), labels.std(), *shares]
    return np.array(measures, dtype=np.float32)
