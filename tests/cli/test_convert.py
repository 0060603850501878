"""`exastorm convert`, there and back, as it is typed."""

import json

from tests.samples.conftest import SETTINGS, random_archive, random_labels

from exastorm.cli.main import main
from exastorm.samples.prepare import prepare_samples


def test_there_and_back(tmp_path, capsys):
    archive = random_archive()
    index = prepare_samples(archive, random_labels(archive), tmp_path / "samples", SETTINGS)
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    assert main(["convert", str(tmp_path / "samples"), there, "--to", "npy"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"wrote {index.num_samples} samples")
    assert "as npy" in line
    assert main(["convert", there, back, "--compression", "lz4", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_samples"] == index.num_samples
    assert figures["compression"] == "lz4"
    assert json.loads((tmp_path / "back" / "index.json").read_text())["version"] == 4
    assert main(["convert", there, back]) == 2
    assert "exists already" in capsys.readouterr().err
