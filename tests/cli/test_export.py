"""`exastorm export` as a user runs it."""

import json

import pytest
import torch

from exastorm.cli.main import main
from exastorm.networks.build import NetworkSettings
from exastorm.networks.record import ModelRecord, save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a network of one channel on 16 x 32."""
    folder = tmp_path_factory.mktemp("run")
    record = ModelRecord(
        channels=("TMQ",), units=("kg m-2",), normalization="zscore",
        shift=(20.0,), scale=(15.0,), mean=(20.0,), std=(15.0,),
        classes=("background", "TC", "AR"),
        lat=tuple(range(16)), lon=tuple(range(32)),
        network=NetworkSettings(name="tiramisu", variant="paper"), decision_bias=(0.0, 0.0, 0.0),
    )  # fmt: skip
    save_model(folder / "model.safetensors", record.build(), record)
    return folder


def test_export_says_what_goes_in_and_out(run, tmp_path, capsys):
    out = tmp_path / "m.pt2"
    assert main(["export", str(run), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "fields  float32 (batch, 1, 16, 32): TMQ (kg m-2)" in said
    assert "logits  float32 (batch, 3, 16, 32): background, TC, AR" in said
    assert out.exists()
    sized = ["--height", "32", "--width", "48", "--json"]
    assert main(["export", str(run), "--out", str(out), *sized]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["grid"] == [32, 48]
    assert figures["num_bytes"] == out.stat().st_size
    with torch.no_grad():
        assert torch.export.load(out).module()(torch.zeros(2, 1, 32, 48)).shape == (2, 3, 32, 48)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-run", "--out", "m.pt2"], "no such model file"),
        (["RUN", "--out", "m.pt"], "must end in .pt2 or .onnx"),
        (["RUN", "--out", "no-such-folder/m.pt2"], "must be a file in a folder that exists"),
        (["RUN", "--out", "m.pt2", "--width", "0"], "--width must be at least 1, got 0"),
        (["RUN"], "--out"),
    ],
)
def test_mistakes_are_one_line_and_code_2(argv, words, run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *[str(run) if word == "RUN" else word for word in argv]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert list(tmp_path.iterdir()) == []
