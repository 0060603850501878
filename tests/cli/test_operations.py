"""`exastorm operations` as a user runs it."""

import json

import pytest

from exastorm.cli.main import main
from exastorm.cli.operations import stage_of
from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.record import ModelRecord, save_model

SMALL = ["--preset", "compact", "--height", "48", "--width", "72"]


def figures(capsys, *argv):
    """The JSON of a count that must succeed."""
    code = main(["operations", *argv, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def test_the_papers_deeplab(capsys):
    counted = figures(capsys, "deeplabv3plus", "--variant", "paper")
    assert counted["training_tflop_dense"] == pytest.approx(13.0242, rel=1e-5)
    assert counted["training_tflop_paper"] == pytest.approx(14.4103, rel=1e-5)
    assert counted["parameters"] == 43_669_251
    layers = counted["layers"]
    assert sum(row["forward_operations"] for row in layers) / 1e12 == counted["forward_tflop"]
    assert sum(row["parameters"] for row in layers) == counted["parameters"]
    assert (counted["grid"], counted["num_channels"]) == ([768, 1152], 16)


def test_every_option_changes_the_count(capsys):
    def key(*options):
        counted = figures(capsys, "tiramisu", *SMALL, *options)
        return counted["forward_tflop"], counted["parameters"]

    plain = key()
    for option in (
        ["--variant", "paper"],
        ["--channels", "4"],
        ["--classes", "5"],
        ["--filters", "24"],
        ["--preset", "half"],
        ["--height", "96"],
        ["--width", "144"],
    ):
        assert key(*option) != plain, option


def test_the_table_ends_with_its_total(capsys):
    assert main(["operations", "deeplabv3plus", *SMALL]) == 0
    by_stage = capsys.readouterr().out
    assert main(["operations", "deeplabv3plus", *SMALL, "--layers"]) == 0
    by_layer = capsys.readouterr().out
    (total,) = [line for line in by_stage.splitlines() if line.startswith("total")]
    assert total.split()[1:] in [
        line.split()[1:] for line in by_layer.splitlines() if line.startswith("total")
    ]
    assert len(by_layer.splitlines()) > 2 * len(by_stage.splitlines())
    assert "One sample of 16 x 48 x 72" in by_stage
    assert "3 x forward" in by_stage


def test_stages():
    assert stage_of("classifier") == "classifier"
    assert stage_of("first.0") == "first"
    assert stage_of("down.0.1") == "down.0"
    assert stage_of("down_blocks.2.layers.0.0.0") == "down_blocks.2"
    assert stage_of("encoder.blocks.1.0.reduce.0") == "encoder.blocks.1"
    assert stage_of("pyramid.branches.2") == "pyramid.branches"


@pytest.fixture
def run(tmp_path):
    """A run folder with a network of two channels on 24 x 36."""
    settings = NetworkSettings(name="tiramisu", preset="compact")
    record = ModelRecord(
        channels=("TMQ", "U850"), units=("kg m-2", "m s-1"), normalization="zscore",
        shift=(0.0, 0.0), scale=(1.0, 1.0), mean=(0.0, 0.0), std=(1.0, 1.0),
        classes=("background", "TC", "AR"),
        lat=tuple(-86.25 + 7.5 * i for i in range(24)), lon=tuple(10.0 * i for i in range(36)),
        network=settings, decision_bias=(0.0, 0.0, 0.0),
    )  # fmt: skip
    save_model(tmp_path / "model.safetensors", build_network(settings, 2, 3, 36), record)
    return str(tmp_path)


def test_a_run_says_what_it_is(run, capsys):
    counted = figures(capsys, run)
    assert (counted["network"], counted["preset"]) == ("tiramisu", "compact")
    assert (counted["num_channels"], counted["grid"]) == (2, [24, 36])
    wider = figures(capsys, run, "--width", "72")
    assert wider["grid"] == [24, 72]
    assert main(["operations", run, "--channels", "3"]) == 2
    assert "--channels can't be given with a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["tiramissu"], "did you mean 'tiramisu'"),
        (["no-such-run"], "no such model file"),
        (["tiramisu", "--channels", "0"], "--channels must be at least 1, got 0"),
        (["tiramisu", "--filters", "0"], "--filters must be at least 1, got 0"),
        (["deeplabv3plus", "--filters", "8"], "--filters must be empty but for tiramisu"),
        (["tiramisu", "--variant", "new"], "invalid choice 'new'"),
        (["tiramisu", "--height", "-1"], "--height must be at least 1, got -1"),
    ],
)
def test_mistakes_are_one_line_and_code_2(argv, words, capsys):
    assert main(["operations", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
