"""The answer of an experiment: a table of its arms and a figure of how they learned.

The mean and the sample standard deviation are over seeds, which change the first weights, the
order of the samples and the rolls, but not the data.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from exastorm.performance.experiment_results import DONE, ResultRow
from exastorm.report.logs import LOG_NAME, Curve, read_curves
from exastorm.report.style import FONT_SIZE_PT, INK, QUIET, new_figure, style_chart

ARM_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A6D3B",
)  # fmt: skip
"""Colors of arms: those of Wong 2011 (Nature Methods 8) but yellow, which is faint on white."""

NARROWEST_SCALE = 0.05
"""Least range of the scale of test scores, IoU: smaller differences shall look small."""

COLUMNS: tuple[tuple[str, Callable[[ResultRow], float | None], str], ...] = (
    ("mean IoU", lambda row: row.mean_iou, ".3f"),
    ("IoU TC", lambda row: row.iou_tc, ".3f"),
    ("IoU AR", lambda row: row.iou_ar, ".3f"),
    ("mean IoU per image", lambda row: row.mean_iou_per_image, ".3f"),
    ("minutes", lambda row: row.minutes, ".1f"),
)
"""Title, value of a row, and form of its numbers, of each column that has mean and spread."""


def by_arm(rows: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
    """The rows of each arm, arms in the order in which they first come."""
    arms: dict[str, list[ResultRow]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(row)
    return arms


def experiment_text(name: str, question: str, rows: Sequence[ResultRow], picture: str) -> str:
    """A page in Markdown: question, table, picture.

    Args:
        name: Name of the experiment.
        question: What it asks.
        rows: Its results.
        picture: Path of the picture, as seen from the page.
    """
    titles = ["arm", "seeds", *(title for title, _, _ in COLUMNS), "samples/s"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * (len(titles) - 1)}"]
    for arm, own in by_arm(rows).items():
        done = [row for row in own if row.status == DONE]
        seeds = f"{len(done)}" if len(done) == len(own) else f"{len(done)} of {len(own)}"
        cells = [spread(list(map(value, done)), form) for _, value, form in COLUMNS]
        speed = spread([row.samples_per_s for row in done], ".1f")
        lines.append(f"| {arm} | {seeds} | {' | '.join(cells)} | {speed} |")
    diverged = [f"{r.arm}, seed {r.seed}" for r in rows if r.status != DONE]
    notes = [f"Diverged: {'; '.join(diverged)}.", ""] if diverged else []
    about = (
        f"{rows[0].grid.replace('x', ' x ')}; scores on held-out time blocks: mean ± standard "
        "deviation over seeds."
    )
    parts = [f"# {name}", "", question, "", about, "", *lines, "", *notes]
    return "\n".join([*parts, f"![{name}]({picture})", ""])


def spread(values: Sequence[float | None], form: str) -> str:
    """Mean and standard deviation of those values that there are, or the one value."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):{form}}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):{form}}"


def validation_curve(run: Path, batch: int) -> Curve:
    """Mean IoU on the validation split over samples seen, of one run; empty if it is gone."""
    if not (run / LOG_NAME).is_file():
        return []
    scores = read_curves(run)[1]
    return [(step * batch, value) for step, value in scores.get("mean", [])]


def experiment_figure(question: str, rows: Sequence[ResultRow], out: Path) -> Figure:
    """How the arms learned, and what they scored in the end.

    Left: mean IoU on the validation split over samples seen, the mean over seeds and the range
    between the lowest and the highest. Right: mean IoU on the test split, a dot each seed.

    Args:
        question: What the experiment asks.
        rows: Its results.
        out: The folder in which their runs are.
    """
    arms = by_arm(rows)
    figure = new_figure(max(560, 200 + 62 * len(arms)))
    figure.suptitle(
        question, x=0.01, ha="left", fontsize=FONT_SIZE_PT + 2, fontweight="bold", color=INK
    )
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    colors = {arm: ARM_COLORS[n % len(ARM_COLORS)] for n, arm in enumerate(arms)}
    dashes = {arm: ("-", "--", ":")[n // len(ARM_COLORS) % 3] for n, arm in enumerate(arms)}
    for arm, own in arms.items():
        curves = [validation_curve(out / row.run, row.batch) for row in own]
        _draw_curves(left, [c for c in curves if c], colors[arm], dashes[arm])
    style_chart(left, "Validation: mean and range over seeds")
    left.set_xlabel("samples seen", color=INK, fontsize=FONT_SIZE_PT)
    left.set_ylabel("mean IoU", color=INK, fontsize=FONT_SIZE_PT)
    left.set_xlim(left=0)
    _draw_scores(right, arms, colors)
    return figure


def _draw_curves(axes: Any, curves: list[Curve], color: str, dashes: str) -> None:
    """The curves of the seeds of one arm, as their mean and range where all have a point."""
    if not curves:
        return
    shared = sorted(set.intersection(*(set(dict(curve)) for curve in curves)))
    values = np.array([[dict(curve)[x] for x in shared] for curve in curves])
    axes.plot(shared, values.mean(axis=0), dashes, color=color, linewidth=1.8, marker="o", ms=3)
    if len(curves) > 1:
        lowest, highest = values.min(axis=0), values.max(axis=0)
        axes.fill_between(shared, lowest, highest, color=color, alpha=0.15, linewidth=0)


def _draw_scores(
    axes: Any, arms: Mapping[str, Sequence[ResultRow]], colors: Mapping[str, str]
) -> None:
    """A dot for each seed and a bar at their mean, one line an arm; names are the legend."""
    for place, (arm, own) in enumerate(arms.items()):
        scores = [row.mean_iou for row in own if row.mean_iou is not None]
        if not scores:
            axes.annotate(
                "diverged", (0.02, place), xycoords=("axes fraction", "data"), va="center",
                fontsize=FONT_SIZE_PT - 1, color=QUIET,
            )  # fmt: skip
            continue
        mean = statistics.fmean(scores)
        axes.plot(scores, [place] * len(scores), "o", color=colors[arm], alpha=0.75, ms=6)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colors[arm], linewidth=2.2)
        axes.annotate(
            f"{mean:.3f}", (mean, place - 0.33), ha="center", va="bottom",
            fontsize=FONT_SIZE_PT - 2, color=INK,
        )  # fmt: skip
    style_chart(axes, "Test: each seed, and mean")
    axes.set_yticks(range(len(arms)), list(arms))
    for label, arm in zip(axes.get_yticklabels(), arms, strict=True):
        label.set_color(colors[arm])
        label.set_fontweight("bold")
    # One arm alone is drawn no larger than three are.
    axes.set_ylim(max(len(arms), 3) - 0.5, -0.7)
    low, high = axes.get_xlim()
    widen = 0.5 * max(0.0, NARROWEST_SCALE - (high - low)) + 0.1 * (high - low)
    axes.set_xlim(low - widen, high + widen)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#E4E7EB", linewidth=0.8)
    axes.set_xlabel("mean IoU", color=INK, fontsize=FONT_SIZE_PT)
