"""One figure: the candidates near a place over the fields that decide about them."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exastorm.labels.explanation import Explained, Explanation
from exastorm.labels.transport import Moisture, moisture_fields, moisture_values
from exastorm.physics.wind import vorticity, wind_speed
from exastorm.report.figures import field_style, time_text
from exastorm.report.maps import (
    Extent,
    add_colorbar,
    class_handles,
    draw_classes,
    draw_field,
    draw_frame,
    extent_around,
    height_over_width,
    unrolled,
)
from exastorm.report.style import FONT_SIZE_PT, INK, PAPER, WIDTH_PX, new_figure

MARGIN_DEG = 6.0
"""Room around the candidates: so far the cells of a cyclone reach."""
ASPECT = 1.25
PRESSURE_STEP_HPA = 2.0
SUPERSCRIPT_SPEED = "m s$^{-1}$"

LABELED, FOUND, FAILED = "#009E73", "#E69F00", "#CC79A7"
"""Colors of candidates, told apart by the color-blind too (Wong 2011, Nature Methods 8)."""
MARKS: dict[str, tuple[str, str, str]] = {
    "labeled": ("o", LABELED, "counts"),
    "found": ("^", FOUND, "found, but does not count"),
    "failed": ("s", FAILED, "fails a criterion"),
}
"""What became of a candidate to its marker, color and words."""
TITLES = {
    "cyclones": "Candidates for tropical cyclones",
    "rivers": "Candidates for atmospheric rivers",
}


class Shade(NamedTuple):
    """What a panel is colored by.

    Attributes:
        values: The field (H, W), in `units`.
        label: What the colorbar says.
        low: Value of the first color.
        high: Value of the last color.
        colormap: Name of a matplotlib colormap.
    """

    values: Any
    label: str
    low: float
    high: float
    colormap: str


def explain_figure(told: Explanation, snapshot: xr.Dataset) -> Figure:
    """Draw an explanation: a panel for cyclones and one for rivers, as far as there are rules.

    Cyclones are shown over vorticity (or wind) with lines of equal pressure, rivers over vapor
    transport where their rule looks at it, else over precipitable water.

    Args:
        told: The explanation.
        snapshot: The archive's fields (lat, lon) of that time.
    """
    window = extent_around(told.lat, told.lon, 2 * (told.within_deg + MARGIN_DEG), ASPECT)
    kinds = list(told.rules)
    width_px = WIDTH_PX if len(kinds) > 1 else WIDTH_PX * 4 // 7
    panel_px = width_px * 0.8 / len(kinds) * height_over_width(window)
    figure = new_figure(round(panel_px + 290), width_px)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        title = f"{TITLES[kind]}, {told.rules[kind]}"
        _draw_panel(axes, told, snapshot, kind, window, title)
    figure.suptitle(
        f"{time_text(told.time)}, within {told.within_deg:g} degrees (dashed) of the star",
        x=0.01, ha="left", fontsize=FONT_SIZE_PT + 2, color=INK,
    )  # fmt: skip
    figure.legend(
        handles=[*_mark_handles(), *class_handles()],
        loc="outside lower center",
        ncols=3 if len(kinds) > 1 else 2,
        frameon=False,
        fontsize=FONT_SIZE_PT,
        labelcolor=INK,
    )
    return figure


def _draw_panel(
    axes: Any, told: Explanation, snapshot: xr.Dataset, kind: str, window: Extent, title: str
) -> None:
    """The field, the class map, the candidates and the place."""
    lat, lon = snapshot["lat"].values, snapshot["lon"].values
    shade = _turning(snapshot) if kind == "cyclones" else _moisture(snapshot, told.fields)
    if shade is not None:
        mesh = draw_field(
            axes,
            shade.values,
            lat,
            lon,
            window,
            cmap=_pale(shade.colormap),
            vmin=shade.low,
            vmax=shade.high,
        )
        add_colorbar(
            axes.figure, mesh, axes, shade.label, location="bottom", shrink=0.8, extend="max"
        )
    if "PSL" in snapshot and kind == "cyclones":
        _draw_pressure(axes, snapshot["PSL"].values, lat, lon, window)
    draw_classes(axes, told.class_map, lat, lon, window, fill_alpha=0.15)
    draw_frame(axes, window, title)
    _draw_circle(axes, told, window)
    _draw_marks(axes, told, kind, window)


def _turning(snapshot: xr.Dataset) -> Shade | None:
    """Cyclonic vorticity at 850 hPa; without it a low-level wind; None without either."""
    if {"U850", "V850"} <= set(snapshot):
        lat, lon = snapshot["lat"].values, snapshot["lon"].values
        turning = vorticity(snapshot["U850"].values, snapshot["V850"].values, lat, lon)
        turning = 1e5 * turning * np.sign(lat)[:, None]
        return Shade(turning, "cyclonic vorticity at 850 hPa (10$^{-5}$ s$^{-1}$)", 0, 25, "YlOrRd")
    for u, v in (("U10", "V10"), ("UBOT", "VBOT")):
        if {u, v} <= set(snapshot):
            speed = wind_speed(snapshot[u].values, snapshot[v].values)
            return Shade(speed, f"low-level wind ({SUPERSCRIPT_SPEED})", 0, 40, "YlOrRd")
    return None


def _moisture(snapshot: xr.Dataset, fields: tuple[str, ...]) -> Shade:
    """What the rule for rivers looks at."""
    there = {name: snapshot[name].values for name in fields if name in snapshot}
    name, values = "TMQ", there.get("TMQ")
    if values is None or moisture_fields(set(there), "IVT"):
        known: tuple[Moisture, ...] = ("IVT", "QV850")
        name = next(m for m in known if moisture_fields(set(there), m))
        values = moisture_values(there, name)
    style = field_style(name, values)
    assert style.low is not None, "both have a settled look"
    assert style.high is not None, "both have a settled look"
    return Shade(values, f"{style.label} ({style.units})", style.low, style.high, "YlGnBu")


def _pale(colormap: str) -> Any:
    """The lighter part of a colormap, over which marks and outlines stay visible."""
    import matplotlib

    colors = matplotlib.colormaps[colormap](np.linspace(0.0, 0.75, 64))
    colors[0] = (1.0, 1.0, 1.0, 1.0)
    return LinearSegmentedColormap.from_list(f"pale_{colormap}", colors)


def _draw_pressure(axes: Any, pressure_pa: Any, lat: Any, lon: Any, window: Extent) -> None:
    """Lines of equal sea-level pressure, labeled in hPa."""
    shown_lon, columns = unrolled(lon, window)
    pressure = np.asarray(pressure_pa)[:, columns] / 100.0
    rows = (lat >= window.south - 1) & (lat <= window.north + 1)
    inside = (shown_lon >= window.west - 1) & (shown_lon <= window.east + 1)
    seen = pressure[np.ix_(rows, inside)]
    if not np.isfinite(seen).any():
        return
    step = PRESSURE_STEP_HPA
    low, high = np.floor(np.nanmin(seen) / step), np.ceil(np.nanmax(seen) / step)
    levels = step * np.arange(low, high + 1)
    lines = axes.contour(
        shown_lon, lat, pressure, levels=levels, colors=[INK], linewidths=0.6, zorder=2
    )
    axes.clabel(lines, levels[::2], fmt="%d", fontsize=FONT_SIZE_PT - 3)


def _draw_marks(axes: Any, told: Explanation, kind: str, window: Extent) -> None:
    """The candidates with the numbers that the table gives them, and the place as a star."""
    beyond = told.beyond.get(kind)
    near = told.candidates[kind] or (() if beyond is None else (beyond,))
    for number, one in enumerate(near, start=1):
        marker, color, _ = MARKS[_state(one)]
        x, y = _x(one.verdict.lon, window), one.verdict.lat
        axes.plot(x, y, marker=marker, markersize=15, color=color, mec=PAPER, zorder=8)
        axes.text(
            x,
            y,
            str(number),
            ha="center",
            va="center",
            fontsize=FONT_SIZE_PT - 2,
            color=INK,
            zorder=9,
            clip_on=True,
        )
    axes.plot(
        _x(told.lon, window), told.lat, marker="*", markersize=15, color=INK,
        markeredgecolor=PAPER, zorder=7,
    )  # fmt: skip


def _draw_circle(axes: Any, told: Explanation, window: Extent) -> None:
    """How far candidates are asked for, a circle on the sphere."""
    bearing = np.linspace(0.0, 2 * np.pi, 181)
    lat, away = np.deg2rad(told.lat), np.deg2rad(told.within_deg)
    sine = np.sin(lat) * np.cos(away) + np.cos(lat) * np.sin(away) * np.cos(bearing)
    east = np.sin(bearing) * np.sin(away) * np.cos(lat)
    lon = np.degrees(np.arctan2(east, np.cos(away) - np.sin(lat) * sine))
    x, y = _x(told.lon, window) + lon, np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    axes.plot(x, y, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=6)


def _state(one: Explained) -> str:
    """What became of a candidate, as a key of `MARKS`."""
    if one.is_labeled:
        return "labeled"
    return "found" if one.is_found else "failed"


def _x(lon: float, window: Extent) -> float:
    """A longitude as the map counts it, which may be below 0 or beyond 360."""
    middle = (window.west + window.east) / 2
    return middle + (lon - middle + 180.0) % 360.0 - 180.0


def _mark_handles() -> list[Any]:
    """Legend handles of the marks."""
    return [
        Line2D(
            [], [], linestyle="", marker=marker, color=color, markeredgecolor=PAPER,
            markersize=9, label=words,
        )
        for marker, color, words in MARKS.values()
    ]  # fmt: skip
