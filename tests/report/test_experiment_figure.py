"""The page of an experiment says what its rows say."""

import json

import pytest

from exastorm.performance.experiment_results import ResultRow
from exastorm.report.experiment_figure import experiment_figure, experiment_text, spread
from exastorm.report.style import to_png

EMPTY = dict.fromkeys(
    ("parameters", "steps", "samples_seen", "samples_per_s", "mean_iou", "iou_tc", "iou_ar",
     "mean_iou_per_image", "validation_mean_iou", "num_bad_steps", "minutes")
)  # fmt: skip


def row(arm, seed, status="done", batch=2, **figures):
    known = {"experiment": "e", "grid": "24x36", "network": "n", "variant": "v", "version": "1"}
    run = f"{arm}-{seed}"
    return ResultRow(
        arm=arm, seed=seed, batch=batch, status=status, settings=run, run=run,
        **known, **(EMPTY | figures),
    )  # fmt: skip


@pytest.fixture
def rows(tmp_path):
    """Two seeds of one arm, and one of an arm that diverged; with the logs of their runs."""
    rows = [
        row("a", 0, mean_iou=0.5, iou_tc=0.25, minutes=2.0),
        row("a", 1, mean_iou=0.7, minutes=4.0),
        row("b", 0, status="diverged", batch=8),
    ]
    for at, scores in zip(rows, [(0.2, 0.4), (0.4, 0.8), (0.1,)], strict=True):
        (tmp_path / at.run).mkdir()
        lines = [
            json.dumps({"step": 10 * (n + 1), "validation": {"mean_iou": s, "iou": {}}})
            for n, s in enumerate(scores)
        ]
        (tmp_path / at.run / "log.jsonl").write_text("\n".join(lines) + "\n")
    return rows


def test_mean_and_sample_deviation_of_what_there_is():
    # Mean 0.6; deviations of 0.1 either way, squares 0.02 over n - 1 = 1.
    assert spread([0.5, None, 0.7], ".3f") == "0.600 ± 0.141"
    assert spread([0.5], ".1f") == "0.5"
    assert spread([None], ".1f") == "-"


def test_table_has_a_line_an_arm(rows):
    text = experiment_text("name", "Why?", rows, "name.png")
    assert text.startswith("# name\n\nWhy?\n")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.count("|") for line in lines] == [9, 9, 9]
    cells = [cell.strip() for cell in lines[1].split("|")[1:-1]]
    # Minutes 2 and 4: deviation sqrt 2.
    assert cells == ["a", "2", "0.600 ± 0.141", "0.250", "-", "-", "3.0 ± 1.4", "-"]
    assert lines[2].startswith("| b | 0 of 1 | - |")
    assert "Diverged: b, seed 0." in text
    assert "![name](name.png)" in text


def test_curves_are_over_samples_seen_and_dots_are_the_test_scores(rows, tmp_path):
    figure = experiment_figure("Why?", rows, tmp_path)
    left, right = figure.axes
    a, b = left.get_lines()
    # Steps 10 and 20 of 2 samples; means of 0.2 and 0.4, and of 0.4 and 0.8.
    assert a.get_xdata() == pytest.approx([20, 40])
    assert a.get_ydata() == pytest.approx([0.3, 0.6])
    assert b.get_xdata() == pytest.approx([80])
    # A band where there are two seeds.
    (band,) = left.collections
    assert band.get_datalim(left.transData).bounds == pytest.approx((20, 0.2, 20, 0.6))
    dots, mean = right.get_lines()
    assert dots.get_xdata() == pytest.approx([0.5, 0.7])
    assert mean.get_xdata() == pytest.approx([0.6, 0.6])
    assert [t.get_text() for t in right.texts] == ["0.600", "diverged"]
    assert [t.get_text() for t in right.get_yticklabels()] == ["a", "b"]
    assert dots.get_color() == a.get_color() != b.get_color()
    assert to_png(figure).startswith(b"\x89PNG")


def test_runs_that_are_gone_have_no_curve(rows, tmp_path):
    for at in rows:
        (tmp_path / at.run / "log.jsonl").unlink()
    left, right = experiment_figure("Why?", rows, tmp_path).axes
    assert not left.get_lines()
    assert len(right.get_lines()) == 2
