"""`exastorm launch` as a user runs it."""

import json
from pathlib import Path

import pytest
from tests.train.conftest import make_samples

import exastorm
from exastorm.cli import launch
from exastorm.cli.launch import command_of
from exastorm.cli.main import main
from exastorm.cli.train import Train
from exastorm.networks.record import load_model

TINY = [
    "--train.num-steps", "2", "--train.schedule.warmup-steps", "0", "--train.batch-size", "2",
    "--train.compute.device", "cpu", "--train.compute.num-threads", "1",
    "--train.exchange.allreduce.kind", "flat",
]  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return make_samples(tmp_path_factory.mktemp("launch") / "s")


@pytest.fixture
def no_ranks(monkeypatch):
    """Nothing may be started."""

    def start(*_):
        raise AssertionError("ranks were started")

    monkeypatch.setattr(launch, "Supervisor", start)


def mistake(capsys, *argv):
    """The one line that a mistake is answered with."""
    assert main(["launch", *map(str, argv)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("exastorm: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "launch needs a command: exastorm launch --launch.num-ranks 4 train samples"),
        (["--launch.num-ranks", "3"], "launch needs a command"),
        (["label", "a.nc"], "Unrecognized options: label, a.nc"),
        (["--launch.num-ranks", "0", "train", "s", "--out", "r"], "num_ranks must be at least 1"),
        (["--launch.ranks", "3", "train", "s", "--out", "r"], "--launch.num-ranks"),
        (["train", "s", "--out", "r", "--train.batchsize", "2"], "meant: --train.batch-size"),
        # What follows the word train is train's.
        (["train", "s", "--out", "r", "--launch.num-ranks", "3"], "--launch.num-ranks"),
        (["train", "s"], "train needs samples and --out RUN, or --resume RUN"),
        (["train", "--resume", "r", "--out", "o"], "--out must not be given with --resume"),
        (["train", "s", "--out", "r", "--train.exchange.lag", "7"], "invalid choice '7'"),
    ],
)
@pytest.mark.usefixtures("no_ranks")
def test_mistakes_are_found_before_any_rank_starts(argv, words, capsys):
    assert words in mistake(capsys, *argv)


@pytest.mark.usefixtures("no_ranks")
def test_a_run_that_is_there_is_not_begun_anew(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("train: {}\n")
    said = mistake(capsys, "train", "s", "--out", tmp_path)
    assert f"{tmp_path}: holds a run already; go on with --resume, or --auto-resume" in said


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"]])
@pytest.mark.usefixtures("no_ranks")
def test_help(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["launch", *argv])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    if argv == ["--help"]:
        assert "Example: exastorm launch --launch.num-ranks 4 train samples --out run" in text
        for option in ("--launch.num-ranks", "--launch.max-restarts", "--launch.grace-s"):
            assert option in text
    else:
        assert "Example: exastorm train samples --out run" in text


@pytest.mark.parametrize(
    ("train", "told", "again"),
    [
        (Train(samples="s", out="r"), ["s", "--out", "r"], ["--auto-resume"]),
        (Train(samples="s", out="r", auto_resume=True), ["s", "--out", "r", "--auto-resume"], []),
        (Train(resume="r"), ["--resume", "r"], []),
        (Train(resume="r"), ["--resume=r"], []),
    ],
)
def test_after_a_loss_ranks_go_on(train, told, again):
    python, *command = command_of(train, told)
    assert Path(python).name.startswith("python")
    assert command == ["-m", "exastorm.cli.main", "train", *told, *again]


def test_two_ranks_train(samples, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(Path(exastorm.__file__).parents[1]))
    run = tmp_path / "run"
    ranks = ["launch", "--launch.num-ranks", "2", "--launch.max-restarts", "0", "train"]
    code = main([*ranks, str(samples), "--out", str(run), *TINY, "--json"])
    said = capfd.readouterr()
    assert code == 0, said.err
    # One of the ranks answers.
    summary = json.loads(said.out)
    assert (summary["num_steps"], summary["run"]) == (2, str(run))
    assert {"settings.yaml", "log.jsonl", "checkpoints", "model.safetensors"} <= {
        path.name for path in run.iterdir()
    }
    assert load_model(run)[1].training["settings"]["num_steps"] == 2
    # The same command again is refused at once; it need not be said otherwise for a job that is
    # started again and again.
    assert main([*ranks, str(samples), "--out", str(run), *TINY]) == 2
    assert "holds a run already" in capfd.readouterr().err


@pytest.mark.slow
def test_what_all_ranks_would_say_one_says(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(Path(exastorm.__file__).parents[1]))
    # Only the first rank looks for the run.
    assert main(["launch", "train", "--resume", str(tmp_path / "none")]) == 2
    said = capfd.readouterr().err
    assert said.count("must be a run folder to resume") == 1
