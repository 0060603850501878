"""Several label sets from files to samples, as a user gives them."""

import json

import pytest

from exastorm.cli.main import main

SMALL = ["--synthesize.height", "32", "--synthesize.width", "48"]
DAYS = ["--synthesize.num-snapshots", "48", "--synthesize.cyclone-rate", "5"]
CUT = ["--prepare.block-days", "1", "--prepare.gap-hours", "0"]
SPLIT = ["--prepare.split-fractions", "0.6", "0.2", "0.2"]


def prepare(work, out, *more):
    return ["prepare", str(work / "archive"), "--out", str(out), *CUT, *SPLIT, *map(str, more)]


def figures(capsys, argv):
    """The figures of a command that must succeed, read from its JSON."""
    code = main([*argv, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def mistake(capsys, argv):
    """What a command that must be refused says, in one line."""
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An annotated archive, its truth, and the labels of a rule."""
    folder = tmp_path_factory.mktemp("sets")
    assert main(["synthesize", str(folder), "--format", "deepcam", *SMALL, *DAYS]) == 0
    assert main(["label", str(folder / "archive"), "--out", str(folder / "rule.nc")]) == 0
    return folder


def test_each_file_is_a_label_set(work, tmp_path, capsys):
    given = ["--labels", work / "truth.nc", "--labels", work / "rule.nc"]
    made = figures(capsys, prepare(work, tmp_path / "two", *given))
    assert made["label_sets"] == ["truth", "rule"]
    assert made["version"] == 3
    first, second = (s["num_pixels"] for s in made["label_set_shares"])
    assert first != second
    assert made["class_shares"]["num_pixels"] == [a + b for a, b in zip(first, second, strict=True)]
    alone = figures(capsys, prepare(work, tmp_path / "one", *given[:2]))
    assert alone["label_sets"] == []
    assert alone["class_shares"]["num_pixels"] == first


def test_masks_of_an_annotated_archive_are_chosen_by_name(work, tmp_path, capsys):
    given = ["--labels", work / "archive", "--prepare.label"]
    made = figures(capsys, prepare(work, tmp_path / "a", *given, "labels_0"))
    assert made["settings"]["label"] == "labels_0"
    said = mistake(capsys, prepare(work, tmp_path / "b", *given, "labels_0", "labels_1"))
    assert "has no variable labels_1" in said
    config = tmp_path / "prepare.yaml"
    config.write_text("prepare: {label: [labels_0, labels_1]}")
    argv = prepare(work, tmp_path / "b", *given[:2], "--config", config)
    assert "has no variable labels_1" in mistake(capsys, argv)


def test_what_is_missing_is_one_line(work, tmp_path, capsys):
    assert "prepare needs --labels FILE" in mistake(capsys, prepare(work, tmp_path / "a"))
    twice = ["--labels", work / "rule.nc"] * 2
    assert "given once each" in mistake(capsys, prepare(work, tmp_path / "a", *twice))
    given = ["--labels", work / "truth.nc", "--labels", work / "rule.nc", "--prepare.soft-labels"]
    said = mistake(capsys, prepare(work, tmp_path / "a", *given))
    assert "soft labels go with one label set, got truth, rule" in said
    assert not (tmp_path / "a").exists()


def test_what_samples_cannot_teach_is_said_when_they_are_made(work, tmp_path, capsys):
    no_cyclones = ["--tc", "none", "--out", str(tmp_path / "rivers.nc")]
    assert main(["label", str(work / "archive"), *no_cyclones]) == 0
    capsys.readouterr()
    rivers = prepare(work, tmp_path / "samples", "--labels", tmp_path / "rivers.nc")
    assert main(rivers) == 0
    note = "note: no pixel of the training split is TC: a network can't learn it"
    assert note in capsys.readouterr().out.splitlines()
