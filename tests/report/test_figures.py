"""The map figures, looked at as pixels where it matters."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

from exastorm.readers.schema import mock_dataset
from exastorm.report.figures import (
    backdrop_name,
    compare_figure,
    field_style,
    frequency_figure,
    time_text,
)
from exastorm.report.maps import extent_around
from exastorm.report.style import save_png, to_png

DATASET = mock_dataset({"TMQ": 20.0, "PSL": 101000.0, "TS": 280.0}, 37, 72, 1)
SNAPSHOT = DATASET["TMQ"].isel(time=0)
NOTHING = np.zeros((37, 72), np.int8)


def _storms():
    class_map = NOTHING.copy()
    class_map[20:24, 30:36] = 1
    class_map[8:10, 40:60] = 2
    return class_map


def _pixels(figure):
    return imread(io.BytesIO(to_png(figure)))


def _num_pixels(figure, color):
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return int((np.abs(_pixels(figure)[..., :3] - rgb).max(axis=-1) < 0.02).sum())


def test_a_figure_is_1400_pixels_wide_and_shows_every_class_map():
    figure = compare_figure(SNAPSHOT, {"Labels": _storms(), "Network": NOTHING})
    assert _pixels(figure).shape[1] == 1400
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["Labels", "Network"]
    assert figure.get_suptitle() == "2000-01-01 00:00"


def test_outlines_have_the_colors_of_their_classes():
    # The legend shows both colors once, so the storms must add many pixels to that.
    with_storms = compare_figure(SNAPSHOT, {"Labels": _storms()})
    without = compare_figure(SNAPSHOT, {"Labels": NOTHING})
    for color in ("#D55E00", "#0072B2"):
        assert _num_pixels(with_storms, color) > _num_pixels(without, color) + 100


def test_a_window_puts_panels_in_a_row_and_wind_adds_arrows():
    window = extent_around(10.0, 165.0, 40.0, 1.25)
    wind = (np.ones((37, 72)), np.ones((37, 72)))
    maps = {"a": _storms(), "b": _storms(), "c": NOTHING}
    row = compare_figure(SNAPSHOT, maps, window, wind)
    assert row.axes[0].get_gridspec().ncols == 3
    calm = compare_figure(SNAPSHOT, maps, window)
    assert len(row.axes[0].collections) == len(calm.axes[0].collections) + 1
    alone = compare_figure(SNAPSHOT, {"a": _storms()}, window)
    assert _pixels(alone).shape[1] == 800, "one window alone is narrow"


def test_four_globes_stand_two_by_two():
    figure = compare_figure(SNAPSHOT, dict.fromkeys("abcd", NOTHING))
    assert figure.axes[0].get_gridspec().ncols == 2


def test_maps_begin_where_they_are_told_to():
    figure = compare_figure(SNAPSHOT, {"a": NOTHING}, west=-180.0)
    assert figure.axes[0].get_xlim() == (-180.0, 180.0)


def test_colorbar_names_quantity_and_unit():
    figure = compare_figure(DATASET["PSL"].isel(time=0), {"a": NOTHING})
    assert figure.axes[-1].get_xlabel() == "sea-level pressure (hPa)"
    # 101000 Pa are 1010 hPa.
    mesh = figure.axes[0].collections[0]
    assert float(np.mean(mesh.get_array())) == pytest.approx(1010.0)


def test_any_field_of_the_vocabulary_has_a_look():
    style = field_style("TS", np.linspace(250.0, 350.0, 101))
    # 1st and 99th percentile of 101 even steps.
    assert (style.low, style.high, style.units) == (pytest.approx(251.0), pytest.approx(349.0), "K")


def test_the_best_backdrop_is_moisture():
    assert backdrop_name(DATASET) == "TMQ"
    assert backdrop_name(DATASET[["PSL"]]) == "PSL"
    assert backdrop_name(DATASET[["TS"]]) is None


def test_frequency_has_a_map_a_class_in_percent():
    share = np.zeros((2, 37, 72))
    share[0, 20, 30] = 0.04
    frequency = xr.DataArray(
        share,
        dims=("storm_class", "lat", "lon"),
        coords={"storm_class": [1, 2], "lat": SNAPSHOT["lat"], "lon": SNAPSHOT["lon"]},
    )
    figure = frequency_figure(frequency, "network", west=-30.0)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["Tropical cyclones, network", "Atmospheric rivers, network"]
    mesh = figure.axes[0].collections[0]
    assert float(np.nanmax(mesh.get_array())) == pytest.approx(4.0)
    assert mesh.get_clim() == (0.0, 5.0)
    assert figure.axes[0].get_xlim() == (-30.0, 330.0)


def test_times_read_alike_in_any_calendar():
    assert time_text(DATASET["time"].values[0]) == "2000-01-01 00:00"
    assert time_text(np.datetime64("2000-01-01T06:00:00")) == "2000-01-01 06:00"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    paths = [
        save_png(compare_figure(SNAPSHOT, {"a": _storms()}), tmp_path / "new" / f"{n}.png")
        for n in range(2)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
