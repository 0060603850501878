"""A census of storms: counts, areas, rain and how often each place is covered, in one pass.

Class maps stream through in blocks of snapshots, beside the archive they belong to where it is
given. What is kept is a row for each object and, for each class, three maps on the grid: how often
a cell was in the class, how much rain fell on it then, and how often that rain was known. Every
other figure follows from these.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.readers.regrid import is_same_grid
from exastorm.storms.linker import StormLinker
from exastorm.storms.measures import MM_PER_DAY, measured_fields
from exastorm.storms.objects import SHAPE_COLUMNS, Grid, find_objects
from exastorm.storms.results import Census
from exastorm.storms.settings import CensusSettings
from exastorm.variables import CLASSES, NUM_CLASSES


@dataclass
class Sums:
    """What a census adds up, block by block; all maps are (class, H, W).

    Attributes:
        num_covered: Snapshots in which the cell was in the class.
        rain_mmday: Sum of the rain on the cell while it was in the class, mm/day.
        num_rain: Snapshots of these in which the rain was known.
        objects: Tables of objects.
        snapshots: Rows of the table of snapshots.
    """

    num_covered: NDArray[np.int64]
    rain_mmday: NDArray[np.float64]
    num_rain: NDArray[np.int64]
    objects: list[pd.DataFrame] = field(default_factory=list)
    snapshots: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def zero(cls, grid: Grid) -> "Sums":
        """Nothing counted yet."""
        shape = (NUM_CLASSES, *grid.area_km2.shape)
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, np.int64))

    def add_maps(self, class_map: Any, rain: Any | None) -> None:
        """Add a block's class maps (T, H, W) and, where known, its rain in mm/day."""
        for k in range(NUM_CLASSES):
            mask = class_map == k
            self.num_covered[k] += mask.sum(axis=0)
            if rain is not None:
                known = mask & np.isfinite(rain)
                self.rain_mmday[k] += np.where(known, rain, 0.0).sum(axis=0, dtype=np.float64)
                self.num_rain[k] += known.sum(axis=0)


def take_census(
    class_maps: xr.Dataset,
    archive: xr.Dataset | None = None,
    settings: CensusSettings | None = None,
) -> Census:
    """Count and measure the storms of class maps.

    Args:
        class_maps: `class_map` (time, lat, lon): 0 background, 1 tropical cyclone, 2 atmospheric
            river, -1 where nothing is known.
        archive: The fields the class maps belong to, on the same grid, with all their times (more
            do no harm). With it rain and extremes are counted.
        settings: What counts as an object.

    Raises:
        InputError: If the archive is on another grid or calendar, or lacks a time.
    """
    settings = settings or CensusSettings()
    grid = Grid.of(class_maps["lat"].values, class_maps["lon"].values)
    steps = None if archive is None else matching_steps(class_maps, archive)
    sums = Sums.zero(grid)
    linker = StormLinker(grid.area_km2, settings.link)
    times = class_maps["time"].values
    with ProgressBar("census", times.size) as bar:
        for block in _blocks(times.size, settings.times_per_block):
            masks = class_maps["class_map"].isel(time=block).values
            fields = _load_fields(archive, steps, block)
            objects = find_objects(masks, times[block], grid, fields, settings, linker)
            _add_block(sums, masks, times[block], grid, fields.get("PRECT"), objects)
            bar.advance(len(times[block]))
    return Census(
        num_covered=sums.num_covered,
        rain_mmday=sums.rain_mmday,
        num_rain=sums.num_rain,
        objects=_concatenate(sums.objects),
        snapshots=pd.DataFrame(sums.snapshots),
        grid=grid,
        has_rain=archive is not None and "PRECT" in archive,
        settings=settings,
        source=str(class_maps.attrs.get("source", "")),
    )


def matching_steps(class_maps: xr.Dataset, archive: xr.Dataset) -> NDArray[np.int64]:
    """Step of the archive that each class map belongs to.

    Raises:
        InputError: If the grids or calendars differ, or a time is missing.
    """
    file = archive.attrs.get("source")
    ours, theirs = ((data["lat"].values, data["lon"].values) for data in (class_maps, archive))
    if not is_same_grid(ours, theirs):
        raise InputError(
            f"must be on the grid of the class maps, {grid_words(*ours)}, "
            f"got {grid_words(*theirs)}",
            file=file,
        )
    calendars = [str(data["time"].dt.calendar) for data in (class_maps, archive)]
    if calendars[0] != calendars[1]:
        raise InputError(
            f"calendar must be that of the class maps, {calendars[0]}, got {calendars[1]}",
            file=file,
        )
    steps = np.asarray(archive.indexes["time"].get_indexer(class_maps.indexes["time"]))
    if np.any(steps < 0):
        missing = class_maps["time"].values[steps < 0]
        raise InputError(
            f"must hold every time of the class maps, lacks {missing.size} of {steps.size}",
            file=file,
            time=missing[0],
        )
    return steps


def grid_words(lat: Any, lon: Any) -> str:
    """A grid in a few words, for messages."""
    return f"{lat.size} x {lon.size} from {lat[0]:g}, {lon[0]:g} to {lat[-1]:g}, {lon[-1]:g}"


def _blocks(num_times: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` steps, in order."""
    for start in range(0, num_times, size):
        yield slice(start, min(start + size, num_times))


def _load_fields(
    archive: xr.Dataset | None, steps: NDArray[np.int64] | None, block: slice
) -> dict[str, NDArray[Any]]:
    """The archive's fields that the census reads, for one block of class maps."""
    if archive is None or steps is None:
        return {}
    names = measured_fields(archive.data_vars)
    # One compute for all fields: fields of one file share its chunks.
    loaded = archive[names].isel(time=steps[block]).compute()
    return {name: loaded[name].values for name in names}


def _add_block(
    sums: Sums,
    masks: NDArray[np.int8],
    times: NDArray[Any],
    grid: Grid,
    rain_ms: NDArray[Any] | None,
    objects: pd.DataFrame,
) -> None:
    """Add one block of class maps, its rain in m/s and its objects to the sums."""
    rain = None if rain_ms is None else rain_ms * MM_PER_DAY
    sums.add_maps(masks, rain)
    if len(objects):
        sums.objects.append(objects)
    for step, time in enumerate(times):
        at_time = objects["class"][objects["time"] == time]
        row: dict[str, Any] = {"time": time}
        for storm in CLASSES[1:]:
            name = storm.short_name.lower()
            mask = masks[step] == storm.flag
            row[f"num_{name}"] = int((at_time == storm.short_name).sum())
            row[f"{name}_area_km2"] = float(grid.area_km2[mask].sum())
            if rain is not None:
                row[f"{name}_rain_share_percent"] = _rain_share(rain[step], mask, grid)
        sums.snapshots.append(row)


def _rain_share(rain: NDArray[Any], mask: NDArray[np.bool_], grid: Grid) -> float:
    """Percent of the rain of one snapshot (H, W) that falls inside the mask; NaN without rain."""
    volume = np.where(np.isfinite(rain), rain, 0.0) * grid.area_km2
    total = volume.sum()
    return float(100.0 * volume[mask].sum() / total) if total > 0 else float("nan")


def _concatenate(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All objects in one table, also where there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=SHAPE_COLUMNS)
