"""The map figures, one function each: storms over a field, how often they cover each place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from exastorm.report.maps import (
    GLOBAL_WEST_DEG,
    Extent,
    add_colorbar,
    class_handles,
    draw_classes,
    draw_field,
    draw_frame,
    draw_wind,
    extent_of,
    height_over_width,
)
from exastorm.report.style import FONT_SIZE_PT, INK, WIDTH_PX, new_figure
from exastorm.storms.measures import MM_PER_DAY
from exastorm.variables import BACKGROUND, CLASSES, VARIABLES


@dataclass(frozen=True, kw_only=True)
class FieldStyle:
    """How a field is colored.

    Attributes:
        units: Unit on the colorbar.
        factor: From the vocabulary's unit to that one.
        low: Value of the first color, in `units`.
        high: Value of the last color.
        colormap: Name of a matplotlib colormap, pale where the outlines of storms must show.
        label: What the colorbar says before the unit.
    """

    units: str
    factor: float = 1.0
    low: float | None = None
    high: float | None = None
    colormap: str = "Greys"
    label: str = ""


FIELD_STYLES: dict[str, FieldStyle] = {
    "TMQ": FieldStyle(units="kg m$^{-2}$", low=0, high=80, label="precipitable water"),
    "PSL": FieldStyle(
        units="hPa", factor=0.01, low=970, high=1040, colormap="Greys_r", label="sea-level pressure"
    ),
    "PRECT": FieldStyle(units="mm day$^{-1}$", factor=MM_PER_DAY, low=0, high=60, label="rain"),
    "IVT": FieldStyle(units="kg m$^{-1}$ s$^{-1}$", low=0, high=1000, label="vapor transport"),
}
"""Fields with a settled look; any other is spread from its 1st to its 99th percentile."""

BACKDROPS = ("TMQ", "IVT", "PRECT", "PSL")
"""Fields that storms are drawn over, the best first."""


def field_style(name: str, values: Any) -> FieldStyle:
    """The look of a field: its own, or one made from its values and the vocabulary."""
    if name in FIELD_STYLES:
        return FIELD_STYLES[name]
    low, high = (float(v) for v in np.nanpercentile(np.asarray(values), [1, 99]))
    variable = VARIABLES[name]
    return FieldStyle(units=variable.units, low=low, high=high, label=variable.long_name)


def backdrop_name(dataset: xr.Dataset) -> str | None:
    """The field of an archive to draw storms over, or None where it has none that fits."""
    return next((name for name in BACKDROPS if name in dataset.data_vars), None)


def time_text(time: Any) -> str:
    """A time to the minute, as 2000-09-01 06:00."""
    return str(time)[:16].replace("T", " ")


def _draw_panel(axes: Any, snapshot: xr.DataArray, extent: Extent, title: str) -> Any:
    """One map of a field; returns the mesh for a colorbar."""
    style = field_style(str(snapshot.name), snapshot.values)
    mesh = draw_field(
        axes,
        snapshot.values * style.factor,
        snapshot["lat"].values,
        snapshot["lon"].values,
        extent,
        cmap=_pale(style.colormap),
        vmin=style.low,
        vmax=style.high,
    )
    draw_frame(axes, extent, title)
    return mesh


def _pale(colormap: str) -> Any:
    """The colormap without its darkest third, so that outlines and coasts stay visible."""
    import matplotlib

    full = matplotlib.colormaps[colormap]
    span = (0.3, 1.0) if colormap.endswith("_r") else (0.0, 0.7)
    return LinearSegmentedColormap.from_list(f"pale_{colormap}", full(np.linspace(*span, 64)))


def compare_figure(
    snapshot: xr.DataArray,
    class_maps: Mapping[str, Any],
    extent: Extent | None = None,
    wind: tuple[Any, Any] | None = None,
    west: float = GLOBAL_WEST_DEG,
) -> Figure:
    """The same moment once for each class map: storms outlined over a field.

    Args:
        snapshot: Field (lat, lon) with a name of the vocabulary and a scalar `time`.
        class_maps: Title of a panel to its class map (H, W) on the field's grid.
        extent: Window; the whole grid by default. A window puts the panels in a row.
        wind: Eastward and northward wind (H, W), m/s, drawn as arrows.
        west: Western edge of a global map, degrees east.
    """
    lat, lon = snapshot["lat"].values, snapshot["lon"].values
    window = extent or extent_of(lat, lon, west)
    num_columns = _num_columns(len(class_maps), is_window=extent is not None)
    num_rows = -(-len(class_maps) // num_columns)
    # One window alone would be taller than a screen at full width.
    width_px = WIDTH_PX * 4 // 7 if extent is not None and num_columns == 1 else WIDTH_PX
    panel_px = width_px * 0.93 / num_columns * height_over_width(window)
    figure = new_figure(round(num_rows * (panel_px + 62) + 140), width_px)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    mesh = None
    for axes, (title, class_map) in zip(grid.flat, class_maps.items(), strict=False):
        mesh = _draw_panel(axes, snapshot, window, title)
        draw_classes(axes, class_map, lat, lon, window)
        if wind is not None:
            draw_wind(axes, *wind, lat, lon, window)
    for axes in list(grid.flat)[len(class_maps) :]:
        axes.set_axis_off()
    style = field_style(str(snapshot.name), snapshot.values)
    add_colorbar(
        figure,
        mesh,
        grid,
        f"{style.label} ({style.units})",
        location="bottom",
        aspect=60,
        shrink=0.6,
        extend="max",
    )
    _head(figure, time_text(snapshot["time"].values))
    return figure


def _num_columns(num_panels: int, *, is_window: bool) -> int:
    """Windows stand in a row; globes stand one below the other, or two by two from four on."""
    if is_window:
        return min(num_panels, 3)
    return 2 if num_panels >= 4 else 1


def _head(figure: Figure, text: str) -> None:
    """A line above all panels: the text at the left, the legend of the classes at the right."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=FONT_SIZE_PT + 2, color=INK)
    figure.legend(
        handles=class_handles(),
        loc="upper right",
        ncols=2,
        frameon=False,
        fontsize=FONT_SIZE_PT,
        labelcolor=INK,
    )


def frequency_figure(
    frequency: xr.DataArray, name: str = "", west: float = GLOBAL_WEST_DEG
) -> Figure:
    """How often each class covers each place: one map a storm class, in percent of the time.

    Args:
        frequency: Share of time (storm_class, lat, lon), 0..1; `storm_class` holds the flags.
        name: Whose class map it is, for the titles.
        west: Western edge of a global map, degrees east.
    """
    lat, lon = frequency["lat"].values, frequency["lon"].values
    extent = extent_of(lat, lon, west)
    storms = [c for c in CLASSES if c.flag != BACKGROUND]
    panel_px = WIDTH_PX * 0.85 * height_over_width(extent)
    figure = new_figure(round(len(storms) * (panel_px + 60)))
    panels = figure.subplots(len(storms), 1, squeeze=False)[:, 0]
    for axes, storm in zip(panels, storms, strict=True):
        percent = 100.0 * frequency.sel(storm_class=storm.flag).values
        ramp = LinearSegmentedColormap.from_list(storm.name, [storm.color + "00", storm.color])
        mesh = draw_field(
            axes,
            np.where(percent > 0, percent, np.nan),
            lat,
            lon,
            extent,
            cmap=ramp,
            vmin=0,
            vmax=_ceiling(percent),
        )
        words = storm.name.replace("_", " ") + "s"
        draw_frame(axes, extent, f"{words[0].upper()}{words[1:]}{name and f', {name}'}")
        add_colorbar(figure, mesh, axes, "share of time (%)", shrink=0.85)
    return figure


def _ceiling(percent: Any) -> float:
    """A round number of percent just above nearly all cells that are ever covered."""
    covered = percent[percent > 0]
    top = float(np.percentile(covered, 99.5)) if covered.size else 1.0
    steps = np.array([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
    return float(steps[min(int(np.searchsorted(steps, top)), steps.size - 1)])
