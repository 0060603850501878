"""The look that all figures share: sizes, fonts, colors, and how a figure becomes a PNG.

Figures are plain matplotlib `Figure` objects drawn by Agg, so that no window, no display and no
state of a session is needed. All are 1400 pixels wide, which a page shows at full width on a
laptop, with text that stays legible when a phone scales it down.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from exastorm.variables import BACKGROUND, CLASSES

WIDTH_PX = 1400
DPI = 140
FONT_SIZE_PT = 10
INK = "#1F2933"
"""Text and axes."""
QUIET = "#7B8794"
"""Ticks, grid lines, second-rank text."""
PAPER = "#FFFFFF"
SERIES = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colors of curves, told apart by the color-blind too (Wong 2011, Nature Methods 8)."""
CLASS_COLORS = {c.flag: c.color for c in CLASSES}
CURVE_COLORS = {"mean": INK} | {
    c.short_name: c.color if c.flag != BACKGROUND else "#9AA5B1" for c in CLASSES
}
"""Colors of curves that belong to a class, or to all of them."""


def new_figure(height_px: int, width_px: int = WIDTH_PX) -> Figure:
    """An empty figure whose parts are spaced by the constrained layout."""
    figure = Figure(
        figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor=PAPER, layout="constrained"
    )
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Any, title: str = "") -> None:
    """Quiet axes with a bold title at the left."""
    axes.set_facecolor(PAPER)
    axes.tick_params(colors=INK, labelsize=FONT_SIZE_PT - 1, length=3, width=0.6, color=QUIET)
    for spine in axes.spines.values():
        spine.set_color(QUIET)
        spine.set_linewidth(0.6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(FONT_SIZE_PT)
    if title:
        axes.set_title(title, loc="left", fontsize=FONT_SIZE_PT + 1, fontweight="bold", color=INK)


def style_chart(axes: Any, title: str = "") -> None:
    """Axes of a chart: no box, faint horizontal lines behind the data."""
    style_axes(axes, title)
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.grid(axis="y", color="#E4E7EB", linewidth=0.8)
    axes.set_axisbelow(True)


def add_legend(axes: Any, **options: Any) -> None:
    """A legend without a box; in one row above the axes, at the right, unless told where."""
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.98), "ncols": 8, "borderpad": 0.2}
    axes.legend(frameon=False, fontsize=FONT_SIZE_PT - 1, labelcolor=INK, **(where | options))


def to_png(figure: Figure) -> bytes:
    """The figure as bytes of a PNG, 1400 pixels wide unless made otherwise."""
    buffer = io.BytesIO()
    # Without the software version in it, the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: Figure, out: str | Path) -> Path:
    """Write the figure as a PNG; returns its path."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(to_png(figure))
    return out
