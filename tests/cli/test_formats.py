"""Every format that a made-up climate can be written in is recognized and told rightly."""

import json
from typing import get_args

import pytest

from exastorm.cli.main import main
from exastorm.cli.synthesize import ArchiveFormat

MISSING = {"era5": ["ZBOT"], "cmip6": ["ZBOT"]}
"""Channels that these archives have no name for."""


@pytest.mark.parametrize("archive_format", get_args(ArchiveFormat))
def test_inspect_tells_what_was_written(archive_format, tmp_path, capsys):
    small = ["--synthesize.height", "24", "--synthesize.width", "36"]
    out = str(tmp_path / "climate")
    times = ["--synthesize.num-snapshots", "8", "--synthesize.start", "2001-02-27"]
    assert main(["synthesize", out, "--format", archive_format, *small, *times]) == 0
    capsys.readouterr()
    assert main(["inspect", f"{out}/archive", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    name = archive_format.removesuffix("-zarr")
    assert found["format"] == name
    assert found["grid"]["num_lat"] == 24
    assert found["grid"]["num_lon"] == 36
    # Eight three-hourly steps from 27 February end at 21 h.
    assert found["times"]["num_times"] == 8
    assert found["times"]["last"].startswith("2001-02-27 21:00")
    assert found["times"]["calendar"] == "noleap"
    assert found["missing"] == MISSING.get(name, [])


def test_skip_bad_leaves_a_torn_file_out_and_lists_it(tmp_path, capsys):
    out = tmp_path / "climate"
    small = ["--synthesize.height", "24", "--synthesize.width", "36"]
    assert main(["synthesize", str(out), *small, "--synthesize.num-snapshots", "16"]) == 0
    last = sorted((out / "archive").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:2000])
    capsys.readouterr()
    assert main(["inspect", str(out / "archive")]) == 2
    assert last.name in capsys.readouterr().err
    assert main(["inspect", str(out / "archive"), "--skip-bad", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Eight three-hourly steps a file: the first day is left.
    assert found["times"]["num_times"] == 8
    assert len(found["bad_files"]) == 1
    assert last.name in found["bad_files"][0]
