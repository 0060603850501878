"""Soft labels from an archive to a trained network, as a user makes them."""

import json

import pytest

from exastorm.cli.main import main

SMALL = ["--synthesize.height", "32", "--synthesize.width", "48"]
DAYS = ["--synthesize.num-snapshots", "48", "--synthesize.cyclone-rate", "5"]
CUT = ["--prepare.block-days", "1", "--prepare.gap-hours", "0"]
SPLIT = ["--prepare.split-fractions", "0.6", "0.2", "0.2"]
STEPS = [
    "--train.num-steps",
    "4",
    "--train.schedule.warmup-steps",
    "1",
    "--train.compute.deterministic",
]


def figures(capsys, *argv):
    """The figures of a command that must succeed, read from its JSON."""
    code = main([*map(str, argv), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Folder with a climate and its labels with shares."""
    folder = tmp_path_factory.mktemp("soft")
    assert main(["synthesize", str(folder / "climate"), *SMALL, *DAYS]) == 0
    out = ["--out", str(folder / "labels.nc")]
    assert main(["label", str(folder / "climate/archive"), "--soft", *out]) == 0
    return folder


def test_soft_labels_change_what_is_learned(work, capsys):
    given = [work / "climate/archive", "--labels", work / "labels.nc", "--out", work / "samples"]
    made = figures(capsys, "prepare", *given, *CUT, *SPLIT, "--prepare.soft-labels")
    hard_shares, soft_shares = made["class_shares"]["by_pixel"], made["soft_class_shares"]
    # Sets of thresholds that are looser than the published ones draw more rivers.
    assert soft_shares[2] > hard_shares[2] > 0
    assert sum(soft_shares) == pytest.approx(1)
    found = {}
    for targets in ("hard", "soft"):
        run = work / targets
        how = [*STEPS, "--train.targets", targets]
        trained = figures(capsys, "train", work / "samples", "--out", run, *how)
        scores = figures(capsys, "evaluate", run, work / "samples")
        found[targets] = (trained["final_loss"], (run / "model.safetensors").read_bytes(), scores)
    assert found["hard"][0] != found["soft"][0]
    assert found["hard"][1] != found["soft"][1]
    # Both are scored against the same hard labels.
    truths = [[sum(row) for row in scores["matrix"]] for _, _, scores in found.values()]
    assert truths[0] == truths[1]


def test_what_is_missing_is_one_line(work, capsys):
    given = [str(work / "climate/archive"), "--labels"]
    truth, out = str(work / "climate/truth.nc"), str(work / "plain")
    assert (
        main(["prepare", *given, truth, "--out", out, *CUT, *SPLIT, "--prepare.soft-labels"]) == 2
    )
    err = capsys.readouterr().err
    assert "soft labels need cyclone_share or river_share" in err
    assert err.count("\n") == 1
    assert main(["prepare", *given, str(work / "labels.nc"), "--out", out, *CUT, *SPLIT]) == 0
    run = ["--out", str(work / "none"), *STEPS, "--train.targets", "soft"]
    assert main(["train", out, *run]) == 2
    err = capsys.readouterr().err
    assert "soft targets need samples prepared with --prepare.soft-labels" in err
    assert err.count("\n") == 1
