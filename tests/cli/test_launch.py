"""`exastorm launch` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.parallel.made_forks import Fork
from tests.parallel.made_ports import free_ports
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


def as_train_says(argv, capsys):
    """What `exastorm train` answers to the same."""
    assert main(["train", *map(str, argv)]) == 2
    return capsys.readouterr().err


def no_run(folder, samples):
    return ["--resume", folder / "none"], "must be a run folder to resume, got one without"


def empty_run(folder, samples):
    (folder / "run").mkdir()
    return ["--resume", folder / "run"], "must be a run folder to resume, got one without"


def run_without_samples(folder, samples):
    (folder / "run").mkdir()
    (folder / "run" / "settings.yaml").write_text("train: {}\n")
    return ["--resume", folder / "run"], "samples.txt; else name the samples too"


def other_settings(folder, samples):
    (folder / "run").mkdir()
    (folder / "run" / "settings.yaml").write_text("train: {seed: 1}\n")
    words = [samples, "--out", folder / "run", "--auto-resume", "--train.seed", 2]
    return words, "a resumed run must keep its settings: seed 1 (got 2)"


def no_samples(folder, samples):
    return [folder / "none", "--out", folder / "run"], str(folder / "none")


def run_in_samples(folder, samples):
    return [samples, "--out", samples / "run"], "a run must have a folder of its own"


def large_batch(folder, samples):
    return [samples, "--out", folder / "run", "--train.batch-size", 10**6], "batch"


def no_gpu(folder, samples):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    words = [samples, "--out", folder / "run", "--train.compute.device", "cuda"]
    return words, "device must be cpu or auto, got cuda"


@pytest.mark.parametrize(
    "case",
    [
        no_run,
        empty_run,
        run_without_samples,
        other_settings,
        no_samples,
        run_in_samples,
        large_batch,
        no_gpu,
    ],
)
@pytest.mark.usefixtures("no_ranks")
def test_what_train_would_refuse_no_rank_is_started_for(case, tmp_path, samples, capsys):
    argv, words = case(tmp_path, samples)
    said = mistake(capsys, "--launch.num-ranks", 1, "train", *argv)
    assert words in said
    assert said == as_train_says(argv, capsys)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        # 24 samples of the split make one batch of 20 of one rank, but not of two.
        (["--train.batch-size", "20"], "batch"),
        (["--train.network.norm", "batch"], "network.norm must be group where several ranks train"),
    ],
)
@pytest.mark.usefixtures("no_ranks")
def test_what_so_many_ranks_can_not_do_is_refused(argv, words, tmp_path, samples, capsys):
    argv = ["train", samples, "--out", tmp_path / "run", *argv]
    assert words in mistake(capsys, "--launch.num-ranks", 2, *argv)
    with pytest.raises(AssertionError, match="ranks were started"):
        main(["launch", "--launch.num-ranks", "1", *map(str, argv)])


@pytest.mark.usefixtures("no_ranks")
def test_an_environment_that_ranks_would_refuse(tmp_path, samples, monkeypatch, capsys):
    monkeypatch.setenv("EXASTORM_RANKS_PER_NODE", "few")
    said = mistake(capsys, "train", samples, "--out", tmp_path / "run")
    assert "EXASTORM_RANKS_PER_NODE must be a whole number from 1, got 'few'" in said


@pytest.mark.usefixtures("no_ranks")
def test_a_run_that_is_there_is_not_begun_anew(tmp_path, samples, capsys):
    # Even one without a checkpoint, which train would: ranks started again would go on with it.
    (tmp_path / "settings.yaml").write_text("train: {}\n")
    said = mistake(capsys, "train", samples, "--out", tmp_path)
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


def environments(num_ranks):
    """Those of ranks that a launcher starts which keeps no store."""
    (port,) = free_ports(1)
    shared = {"WORLD_SIZE": num_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": 1, "PYTHONPATH": Path(exastorm.__file__).parents[1]}
    return [
        os.environ
        | {name: str(value) for name, value in shared.items()}
        | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(num_ranks)
    ]


def say_of(argv, num_ranks):
    """Exit codes of ranks, each started as a command, and what they said."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "exastorm.cli.main", "train", *map(str, argv)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for environment in environments(num_ranks)
    ]  # fmt: skip
    try:
        said = [rank.communicate(timeout=200)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    return [rank.returncode for rank in ranks], "".join(said)


def forked_say_of(argv, num_ranks, folder):
    """The same of ranks that need not import anything first."""
    words = ["train", *map(str, argv)]
    ranks = [
        Fork(main, (words,), folder / str(rank), environment)
        for rank, environment in enumerate(environments(num_ranks))
    ]
    ends = [rank.end(200) for rank in ranks]
    return [code for code, _, _ in ends], "".join(errors for _, _, errors in ends)


def test_what_all_ranks_find_wrong_one_says(samples, tmp_path):
    # Each opens the samples for itself, and rank 0 is as quick to leave as the others.
    argv = [tmp_path / "none", "--out", tmp_path / "run", *TINY]
    codes, said = forked_say_of(argv, 3, tmp_path / "ranks")
    assert codes == [2, 2, 2]
    assert said.startswith(f"exastorm: error: {tmp_path / 'none'}")
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_what_all_ranks_lack_one_says(samples, tmp_path):
    # Found before they meet.
    argv = [samples, "--out", tmp_path / "run", *TINY, "--train.compute.device", "cuda"]
    codes, said = say_of(argv, num_ranks=3)
    assert codes == [2, 2, 2]
    line = "exastorm: error: device must be cpu or auto, got cuda, but torch sees no GPU\n"
    # A rank that starts much later than the first finds nobody to ask; and of a store that goes
    # while it is asked torch may write a stack of its own.
    ours = [told for told in said.splitlines(keepends=True) if told.startswith("exastorm")]
    assert set(ours) == {line}
    assert len(ours) <= 3
