"""Maps of fields and class maps with coastlines, wrapped in longitude at any meridian.

The projection is equirectangular. Coastlines are the zero line of the bundled signed distance to
the coast (`exastorm.land.coast_table`), so nothing is downloaded. A global map begins at 20 E by
default: that cuts Africa instead of an ocean basin, and so cuts the fewest storms.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import contourpy
import numpy as np
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from exastorm.grid import edges, is_global_in_longitude
from exastorm.land import COAST_STEP_DEG, coast_table
from exastorm.report.style import CLASS_COLORS, FONT_SIZE_PT, INK, style_axes
from exastorm.variables import BACKGROUND, CLASSES

GLOBAL_WEST_DEG = 20.0
COAST_POINTS = 900
"""Coastline points across a map; finer ones cost time and ink, not detail, at 1400 pixels."""


COAST_COLOR = "#3E4C59"

ARROWS = 16
"""Wind arrows across a window."""
ARROW_SCALE_MS = 300.0
"""Wind whose arrow would be as long as the panel is wide, m/s; 19 m/s reach the next arrow."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What part of the globe a map shows, in degrees; east may pass 360.

    Attributes:
        west: Western edge.
        east: Eastern edge, at most 360 farther.
        south: Southern edge.
        north: Northern edge.
    """

    west: float
    east: float
    south: float = -90.0
    north: float = 90.0


def extent_of(lat: Any, lon: Any, west: float = GLOBAL_WEST_DEG) -> Extent:
    """The whole of a grid: the globe from `west` on, or a regional grid from edge to edge."""
    lat_edges = edges(lat, -90.0, 90.0)
    south, north = float(lat_edges[0]), float(lat_edges[-1])
    if is_global_in_longitude(lon):
        return Extent(west=west, east=west + 360.0, south=south, north=north)
    lon_edges = edges(lon)
    return Extent(west=float(lon_edges[0]), east=float(lon_edges[-1]), south=south, north=north)


def extent_around(lat: float, lon: float, height_deg: float, aspect: float = 1.25) -> Extent:
    """A window around a place, kept within the poles.

    Args:
        lat: Latitude of its middle, degrees.
        lon: Longitude of its middle, degrees.
        height_deg: Its height, degrees.
        aspect: Its width over its height in kilometers, so that windows look alike anywhere.
    """
    south = min(max(lat - height_deg / 2, -90.0), 90.0 - height_deg)
    half = height_deg * aspect / 2 / _narrowing(south, south + height_deg)
    half = min(half, 180.0)
    return Extent(west=lon - half, east=lon + half, south=south, north=south + height_deg)


def _narrowing(south: float, north: float) -> float:
    """Length of a degree of longitude over one of latitude in a window, not less than 0.3."""
    return max(float(np.cos(np.deg2rad((south + north) / 2))), 0.3)


def height_over_width(extent: Extent) -> float:
    """Shape of the map of a window; global maps are plate carree, windows true in the middle."""
    degrees = (extent.north - extent.south) / (extent.east - extent.west)
    if extent.east - extent.west >= 180.0:
        return degrees
    return degrees / _narrowing(extent.south, extent.north)


def unrolled(lon: Any, extent: Extent) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Longitudes from the map's western edge on, and which column of the grid each one is.

    A global grid gets one column more on either side than the map shows, so that nothing ends
    short of the frame.
    """
    lon = np.asarray(lon, dtype=np.float64)
    if not is_global_in_longitude(lon):
        shift = 360.0 * np.round((extent.west - lon[0]) / 360.0)
        return lon + shift, np.arange(lon.size)
    turns = np.arange(np.floor(extent.west / 360.0) - 1, np.ceil(extent.east / 360.0) + 1)
    every = (lon[None, :] + 360.0 * turns[:, None]).ravel()
    step = 360.0 / lon.size
    shown = np.flatnonzero((every > extent.west - step) & (every < extent.east + step))
    return every[shown], shown % lon.size


@lru_cache(maxsize=32)
def coast_segments(
    west: float, east: float, south: float, north: float
) -> tuple[NDArray[np.float64], ...]:
    """Coastlines of a window as lines of (lon, lat) points, degrees; cached by window."""
    lat, lon, distance = coast_table()
    stride = max(1, round((east - west) / COAST_STEP_DEG / COAST_POINTS))
    rows = np.flatnonzero((lat >= south - 1) & (lat <= north + 1))[::stride]
    first = int(np.floor((west - 1 - lon[0]) / COAST_STEP_DEG))
    last = int(np.ceil((east + 1 - lon[0]) / COAST_STEP_DEG))
    columns = np.arange(first, last + 1, stride)
    window = distance[np.ix_(rows, columns % lon.size)]
    lines = contourpy.contour_generator(lon[0] + columns * COAST_STEP_DEG, lat[rows], window).lines(
        0.0
    )
    return tuple(np.asarray(line) for line in lines)


def _degree_label(value: float, positive: str, negative: str) -> str:
    """A tick such as 30°N; the equator and the Greenwich meridian have no letter."""
    if value == 0 or (positive == "E" and abs(value) == 180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{positive if value > 0 else negative}"


def _ticks(low: float, high: float, num_wanted: int = 6) -> NDArray[np.float64]:
    """Round degrees within an interval, about as many as wanted."""
    steps = np.array([1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0])
    step = steps[np.argmin(np.abs((high - low) / steps - num_wanted))]
    return np.asarray(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)


def draw_frame(axes: Any, extent: Extent, title: str = "") -> None:
    """Set the window, its degree ticks and its coastlines."""
    lines = coast_segments(extent.west, extent.east, extent.south, extent.north)
    axes.add_collection(LineCollection(list(lines), colors=COAST_COLOR, linewidths=0.55, zorder=3))
    axes.set_xlim(extent.west, extent.east)
    axes.set_ylim(extent.south, extent.north)
    degrees = (extent.north - extent.south) / (extent.east - extent.west)
    axes.set_aspect(height_over_width(extent) / degrees)
    # Windows stand side by side, where the labels of six longitudes would touch.
    num_lon_ticks = 6 if extent.east - extent.west > 120.0 else 4
    x_ticks = _ticks(extent.west, extent.east, num_lon_ticks)
    y_ticks = _ticks(extent.south, extent.north)
    signed = np.mod(x_ticks + 180.0, 360.0) - 180.0
    axes.set_xticks(x_ticks, [_degree_label(x, "E", "W") for x in signed])
    axes.set_yticks(y_ticks, [_degree_label(y, "N", "S") for y in y_ticks])
    style_axes(axes, title)


def draw_field(axes: Any, values: Any, lat: Any, lon: Any, extent: Extent, **options: Any) -> Any:
    """Color the cells of a field (H, W); options go to `pcolormesh`. Returns the mesh."""
    shown_lon, columns = unrolled(lon, extent)
    return axes.pcolormesh(
        edges(shown_lon),
        edges(lat, -90.0, 90.0),
        np.asarray(values)[:, columns],
        zorder=1,
        rasterized=True,
        **options,
    )


def draw_classes(
    axes: Any, class_map: Any, lat: Any, lon: Any, extent: Extent, fill_alpha: float = 0.25
) -> None:
    """Outline and lightly fill the storms of a class map (H, W) in the colors of their classes."""
    shown_lon, columns = unrolled(lon, extent)
    shown = np.asarray(class_map)[:, columns]
    for storm in CLASSES:
        mask = (shown == storm.flag).astype(np.float64)
        if storm.flag == BACKGROUND or not mask.any():
            continue
        axes.contourf(
            shown_lon,
            lat,
            mask,
            levels=[0.5, 1.5],
            colors=[storm.color],
            alpha=fill_alpha,
            zorder=4,
        )
        axes.contour(
            shown_lon, lat, mask, levels=[0.5], colors=[storm.color], linewidths=1.4, zorder=5
        )


def draw_wind(axes: Any, u: Any, v: Any, lat: Any, lon: Any, extent: Extent) -> None:
    """Arrows of the wind (H, W), m/s, about sixteen across the window; longer where faster."""
    shown_lon, columns = unrolled(lon, extent)
    rows = np.flatnonzero((np.asarray(lat) >= extent.south) & (np.asarray(lat) <= extent.north))
    inside = (shown_lon >= extent.west) & (shown_lon <= extent.east)
    shown_lon, columns = shown_lon[inside], columns[inside]
    row_stride = max(1, round(rows.size / ARROWS))
    column_stride = max(1, round(columns.size / ARROWS))
    rows, shown_lon, columns = (
        rows[::row_stride],
        shown_lon[::column_stride],
        columns[::column_stride],
    )
    window = np.ix_(rows, columns)
    axes.quiver(
        shown_lon,
        np.asarray(lat)[rows],
        np.asarray(u)[window],
        np.asarray(v)[window],
        color=INK,
        alpha=0.75,
        width=0.004,
        scale=ARROW_SCALE_MS,
        zorder=6,
    )


def class_handles() -> list[Any]:
    """Legend handles of the storm classes."""
    from matplotlib.patches import Patch

    return [
        Patch(
            facecolor=f"{CLASS_COLORS[c.flag]}55",
            edgecolor=c.color,
            linewidth=1.4,
            label=c.name.replace("_", " "),
        )
        for c in CLASSES
        if c.flag != BACKGROUND
    ]


def add_colorbar(figure: Any, mesh: Any, axes: Any, label: str, **options: Any) -> None:
    """A slim colorbar that names the quantity and its unit."""
    bar = figure.colorbar(mesh, ax=axes, pad=0.015, **options)
    bar.set_label(label, color=INK, fontsize=FONT_SIZE_PT)
    bar.ax.tick_params(labelsize=FONT_SIZE_PT - 1, colors=INK, length=2)
    bar.outline.set_linewidth(0.4)
