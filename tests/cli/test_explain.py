"""`exastorm explain` as a user runs it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tests.labels.conftest import add_storm, calm, river

from exastorm.cli.explain import parse_place
from exastorm.cli.explain_table import number_text, place_text
from exastorm.cli.main import main
from exastorm.errors import InputError
from exastorm.readers.schema import mock_dataset

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("EXASTORM_REAL_DATA", ROOT.parent / "shared" / "data"))
GFS = REAL / "gfs" / "gfs2p5_2011101100_deepcam_channels.nc"
LAT, LON = np.linspace(-90, 90, 91), np.arange(180) * 2.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A file of one snapshot with a cyclone at 18 S 200 E and a river at 42 N 200 E."""
    drawn = add_storm(calm(LAT, LON), -18.0, 200.0, lat=LAT, lon=LON, peak_deg=2.0, wind=35.0)
    drawn["TMQ"][river(42.0, 200.0, 20.0, lat=LAT, lon=LON)] = 60.0
    path = tmp_path_factory.mktemp("explain") / "one.nc"
    mock_dataset(drawn, LAT.size, LON.size, 1).to_netcdf(path)
    return path


def said(capsys, *argv):
    """Standard output of a command that must succeed."""
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def mistake(capsys, *argv):
    """The one line that a mistake is answered with."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_every_criterion_is_a_row(archive, capsys):
    # A place in the south: its latitude begins as an option does.
    out = said(capsys, "explain", archive, "--time", "2000-01-01", "--at", "-18.5,-160")
    assert "Candidates within 5 degrees of 18.5S 160W on 2000-01-01T00:00" in out
    assert "Tropical cyclones, rule set sc18" in out
    assert "at 18S 160W, 0.5 degrees away: TROPICAL CYCLONE" in out
    (row,) = [line for line in out.splitlines() if "low-level wind" in line]
    *_, value, comparison, threshold, verdict = row.split()
    # 17 m/s become 17 * (1 - 0.00143 * (2 - 0.2708) * 111.195 km) = 12.33 m/s on 2 degrees.
    assert (comparison, threshold, verdict) == (">=", "12.33", "pass")
    assert 30 < float(value) < 36
    assert out.splitlines()[-1] == "Label at 18.5S 160W on 2000-01-01T00:00: tropical cyclone"
    (row,) = [line for line in out.splitlines() if "damped precipitable water" in line]
    assert row.endswith("FAIL"), "no river there"


def test_the_table_fits_the_terminal(archive, capsys, monkeypatch):
    argv = ("explain", archive, "--time", "2000-01-01", "--at=-18,200", "--within", "90")
    for columns, most in (("72", 72), ("400", 100), ("20", 72)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = said(capsys, *argv).splitlines()
        assert max(map(len, lines)) <= most
        rows = [line for line in lines if line.endswith(("pass", "FAIL"))]
        assert len(rows) > 5
        assert max(map(len, rows)) == most
        assert len({len(row) for row in rows}) == 1


def test_rule_sets_have_short_options(archive, capsys):
    argv = ("explain", archive, "--time", "2000-01-01", "--at=-18,200")
    out = said(capsys, *argv, "--tc", "tempest-cam", "--ar=none")
    assert "rule set tempest-cam" in out
    assert "found, but does not count: its track fails" in out
    assert "its track: 1 point, 2000-01-01T00:00 to 2000-01-01T00:00" in out
    assert "atmospheric rivers: left out by the settings" in out
    figures = json.loads(said(capsys, *argv, "--tc=tempest-cam", "--json"))
    (one,) = figures["cyclones"]
    assert one["track"] == {
        "num_points": 1,
        "first_time": "2000-01-01T00:00",
        "last_time": "2000-01-01T00:00",
        "is_whole": True,
    }
    assert not all(check["passed"] for check in one["lasting"])
    strict = said(capsys, *argv, "--label.sc18-cyclones.min-wind-ms", "90")
    assert "FAIL" in strict
    assert "no tropical cyclone" in strict
    assert "rule set teca" in said(capsys, *argv, "--preset", "labels-0")
    told = json.loads(said(capsys, *argv, "--preset", "labels-0", "--json"))
    assert told["notes"]["preset"].startswith("the preset is for grids of 0.2 to 0.35 degrees")


@pytest.mark.real_data
@pytest.mark.skipif(not GFS.exists(), reason="no real fields; set EXASTORM_REAL_DATA")
def test_why_one_of_three_storms_of_a_forecast_is_missed(capsys):
    def nearest(at):
        argv = ("explain", GFS, "--time", "2011-10-11", "--at", at, "--json")
        return json.loads(said(capsys, *argv))["cyclones"][0]

    # Best tracks: Jova 16.8 N 106.2 W, Irwin 15.1 N 116.5 W, Banyan 8.3 N 128.4 E.
    assert nearest("16.8,-106.2")["is_labeled"]
    assert nearest("15.1,-116.5")["is_labeled"]
    missed = nearest("8.3,128.4")
    assert (missed["lat"], missed["lon"]) == (10.0, 130.0)
    failed = [check["criterion"] for check in missed["checks"] if not check["passed"]]
    # The weak typhoon has no warm core at 2.5 degrees; its pressure, vorticity and wind pass.
    assert ["T200" in failed[0], "Z200" in failed[1], len(failed)] == [True, True, 2]


def test_figures_are_json(archive, tmp_path, capsys):
    picture = tmp_path / "new" / "why.png"
    out = said(
        capsys, "explain", archive, "--time", "2000-01-01T00:00", "--at", "42,200",
        "--map", picture, "--json",
    )  # fmt: skip
    figures = json.loads(out)
    assert figures["map"] == str(picture)
    assert figures["class"] == "atmospheric_river"
    assert figures["cyclones"] == []
    (one,) = figures["rivers"]
    assert one["is_labeled"]
    assert {c["comparison"] for c in one["checks"]} == {">", "<"}
    assert imread(picture).shape[1] == 1400


def test_where_nothing_is_near_it_says_so(archive, capsys):
    out = said(capsys, "explain", archive, "--time", "2000-01-01", "--at", "80,20", "--within", "1")
    assert out.count("none near, nor within four times that distance") == 1
    assert "moistest cell" in out, "why no river"
    # Between grid points, 1 degree from the next.
    out = said(
        capsys, "explain", archive, "--time", "2000-01-01", "--at", "1,21", "--within", "0.1"
    )
    assert out.count("none near, nor within four times that distance") == 2
    out = said(capsys, "explain", archive, "--time", "2000-01-01", "--at", "0,200", "--within", "9")
    # The storm is 18 degrees away, the river at 42 N begins some 35 degrees away.
    assert "none near; the nearest, with --within 18:" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--at": "17.5"}, "--at must be LAT,LON in degrees, such as 17.5,-105; got '17.5'"),
        ({"--at": "nan,3"}, "--at must be LAT,LON"),
        ({"--at": "130,9"}, "latitude in [-90, 90], got '130,9'; is it 9,130?"),
        ({"--at": "9,999"}, "longitude in [-180, 360], got '9,999'"),
        ({"--time": "2000-01-02"}, "holds 2000-01-01T00:00 alone"),
        ({"--time": "today"}, "time must be as 2011-10-11T06:00, got 'today'"),
        ({"--within": "0"}, "within must lie in (0, 180] degrees, got 0"),
        ({"--map": "why.jpg"}, "--map must be a .png file, got 'why.jpg'"),
        ({"--tc": "sc19"}, "sc19"),
        ({"--preset": "nothing"}, "'nothing' is unknown"),
    ],
)
def test_mistakes_are_one_line(change, words, archive, capsys):
    options = {"--time": "2000-01-01", "--at": "-18,200"} | change
    argv = [word for pair in options.items() for word in pair]
    assert words in mistake(capsys, "explain", archive, *argv)


def test_a_picture_does_not_go_where_it_must_not(archive, tmp_path, capsys):
    argv = ("explain", archive, "--time", "2000-01-01", "--at", "0,0", "--map")
    (tmp_path / "folder.png").mkdir()
    assert "must be a file, got a folder" in mistake(capsys, *argv, tmp_path / "folder.png")
    (tmp_path / "file").write_text("mine")
    assert "but" in mistake(capsys, *argv, tmp_path / "file" / "x.png")


def test_places_read_and_are_written():
    assert parse_place(" 17.5 , -105 ") == (17.5, -105.0)
    assert parse_place("-9.,+.5") == (-9.0, 0.5)
    with pytest.raises(InputError, match="must begin with a latitude"):
        parse_place("-91,200")
    assert place_text(17.5, 255.0) == "17.5N 105W"
    assert place_text(-0.25, 180.0) == "0.25S 180W"
    assert place_text(0.0, 0.0) == "0N 0E"


def test_numbers_have_four_digits():
    assert [number_text(v) for v in (8.5051e-5, 0.45, 11663.4, np.nan, np.inf)] == [
        "8.505e-05", "0.45", "11663", "missing", "inf",
    ]  # fmt: skip
