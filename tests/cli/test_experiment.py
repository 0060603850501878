"""`exastorm experiment`, from the shell to its page."""

import json

import pytest
from tests.performance.experiment_files import write_experiment

from exastorm.cli.main import main


def test_experiment_from_the_shell(tmp_path, capsys):
    path, out = write_experiment(tmp_path), tmp_path / "out"
    words = ["experiment", str(path), "--out", str(out), "--seeds", "3", "--arms", "plain"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "| plain | 1 | 0." in said.out
    assert f"results: {out / 'results.csv'}" in said.out
    assert "begins: tiny: plain, seed 3" in said.err
    assert "done 1/1: tiny: plain, seed 3: mean IoU 0." in said.err
    assert (out / "tiny.md").read_text(encoding="utf-8") in said.out
    assert (out / "tiny.png").read_bytes().startswith(b"\x89PNG")

    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert "begins" not in said.err
    figures = json.loads(said.out)
    assert figures["finished"]
    (row,) = figures["experiments"]["tiny"]
    assert (row["arm"], row["seed"], row["status"]) == ("plain", 3, "done")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny.yaml", "--num-jobs", "0"], "--num-jobs must be at least 1, got 0"),
        (["tiny.yaml", "--seeds", "1", "1"], "--seeds must be different, none negative"),
        (["tiny.yaml", "--seeds", "-1"], "--seeds must be different, none negative"),
        (["tiny.yaml", "--arms", "plan"], "got 'plan'; did you mean 'plain'?"),
        (["tiny.yaml", "other/tiny.yaml"], "must have different names, got tiny, tiny"),
        (["larch"], "got 'larch'; did you mean 'larc'?"),
        ([], "needs at least one"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(tmp_path, monkeypatch, capsys, words, message):
    write_experiment(tmp_path)
    write_experiment(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *words, "--out", "out"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
