"""The commands as a user runs them: the whole path on a small climate, and all mistakes."""

import json
import signal
import subprocess
import sys

import pytest

import exastorm.cli.main
from exastorm.cli.bench import BENCHES
from exastorm.cli.main import COMMANDS, main

SMALL = ["--synthesize.height", "48", "--synthesize.width", "72"]


def run(capsys, *argv):
    """Exit code, standard output and standard error of one command."""
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def figures(capsys, *argv):
    """The figures of a command that must succeed, read from its JSON."""
    code, out, err = run(capsys, *argv, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Folder with a climate, labels and samples, made by the commands."""
    folder = tmp_path_factory.mktemp("pipeline")
    days = ["--synthesize.num-snapshots", "96", "--synthesize.cyclone-rate", "5"]
    assert main(["synthesize", str(folder / "climate"), *SMALL, *days]) == 0
    archive = str(folder / "climate" / "archive")
    assert main(["label", archive, "--out", str(folder / "labels.nc")]) == 0
    cut = ["--prepare.block-days", "1", "--prepare.gap-hours", "6"]
    labels = ["--labels", str(folder / "climate" / "truth.nc")]
    assert main(["prepare", archive, *labels, "--out", str(folder / "samples"), *cut]) == 0
    steps = [
        "--train.num-steps",
        "6",
        "--train.schedule.warmup-steps",
        "1",
        "--train.batch-size",
        "1",
    ]
    assert main(["train", str(folder / "samples"), "--out", str(folder / "run"), *steps]) == 0
    return folder


def test_synthesize_leaves_the_truth_beside_the_fields(pipeline):
    names = {p.name for p in (pipeline / "climate").iterdir()}
    assert names == {"archive", "truth.nc", "tracks.csv"}


def test_inspect(pipeline, capsys):
    code, out, _ = run(capsys, "inspect", pipeline / "climate" / "archive")
    assert code == 0
    assert "TMQ" in out
    assert "noleap" in out
    found = figures(capsys, "inspect", pipeline / "climate" / "archive")
    assert "PSL" in json.dumps(found)


def test_evaluate_a_run_and_its_baseline(pipeline, capsys):
    scores = figures(capsys, "evaluate", pipeline / "run", pipeline / "samples", "--baseline")
    assert 0 <= scores["mean_iou"] <= 1
    assert scores["num_pixels"] % (48 * 72) == 0
    assert scores["baseline"]["num_pixels"] == scores["num_pixels"]


def test_evaluate_masks_against_themselves(pipeline, capsys):
    labels = pipeline / "labels.nc"
    assert figures(capsys, "evaluate", labels, labels)["mean_iou"] == 1.0


def test_segment_census_and_report(pipeline, capsys):
    archive, masks = pipeline / "climate" / "archive", pipeline / "masks.nc"
    done = figures(capsys, "segment", archive, "--model", pipeline / "run", "--out", masks)
    assert done["num_snapshots"] == 96
    counted = figures(
        capsys, "census", pipeline / "climate" / "truth.nc", "--archive", archive,
        "--out", pipeline / "census",
    )  # fmt: skip
    assert counted["num_snapshots"] == 96
    assert counted["classes"]["TC"]["num_objects"] > 0
    assert (pipeline / "census" / "objects.csv").exists()
    code, out, err = run(
        capsys, "report", masks, "--archive", archive, "--out", pipeline / "report"
    )
    assert code == 0, err
    assert "index.html" in out
    page = (pipeline / "report" / "index.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_settings_file_and_override(tmp_path, capsys):
    config = tmp_path / "s.yaml"
    config.write_text("synthesize: {height: 24, width: 36, num_snapshots: 4}\n")
    done = figures(
        capsys, "synthesize", tmp_path / "c", "--config", config, "--synthesize.num-snapshots", "2"
    )
    assert (done["num_lat"], done["num_lon"], done["num_snapshots"]) == (24, 36, 2)


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "bench"])
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"Example: exastorm {name}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", BENCHES)
def test_each_benchmark_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", name, "--help"])
    assert stop.value.code == 0
    assert f"Example: exastorm bench {name}" in " ".join(capsys.readouterr().out.split())


def test_benchmarks_run_and_give_figures(capsys, tmp_path):
    assert "bench WHAT" in run(capsys, "bench")[1]
    small = ["--climate.height", "24", "--climate.width", "36", "--climate.num-snapshots", "2"]
    assert figures(capsys, "bench", "synthesize", *small)["snapshots_per_s_per_core"] > 0
    small = ["--shards.height", "24", "--shards.width", "36", "--shards.num-samples", "4"]
    forms = figures(capsys, "bench", "shards", "--folder", tmp_path, *small)["forms"]
    assert len(forms) >= 3
    small = ["--synthesize.height", "48", "--synthesize.width", "72"]
    small += ["--synthesize.num-snapshots", "2"]
    small += ["--skill.cyclones", "sc18", "--skill.rivers", "sc18", "tempest"]
    scores = figures(capsys, "bench", "rules", *small)
    assert set(scores["rivers"]) == {"sc18", "tempest"}
    assert "POD" in run(capsys, "bench", "rules", *small)[1]
    small = ["--step.height", "32", "--step.width", "48", "--step.num-steps", "1"]
    code, out, _ = run(capsys, "bench", "step", *small)
    assert code == 0
    assert "FLOP/s" in out
    code, _, err = run(capsys, "bench", "stp")
    assert code == 2
    assert "did you mean 'step'" in err


def test_overview_lists_the_commands_in_order(capsys):
    _, out, _ = run(capsys)
    places = [out.index(f"  {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["labell"], "unknown command 'labell'; did you mean 'label'"),
        (["inspect"], "needs at least one PATH"),
        (["inspect", "no-such-file.nc"], "no-such-file.nc"),
        (["inspect", "x.nc", "--config", "no-such"], "got 'no-such'"),
        (["train", "no-such-folder", "--out", "run"], "no-such-folder"),
        (["evaluate", "no-such.nc", "no-such-either.nc"], "no-such"),
        (["census", "no-such.nc", "--out", "c"], "no-such.nc"),
    ],
)
def test_mistakes_are_one_line_and_code_2(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.startswith("exastorm: error: ")
    assert err.count("\n") == 1
    assert words in err


def test_the_installed_command_answers():
    done = subprocess.run(
        [sys.executable, "-m", "exastorm.cli.main", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("exastorm ")


def test_ctrl_c_ends_as_a_shell_expects(monkeypatch, capsys):
    def interrupt(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(exastorm.cli.main, "run", interrupt)
    assert main(["inspect", "archive"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "exastorm: stopped\n"
