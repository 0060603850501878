"""Class maps to a table of storms: one row for each connected object of each class and time.

Objects connect across the meridian where the grid's columns begin; their centers are means of
unit vectors, so that neither that meridian nor a pole pulls them aside. Numbers carry their unit
in the name of their column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2, edges, is_global_in_longitude
from exastorm.regions import (
    keep_regions,
    label_regions,
    num_cells,
    region_areas_km2,
    region_boxes,
    region_centers,
)
from exastorm.storms.linker import StormLinker
from exastorm.storms.measures import measure_regions, measures_of
from exastorm.storms.settings import CensusSettings
from exastorm.variables import BACKGROUND, CLASSES

FloatArray = NDArray[np.float64]

SHAPE_COLUMNS = (
    "time",
    "class",
    "object",
    "center_lat_deg",
    "center_lon_deg",
    "area_km2",
    "num_cells",
    "south_lat_deg",
    "north_lat_deg",
    "west_lon_deg",
    "east_lon_deg",
)
"""Columns that every table has."""


@dataclass(frozen=True)
class Grid:
    """What the measures need to know of the grid, worked out once.

    Attributes:
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
        area_km2: Cell areas (H, W).
        wraps: Whether columns meet round the globe.
    """

    lat: FloatArray
    lon: FloatArray
    area_km2: FloatArray
    wraps: bool

    @classmethod
    def of(cls, lat: Any, lon: Any) -> "Grid":
        """The grid of these latitudes and longitudes, degrees."""
        lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
        return cls(lat, lon, cell_areas_km2(lat, lon), is_global_in_longitude(lon))


def find_objects(
    class_map: Any,
    times: Any,
    grid: Grid,
    fields: Mapping[str, Any] | None = None,
    settings: CensusSettings | None = None,
    linker: StormLinker | None = None,
) -> pd.DataFrame:
    """Every connected object of every storm class, measured.

    Args:
        class_map: Classes (T, H, W), integers.
        times: The T times.
        grid: The grid.
        fields: Fields (T, H, W) of the same times and grid, in the vocabulary's names and units.
        settings: Connectivity and smallest area.
        linker: If given, a column "storm" says which objects of different times are one storm;
            it remembers, so that blocks of times can follow each other.

    Returns:
        One row an object and time, ordered by time, class and object number (from 1 in each time
        and class): `SHAPE_COLUMNS`, then the columns of `exastorm.storms.measures` whose fields
        are there (NaN for a storm without any valid cell). Where the western edge is greater than
        the eastern one, the object lies across Greenwich.
    """
    settings = settings or CensusSettings()
    fields = fields or {}
    tables = []
    for step, time in enumerate(times):
        snapshot = {name: np.asarray(values[step]) for name, values in fields.items()}
        for storm in CLASSES:
            mask = np.asarray(class_map[step]) == storm.flag
            if storm.flag == BACKGROUND or not mask.any():
                continue
            labels, num = _large_regions(mask, grid, settings)
            if num == 0:
                continue
            columns = _object_columns(labels, num, grid, snapshot)
            if linker is not None:
                centers = columns["center_lat_deg"], columns["center_lon_deg"]
                storms = linker.link(storm.flag, time, labels, *centers)
                columns = {"object": columns["object"], "storm": storms} | columns
            tables.append(pd.DataFrame({"time": time, "class": storm.short_name, **columns}))
    names = [*SHAPE_COLUMNS, *(m.column for m in measures_of(fields))]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=names)


def _object_columns(
    labels: Any, num: int, grid: Grid, snapshot: Mapping[str, Any]
) -> dict[str, Any]:
    """Columns of the table for the objects of one class at one time."""
    center_lat, center_lon = region_centers(labels, num, grid.lat, grid.lon, grid.area_km2)
    lat_edges, lon_edges = edges(grid.lat, -90.0, 90.0), edges(grid.lon)
    boxes = region_boxes(labels, num, wrap=grid.wraps)
    last = [(box.column + box.num_columns - 1) % grid.lon.size for box in boxes]
    return {
        "object": np.arange(1, num + 1),
        "center_lat_deg": center_lat,
        "center_lon_deg": center_lon,
        "area_km2": region_areas_km2(labels, num, grid.area_km2),
        "num_cells": num_cells(labels, num),
        "south_lat_deg": [lat_edges[box.row] for box in boxes],
        "north_lat_deg": [lat_edges[box.row + box.num_rows] for box in boxes],
        "west_lon_deg": [lon_edges[box.column] % 360.0 for box in boxes],
        "east_lon_deg": [lon_edges[column + 1] % 360.0 for column in last],
        **measure_regions(measures_of(snapshot), snapshot, labels, num, grid.area_km2),
    }


def _large_regions(mask: Any, grid: Grid, settings: CensusSettings) -> tuple[Any, int]:
    """Regions of at least the smallest area, numbered from 1."""

    def label(cells: Any) -> tuple[Any, int]:
        return label_regions(cells, wrap=grid.wraps, connectivity=settings.connectivity)

    labels, num = label(mask)
    if settings.min_area_km2 == 0.0:
        return labels, num
    large = region_areas_km2(labels, num, grid.area_km2) >= settings.min_area_km2
    return label(keep_regions(labels, large))
