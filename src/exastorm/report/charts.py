"""The charts, one function each: training curves, confusion, storms in time, rain by latitude."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from exastorm.report.style import (
    CURVE_COLORS,
    FONT_SIZE_PT,
    INK,
    QUIET,
    SERIES,
    add_legend,
    new_figure,
    style_axes,
    style_chart,
)
from exastorm.storms.results import Census
from exastorm.variables import CLASSES

LINES_AND_MARKERS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""How several sets of class maps are told apart where color already tells the class."""


def training_figure(
    losses: Mapping[str, Sequence[tuple[float, float]]],
    scores: Mapping[str, Sequence[tuple[float, float]]],
) -> Figure:
    """Loss and intersection over union (IoU) as training goes on.

    Args:
        losses: Name of a curve to its (step, loss) points.
        scores: Name of a curve to its (step, IoU) points; the short name of a class gives it the
            color of that class.
    """
    figure = new_figure(520)
    left, right = figure.subplots(1, 2)
    titles = "Loss", "IoU, validation"
    for axes, curves, title in ((left, losses, titles[0]), (right, scores, titles[1])):
        for index, (name, points) in enumerate(curves.items()):
            color = CURVE_COLORS.get(name, SERIES[index % len(SERIES)])
            steps, values = np.array(points, dtype=float).reshape(-1, 2).T
            marker = "o" if len(points) < 40 else None
            axes.plot(steps, values, color=color, linewidth=1.6, marker=marker, ms=4, label=name)
        style_chart(axes, title)
        axes.set_xlabel("training step", color=INK, fontsize=FONT_SIZE_PT)
        axes.margins(x=0.02)
        if curves:
            add_legend(axes)
    left.set_ylim(bottom=0.0)
    right.set_ylim(0.0, 1.0)
    return figure


def confusion_figure(matrix: Any, predicted: str, reference: str) -> Figure:
    """Confusion matrix as a heat map: of each true class, the percent given to each class.

    Args:
        matrix: Counts (K, K); rows are the truth.
        predicted: Whose classes the columns are.
        reference: Whose classes the rows are.
    """
    counts = np.asarray(matrix, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100.0 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = new_figure(620, 1000)
    axes = figure.subplots()
    mesh = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    names = [c.name.replace("_", " ") for c in CLASSES]
    for row, column in np.ndindex(*counts.shape):
        axes.text(
            column,
            row,
            f"{percent[row, column]:.1f} %\n{counts[row, column]:,.0f} cells",
            ha="center",
            va="center",
            fontsize=FONT_SIZE_PT,
            color="white" if percent[row, column] > 55 else INK,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(predicted)
    axes.set_ylabel(reference)
    style_axes(axes)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("share of the row (%)", color=INK, fontsize=FONT_SIZE_PT)
    bar.ax.tick_params(labelsize=FONT_SIZE_PT - 1, colors=INK)
    bar.outline.set_linewidth(0.4)
    return figure


def broken_at_gaps(days: Any, counts: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of a line that is not drawn where snapshots are missing.

    A step of more than twice the median one is a gap; a NaN is put into it.

    Args:
        days: Times (N,), ascending.
        counts: Values (N,).

    Returns:
        Times and values with a point more for each gap.
    """
    days, counts = np.asarray(days, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    steps = np.diff(days)
    gaps = np.flatnonzero(steps > 2.0 * np.median(steps)) + 1 if steps.size else np.array([], int)
    return np.insert(days, gaps, days[gaps]), np.insert(counts, gaps, np.nan)


def counts_figure(censuses: Mapping[str, Census]) -> Figure:
    """Storms a snapshot in time, one panel a class, one line a set of class maps.

    Args:
        censuses: Name of a set of class maps to its census.
    """
    figure = new_figure(620)
    panels = figure.subplots(2, 1, sharex=True)
    origin = min(census.snapshots["time"].iloc[0] for census in censuses.values())
    for axes, storm in zip(panels, CLASSES[1:], strict=True):
        for (name, census), (line, marker) in zip(
            censuses.items(), LINES_AND_MARKERS, strict=False
        ):
            days = [(t - origin).total_seconds() / 86400 for t in census.snapshots["time"]]
            counts = census.snapshots[f"num_{storm.short_name.lower()}"]
            axes.plot(
                *broken_at_gaps(days, counts),
                linestyle=line,
                marker=marker if len(days) < 40 else None,
                ms=4,
                color=storm.color,
                linewidth=1.4,
                label=name,
            )
        style_chart(axes, f"{storm.name.replace('_', ' ')}s a snapshot".capitalize())
        axes.set_ylim(0.0, max(axes.get_ylim()[1], 1.0))
        axes.yaxis.get_major_locator().set_params(integer=True)
        add_legend(axes)
    panels[-1].set_xlabel(f"days since {str(origin)[:16]}")
    return figure


def rain_figure(censuses: Mapping[str, Census]) -> Figure:
    """Rain by latitude: its mean, and the part of it inside each class, one panel a set.

    Args:
        censuses: Name of a set of class maps to its census; those without rain are left out.
    """
    with_rain = {name: census for name, census in censuses.items() if census.has_rain}
    figure = new_figure(560)
    panels = figure.subplots(1, len(with_rain), sharey=True, squeeze=False)[0]
    for axes, (name, census) in zip(panels, with_rain.items(), strict=True):
        bands = census.rain_by_latitude()
        centers = (bands["south_lat_deg"] + bands["north_lat_deg"]) / 2
        height = census.settings.band_deg * 0.86
        rain = bands["rain_mmday"].astype(float)
        start = np.zeros(len(bands))
        for storm in CLASSES[1:]:
            share = bands[f"{storm.short_name.lower()}_rain_share_percent"].astype(float) / 100
            inside = (rain * share).fillna(0.0)
            label = f"in {storm.name.replace('_', ' ')}s"
            axes.barh(centers, inside, height, left=start, color=storm.color, label=label)
            start = start + inside.to_numpy()
        axes.barh(centers, rain - start, height, left=start, color="#CBD2D9", label="elsewhere")
        style_chart(axes, name)
        axes.grid(visible=False)
        axes.grid(axis="x", color="#E4E7EB", linewidth=0.8)
        axes.set_xlabel("mean rain (mm day$^{-1}$)", color=INK, fontsize=FONT_SIZE_PT)
        axes.axhline(0.0, color=QUIET, linewidth=0.6)
    panels[0].set_yticks(range(-90, 91, 30), ["90°S", "60°S", "30°S", "0°", "30°N", "60°N", "90°N"])
    panels[0].set_ylim(-90, 90)
    add_legend(panels[-1], loc="upper right", bbox_to_anchor=(1.0, 1.0), ncols=1)
    return figure
