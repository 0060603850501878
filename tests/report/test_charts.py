"""Charts show the figures they are given."""

import json

import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.report.charts import (
    broken_at_gaps,
    confusion_figure,
    counts_figure,
    rain_figure,
    training_figure,
)
from exastorm.report.logs import read_curves
from exastorm.storms.census import take_census


@pytest.fixture(scope="module")
def census():
    archive = mock_dataset({"PRECT": 1e-8}, 19, 36, 3)
    values = np.zeros((3, 19, 36), np.int8)
    values[:, 9, 3] = 1
    values[1:, 9, 9] = 1
    values[2, 3, 10:20] = 2
    maps = xr.Dataset({"class_map": (DIMS, values, CLASS_ATTRS)}, coords=archive.coords)
    return take_census(maps, archive)


def test_counts_in_time(census):
    figure = counts_figure({"labels": census, "network": census})
    cyclones, rivers = figure.axes
    np.testing.assert_array_equal(cyclones.lines[0].get_ydata(), [1, 2, 2])
    np.testing.assert_array_equal(rivers.lines[1].get_ydata(), [0, 0, 1])
    # Three-hourly: an eighth of a day apart.
    np.testing.assert_allclose(cyclones.lines[0].get_xdata(), [0, 0.125, 0.25])
    assert len({line.get_linestyle() for line in cyclones.lines}) == 2


def test_lines_break_where_snapshots_are_missing():
    # Six-hourly with four days missing after the third: one point without a value at the gap.
    days, counts = broken_at_gaps([0, 0.25, 0.5, 4.5, 4.75], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(days, [0, 0.25, 0.5, 4.5, 4.5, 4.75])
    np.testing.assert_array_equal(counts, [1, 2, 3, np.nan, 4, 5])
    assert broken_at_gaps([0.0], [7])[1].tolist() == [7]


def test_rain_bars_add_up_to_the_rain(census):
    figure = rain_figure({"labels": census})
    (axes,) = figure.axes
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(3, -1)
    # 1e-8 m/s are 0.864 mm/day in every band.
    np.testing.assert_allclose(widths.sum(axis=0), 0.864, rtol=1e-6)
    # In the band from 0 to 10 N, 5 of 3 x 36 cells are in cyclones.
    assert widths[0].max() == pytest.approx(0.864 * 5 / 108, rel=1e-6)


def test_confusion_shows_percent_of_the_row():
    figure = confusion_figure([[90, 10, 0], [1, 3, 0], [0, 0, 0]], "network", "labels")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == "90.0 %\n90 cells"
    assert texts[4] == "75.0 %\n3 cells"
    assert texts[8] == "0.0 %\n0 cells", "a class that never occurs"
    assert figure.axes[0].get_ylabel() == "labels"


def test_training_curves_of_a_log(tmp_path):
    lines = [
        {"step": 10, "minutes": 0.1, "loss": 1.5, "learning_rate": 0.1, "samples_per_s": 3.0},
        {"step": 20, "minutes": 0.2, "loss": 1.0, "learning_rate": 0.1, "samples_per_s": 3.0},
        {
            "step": 20,
            "minutes": 0.2,
            "validation": {"mean_iou": 0.5, "iou": {"BG": 0.9, "TC": None, "AR": 0.1}},
        },
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    losses, scores = read_curves(tmp_path)
    assert losses == {"training": [(10.0, 1.5), (20.0, 1.0)]}
    assert scores == {"mean": [(20.0, 0.5)], "BG": [(20.0, 0.9)], "AR": [(20.0, 0.1)]}
    left, right = training_figure(losses, scores).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [1.5, 1.0])
    assert [line.get_label() for line in right.lines] == ["mean", "BG", "AR"]
    assert right.lines[2].get_color() == "#0072B2"


def test_a_run_just_begun_has_empty_curves():
    left, right = training_figure({}, {}).axes
    assert not left.lines
    assert not right.lines


def test_no_log_or_a_torn_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"log.jsonl: no such log"):
        read_curves(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"loss": 2}\n')
    with pytest.raises(InputError, match="line 2 must be a JSON record with a step"):
        read_curves(tmp_path)
