"""What is worth drawing: the busiest time, the deepest cyclone, the largest river."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from exastorm.errors import InputError
from exastorm.report.maps import Extent, extent_around
from exastorm.storms.results import Census

CYCLONE_WINDOW_DEG = 24.0
"""Height of a cyclone's window: about four times the outer radius of a large one (1200 km)."""

RIVER_MARGIN_DEG = 8.0
"""Room around a river in its window."""

WINDOW_ASPECT = 1.25
"""Width of a window over its height."""

MAX_WINDOW_DEG = 70.0
"""A taller window no longer shows more than the global map does."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One storm close up.

    Attributes:
        time: When.
        extent: Where.
        words: What is shown, for the caption.
        name: Short name, for the file.
    """

    time: Any
    extent: Extent
    words: str
    name: str


def shared_times(class_maps: Mapping[str, xr.Dataset], archive: xr.Dataset) -> Any:
    """Times that the archive and all class maps have, ascending.

    Raises:
        InputError: If there is none.
    """
    times = archive["time"].values
    for class_map in class_maps.values():
        times = np.intersect1d(times, class_map["time"].values)
    if times.size == 0:
        raise InputError(
            "the archive and the class maps of a report must share times, got none in common",
            file=archive.attrs.get("source"),
        )
    return times


def choose_moment(census: Census, times: Any, wanted: str = "") -> Any:
    """The time of the global map.

    Args:
        census: Whose storms are counted.
        times: Times to choose from.
        wanted: If given, the time that reads so, to the minute.

    Raises:
        InputError: If the wanted time is not among them.
    """
    if wanted:
        found = [t for t in times if str(t).replace("T", " ")[: len(wanted)] == wanted]
        if not found:
            raise InputError(f"moment must be one of {times[0]} to {times[-1]}, got {wanted!r}")
        return found[0]
    rows = census.snapshots[census.snapshots["time"].isin(list(times))]
    if rows.empty:
        return times[0]
    return rows.sort_values(["num_tc", "num_ar"], ascending=False, kind="stable")["time"].iloc[0]


def close_up_scenes(census: Census, times: Any) -> list[Scene]:
    """The deepest cyclone (the largest where pressure is unknown) and the largest river."""
    objects = census.objects[census.objects["time"].isin(list(times))]
    scenes = []
    cyclones = objects[objects["class"] == "TC"]
    if len(cyclones):
        scenes.append(_cyclone_scene(cyclones))
    rivers = objects[objects["class"] == "AR"]
    if len(rivers):
        scenes.append(_river_scene(rivers.loc[rivers["area_km2"].idxmax()]))
    return scenes


def _cyclone_scene(cyclones: pd.DataFrame) -> Scene:
    """A window around the deepest cyclone."""
    if "min_psl_pa" in cyclones and cyclones["min_psl_pa"].notna().any():
        row = cyclones.loc[cyclones["min_psl_pa"].idxmin()]
        words = f"the deepest tropical cyclone, {row['min_psl_pa'] / 100:.0f} hPa"
    else:
        row = cyclones.loc[cyclones["area_km2"].idxmax()]
        words = f"the largest tropical cyclone, {row['area_km2']:,.0f} km²"
    center = row["center_lat_deg"], row["center_lon_deg"]
    extent = extent_around(*center, CYCLONE_WINDOW_DEG, WINDOW_ASPECT)
    return Scene(time=row["time"], extent=extent, words=words, name="cyclone")


def _river_scene(row: pd.Series) -> Scene:
    """A window around a river, as wide as it needs."""
    width = (row["east_lon_deg"] - row["west_lon_deg"]) % 360.0
    middle_lat = (row["north_lat_deg"] + row["south_lat_deg"]) / 2
    wide = width * np.cos(np.deg2rad(middle_lat)) + 2 * RIVER_MARGIN_DEG
    tall = row["north_lat_deg"] - row["south_lat_deg"] + 2 * RIVER_MARGIN_DEG
    height = min(max(tall, wide / WINDOW_ASPECT), MAX_WINDOW_DEG)
    middle_lon = row["west_lon_deg"] + width / 2
    return Scene(
        time=row["time"],
        extent=extent_around(middle_lat, middle_lon, height, WINDOW_ASPECT),
        words=f"the largest atmospheric river, {row['area_km2'] / 1e6:.1f} million km²",
        name="river",
    )
