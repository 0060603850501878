"""The figure of an explanation: what is drawn where, in which color."""

import cftime
import numpy as np
import pytest
from matplotlib.colors import to_hex

from exastorm.labels.explanation import Explained, Explanation
from exastorm.labels.rule_sets import Check, Verdict
from exastorm.readers.schema import mock_dataset
from exastorm.report.explain_figure import FAILED, FOUND, LABELED, explain_figure
from exastorm.report.style import to_png

SNAPSHOT = mock_dataset(
    {"TMQ": 20.0, "PSL": 101000.0, "U850": 1.0, "V850": 0.0, "U10": 3.0, "V10": 4.0}, 37, 72, 1
).isel(time=0)


def candidate(lat, lon, *, found, labeled):
    verdict = Verdict("pressure minimum", lat, lon, (Check("rise, Pa", 1.0, 2.0, labeled),))
    return Explained(verdict, 1.0, found, labeled)


def told(lon=2.0, **changes):
    """One candidate of each kind around a place near the seam."""
    values = {
        "time": cftime.datetime(2000, 1, 1, calendar="noleap"),
        "lat": 10.0,
        "lon": lon % 360,
        "within_deg": 8.0,
        "rules": {"cyclones": "sc18", "rivers": "sc18"},
        "candidates": {
            "cyclones": (
                candidate(10.0, (lon + 1.0) % 360, found=True, labeled=True),
                candidate(12.0, (lon - 5.0) % 360, found=True, labeled=False),
                candidate(8.0, (lon + 5.0) % 360, found=False, labeled=False),
            ),
            "rivers": (),
        },
        "beyond": {},
        "notes": {},
        "class_map": np.zeros((37, 72), np.int8),
        "class_name": "background",
        "fields": ("PSL", "TMQ", "U850", "V850"),
    }
    return Explanation(**(values | changes))


def marks(axes):
    """Longitude, latitude and color of each mark, the star last."""
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), to_hex(line.get_color()))
        for line in axes.lines
        if line.get_marker() not in ("None", "", None)
    ]


@pytest.mark.parametrize("lon", [2.0, -2.0, 182.0])
def test_marks_are_where_candidates_are_whatever_the_seam(lon):
    cyclones = explain_figure(told(lon), SNAPSHOT).axes[0]
    place = lon % 360
    got = marks(cyclones)
    assert [color for *_, color in got[:3]] == [c.lower() for c in (LABELED, FOUND, FAILED)]
    assert [(round(x - place, 6), y) for x, y, _ in got] == [
        (1.0, 10.0), (-5.0, 12.0), (5.0, 8.0), (0.0, 10.0),
    ]  # fmt: skip
    west, east = cyclones.get_xlim()
    assert all(west < x < east for x, *_ in got)
    assert [text.get_text() for text in cyclones.texts if text.get_clip_on()][:3] == list("123")


def test_each_rule_set_has_its_panel_and_its_field():
    figure = explain_figure(told(), SNAPSHOT)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == [
        "Candidates for tropical cyclones, sc18",
        "Candidates for atmospheric rivers, sc18",
    ]
    labels = [axes.get_xlabel() for axes in figure.axes[2:]]
    assert labels == [
        "cyclonic vorticity at 850 hPa (10$^{-5}$ s$^{-1}$)",
        "precipitable water (kg m$^{-2}$)",
    ]
    only = {"rivers": "sc18"}
    alone = explain_figure(told(rules=only), SNAPSHOT)
    assert alone.axes[0].get_title(loc="left").endswith("rivers, sc18")
    assert len(alone.axes) == 2


def test_without_winds_aloft_the_low_wind_is_shown():
    figure = explain_figure(told(rules={"cyclones": "teca"}), SNAPSHOT.drop_vars("U850"))
    assert figure.axes[1].get_xlabel() == "low-level wind (m s$^{-1}$)"
    # 3 and 4 m/s are 5 m/s.
    mesh = figure.axes[0].collections[0]
    assert float(np.mean(mesh.get_array())) == pytest.approx(5.0)
    bare = SNAPSHOT[["PSL", "TMQ"]]
    assert len(explain_figure(told(rules={"cyclones": "teca"}), bare).axes) == 1


def test_rivers_of_vapor_transport_are_shown_over_it():
    snapshot = SNAPSHOT.assign(IVTX=SNAPSHOT["U10"] * 100, IVTY=SNAPSHOT["V10"] * 100)
    by_parts = told(rules={"rivers": "tempest"}, fields=("IVTX", "IVTY"))
    figure = explain_figure(by_parts, snapshot)
    assert figure.axes[1].get_xlabel().startswith("vapor transport")
    assert float(np.mean(figure.axes[0].collections[0].get_array())) == pytest.approx(500.0)
    stored = snapshot.assign(IVT=SNAPSHOT["U10"] * 50).drop_vars(["IVTX", "IVTY"])
    figure = explain_figure(told(rules={"rivers": "tempest"}, fields=("IVT",)), stored)
    assert float(np.mean(figure.axes[0].collections[0].get_array())) == pytest.approx(150.0)
    # Without water and transport the proxy: 50 m/s of wind at 850 hPa and 0.01 kg/kg make 0.5 m/s.
    humid = SNAPSHOT[["U850", "V850"]] * 0 + 30.0
    humid["V850"] = humid["V850"] + 10.0
    humid["QREFHT"] = humid["V850"] * 0 + 0.01
    fields = ("U850", "V850", "QREFHT")
    figure = explain_figure(told(rules={"rivers": "guan_waliser"}, fields=fields), humid)
    assert float(np.mean(figure.axes[0].collections[0].get_array())) == pytest.approx(0.5)


def test_the_class_map_is_outlined():
    stormy = np.zeros((37, 72), np.int8)
    stormy[19:22, [71, 0, 1]] = 1
    plain, drawn = (
        len(explain_figure(told(class_map=m), SNAPSHOT).axes[0].collections)
        for m in (np.zeros_like(stormy), stormy)
    )
    assert drawn == plain + 2


def test_the_circle_is_as_wide_as_asked_for():
    axes = explain_figure(told(), SNAPSHOT).axes[0]
    (circle,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    lat = np.asarray(circle.get_ydata())
    assert (lat.min(), lat.max()) == (pytest.approx(2.0), pytest.approx(18.0))
    polar = explain_figure(told(lat=86.0), SNAPSHOT).axes[0]
    (circle,) = [line for line in polar.lines if line.get_linestyle() == "--"]
    # Around the pole it goes through all longitudes, with no line across the map.
    lon = np.asarray(circle.get_xdata())
    assert np.abs(lon[-1] - lon[0]) == pytest.approx(360.0)
    assert np.abs(np.diff(lon)).max() < 10.0


def test_missing_values_leave_the_map_bare():
    sloped = SNAPSHOT.copy(deep=True)
    sloped["PSL"].values[:] += 100.0 * SNAPSHOT["lat"].values[:, None]
    empty = sloped.copy(deep=True)
    empty["PSL"].values[:] = np.nan
    empty["U850"].values[:] = np.nan
    with_lines, without = (explain_figure(told(), s) for s in (sloped, empty))
    # 1 hPa a degree: a line every second degree.
    assert len(with_lines.axes[0].collections) == len(without.axes[0].collections) + 1
    assert to_png(without)


def test_the_nearest_beyond_is_marked_where_none_is_near():
    beyond = {"rivers": candidate(10.0, 12.0, found=False, labeled=False)}
    axes = explain_figure(told(beyond=beyond), SNAPSHOT).axes[1]
    assert [color for *_, color in marks(axes)] == [FAILED.lower(), "#1f2933"]
