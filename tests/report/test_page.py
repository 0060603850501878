"""The page: everything inside it, everything escaped, and the right storms on it."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.report.demo import write_demo_page
from exastorm.report.page import Details, Heading, Paragraph, Picture, Table, Tiles, write_page
from exastorm.report.run import report_run
from exastorm.report.scenes import choose_moment, close_up_scenes
from exastorm.report.settings import ReportSettings
from exastorm.report.style import new_figure, to_png
from exastorm.storms.census import take_census
from exastorm.storms.compare import compare_class_maps
from exastorm.storms.settings import CensusSettings


class Outline(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not close."""

    VOID = ("meta", "img", "link", "br", "hr")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.attributes = [], [], [], []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _outline(path):
    return Outline(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def archive():
    fields = {"TMQ": 20.0, "PSL": np.full((4, 37, 72), 101000.0), "PRECT": 1e-8}
    fields["PSL"][2, 22, 32] = 95000.0
    dataset = mock_dataset({**fields, "U850": 5.0, "V850": 1.0}, 37, 72, 4)
    return dataset.assign_attrs(source="/data/climate <1>.nc")


@pytest.fixture(scope="module")
def maps(archive):
    values = np.zeros((4, 37, 72), np.int8)
    values[:, 21:24, 31:34] = 1
    values[3, 12, 50] = 1
    values[1, 8:10, 66:72] = 2
    values[1, 8:10, :4] = 2
    return xr.Dataset({"class_map": (DIMS, values, CLASS_ATTRS)}, coords=archive.coords)


def test_blocks_and_escaping(tmp_path):
    picture = Picture("dot", to_png(new_figure(50, 60)), 'a "small" <dot>')
    blocks = [
        Heading("A & B"),
        Paragraph("<script>alert(1)</script>"),
        Tiles([("0.5", "<b>")]),
        Table(["", "x"], [["<i>", "1"]], "caption"),
        picture,
        Details("more", "a < b"),
    ]
    out = write_page(tmp_path / "page.html", "T <1>", "lead", blocks, "end")
    outline = _outline(out)
    assert "script" not in outline.tags
    assert "i" not in outline.tags
    text = " ".join(outline.text)
    assert "<script>alert(1)</script>" in text
    assert "T <1>" in text
    (source,) = [v for tag, name, v in outline.attributes if (tag, name) == ("img", "src")]
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == picture.png
    assert (tmp_path / "figures" / "dot.png").read_bytes() == picture.png
    assert 'class="narrow"' in out.read_text()


def test_a_page_needs_nothing_from_outside(archive, maps, tmp_path):
    out = report_run(tmp_path, archive, {"labels": maps})
    outline = _outline(out)
    assert not {"script", "link", "iframe"} & set(outline.tags)
    for tag, name, value in outline.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:"), f"{tag} {name} {value[:40]}"
    assert "url(" not in out.read_text()
    assert all(v for tag, name, v in outline.attributes if (tag, name) == ("img", "alt"))


def test_a_report_says_what_it_shows(archive, maps, tmp_path):
    out = report_run(tmp_path, archive, {"labels": maps})
    text = " ".join(_outline(out).text)
    assert "Storms in climate <1>.nc" in text
    assert "4 snapshots on 37 x 72 points, 2000-01-01 00:00 to 2000-01-01 09:00" in text
    assert "labels: 2 tropical cyclones and 1 atmospheric river." in text
    # The last time has two cyclones, the others one; the deepest is at the third.
    assert "2000-01-01 09:00, the time with the most storms" in text
    assert "2000-01-01 06:00: the deepest tropical cyclone, 950 hPa" in text
    assert "How they agree" not in text, "there is nothing to compare with"
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"map.png", "close_up_cyclone.png", "close_up_river.png", "frequency.png"} <= names


def test_settings_of_a_report_take_effect(archive, maps, tmp_path):
    settings = ReportSettings(
        title="My storms", backdrop="PSL", moment="2000-01-01 03:00", close_ups=False, west_deg=-180
    )
    other = report_run(tmp_path / "other", archive, {"labels": maps}, settings=settings)
    report_run(tmp_path / "usual", archive, {"labels": maps})
    text = " ".join(_outline(other).text)
    assert "My storms" in text
    assert "2000-01-01 03:00. Orange outlines" in text
    assert "close_up_cyclone.png" not in {p.name for p in (tmp_path / "other/figures").iterdir()}
    for name in ("map.png", "frequency.png"):
        pictures = [
            (tmp_path / kind / "figures" / name).read_bytes() for kind in ("usual", "other")
        ]
        assert pictures[0] != pictures[1]


def test_class_maps_are_compared_and_counted_by_the_settings_given(archive, maps, tmp_path):
    settings = CensusSettings(min_area_km2=1e6)
    out = report_run(tmp_path, archive, {"network": maps, "labels": maps}, census_settings=settings)
    html = out.read_text()
    assert "network against labels" in html
    assert re.search(r"<td>network against labels</td><td>1\.000</td>", html)
    # The lone cell of the last time is smaller than a million square kilometers.
    assert "network: 1 tropical cyclone and 1 atmospheric river" in " ".join(Outline(html).text)


def test_a_training_run_is_shown(archive, maps, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n')
    (run / "settings.yaml").write_text("steps: 2\n")
    out = report_run(tmp_path / "page", archive, {"network": maps}, run=run)
    text = " ".join(_outline(out).text)
    assert "Training" in text
    assert "steps: 2" in text


def test_a_single_snapshot_has_no_curves(archive, maps, tmp_path):
    out = report_run(tmp_path, archive.isel(time=[1]), {"labels": maps})
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert not {"counts.png", "frequency.png"} & names
    assert "1 snapshot on" in " ".join(_outline(out).text)


def test_reports_that_cannot_be(archive, maps, tmp_path):
    with pytest.raises(InputError, match="at least one set of class maps"):
        report_run(tmp_path, archive, {})
    later = maps.assign_coords(time=mock_dataset({"TS": 1.0}, 2, 2, 4, start="2001-01-01")["time"])
    with pytest.raises(InputError, match="must share times"):
        report_run(tmp_path, archive, {"labels": later})
    with pytest.raises(InputError, match="maps need a field to draw storms over, got no TMQ, IVT"):
        report_run(tmp_path, archive[["U850", "V850"]], {"labels": maps})
    with pytest.raises(InputError, match="got no IVT"):
        report_run(tmp_path, archive, {"labels": maps}, settings=ReportSettings(backdrop="IVT"))
    with pytest.raises(InputError, match="moment must be one of 2000-01-01 00:00:00"):
        report_run(tmp_path, archive, {"labels": maps}, settings=ReportSettings(moment="1999"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"backdrop": "CAPE"}, "backdrop must be a field of the vocabulary"),
        ({"west_deg": 400.0}, r"west_deg must lie in \[-360, 360\], got 400"),
    ],
)
def test_wrong_settings_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ReportSettings(**option)


def test_scenes(archive, maps):
    census = take_census(maps, archive)
    times = archive["time"].values
    assert choose_moment(census, times) == times[3]
    assert choose_moment(census, times[:3]) == times[1], "as many cyclones, but a river as well"
    cyclone, river = close_up_scenes(census, times)
    assert cyclone.time == times[2]
    # The river lies across Greenwich, from 327.5 E to 17.5 E: its window is around 352.5 E.
    assert (river.extent.west + river.extent.east) / 2 == pytest.approx(352.5)
    assert river.time == times[1]
    bare = take_census(maps)
    assert "largest tropical cyclone" in close_up_scenes(bare, times)[0].words


def test_without_storms_there_is_a_page_all_the_same(archive, maps, tmp_path):
    nothing = maps.assign(class_map=maps["class_map"] * np.int8(0))
    out = report_run(tmp_path, archive, {"labels": nothing})
    assert "0 tropical cyclones and 0 atmospheric rivers" in " ".join(_outline(out).text)


def test_demo_page(archive, maps, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    census = take_census(maps, archive)
    same = compare_class_maps(maps, maps)
    figures = {
        "network_vs_labels": same,
        "baseline_vs_labels": {**same, "mean_iou": 0.123},
        "network_vs_truth": {**same, "mean_iou": 0.456},
        "heuristic_vs_truth": same,
    }
    out = write_demo_page(
        tmp_path,
        json.loads(json.dumps(figures)),
        archive,
        {"network": maps, "heuristic": maps, "truth": maps},
        census,
    )
    assert out == tmp_path / "index.html"
    text = " ".join(_outline(out).text)
    for expected in ("0.123", "0.456", "Known truth", "logistic regression against", "4 snapshots"):
        assert expected in text
