"""What users get wrong, and what they are told: one line, code 2, and nothing lost."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

from exastorm.cli.command import box_text
from exastorm.cli.main import main
from exastorm.cli.report import titles
from exastorm.errors import InputError, writing

SMALL = ["--synthesize.height", "24", "--synthesize.width", "36"]
STEP = ["--train.num-steps", "1", "--train.schedule.warmup-steps", "0", "--train.batch-size", "1"]


def mistake(capsys, *argv):
    """The one line that a mistake is answered with."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("exastorm: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Folder with a climate, samples of two of its channels, of three, and a run."""
    folder = tmp_path_factory.mktemp("work")
    main(["synthesize", str(folder / "climate"), *SMALL, "--synthesize.num-snapshots", "48"])
    archive, truth = str(folder / "climate/archive"), str(folder / "climate/truth.nc")
    cut = ["--prepare.block-days", "1", "--prepare.gap-hours", "0", "--prepare.channels", "TMQ"]
    split = ["--prepare.split-fractions", "0.6", "0.2", "0.2"]
    for name, more in (("samples", ["PSL"]), ("others", ["PSL", "T500"])):
        out = ["--labels", truth, "--out", str(folder / name)]
        assert main(["prepare", archive, *out, *split, *cut, *more]) == 0
    assert main(["train", str(folder / "samples"), "--out", str(folder / "run"), *STEP]) == 0
    return folder


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "s", "--out", "r", "--train.batchsize", "2"], "meant: --train.batch-size"),
        (["label", "a.nc"], "Missing from exastorm label: --out"),
        (["synthesize", "c", "--synthesize.height", "3"], "height must be at least 24, got 3"),
        (["evaluate", "a", "b", "--split", "tset"], "invalid choice 'tset'"),
        (["census", "m.nc", "--out", ""], "--out must be a path, got nothing"),
    ],
)
def test_wrong_options_are_one_line_with_a_hint(argv, words, capsys):
    assert words in mistake(capsys, *argv)


def test_the_frame_of_a_terminal_without_unicode_is_left_out():
    box = "Parsing error ---\n" + "-" * 60 + "\n--label.tc must be known\n" + "-" * 60 + "\n"
    assert box_text(box) == "--label.tc must be known"


def test_a_section_whose_name_is_a_number(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text("1: {a: 2}")
    said = mistake(capsys, "synthesize", tmp_path / "c", "--config", tmp_path / "s.yaml")
    assert "unknown section 1; known are" in said


@pytest.mark.parametrize("command", ["census", "report", "prepare", "train", "synthesize", "demo"])
def test_a_file_where_a_folder_must_be(command, work, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    archive, truth = work / "climate/archive", work / "climate/truth.nc"
    given = {
        "census": [truth, "--out"],
        "report": [truth, "--archive", archive, "--out"],
        "prepare": [archive, "--labels", truth, "--out"],
        "train": [work / "samples", "--out"],
        "synthesize": [],
        "demo": ["--out"],
    }
    assert "must be a folder, got a file" in mistake(capsys, command, *given[command], file)
    within = mistake(capsys, command, *given[command], file / "x")
    assert "must lie in a folder, but" in within
    assert file.read_text() == "mine"


def test_where_nothing_may_be_written(work, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = mistake(capsys, "census", work / "climate/truth.nc", "--out", tmp_path / "c")
    assert f"must be where you may write; not so {tmp_path}" in said


@pytest.mark.parametrize("command", ["label", "segment"])
def test_the_input_is_not_overwritten(command, work, tmp_path, capsys):
    first = min((work / "climate/archive").iterdir())
    copy = tmp_path / "one.nc"
    shutil.copy(first, copy)
    model = ["--model", work / "run"] if command == "segment" else []
    for given, out in ((copy, copy), (tmp_path / "*.nc", copy), (tmp_path, tmp_path / "new.nc")):
        said = mistake(capsys, command, given, *model, "--out", out)
        assert "must not lie in what is read" in said
    assert copy.read_bytes() == first.read_bytes()


def test_a_climate_is_not_mixed_with_another(work, capsys):
    before = sorted((work / "climate").rglob("*"))
    for command in (["synthesize"], ["demo", "--out"]):
        assert "holds a climate already" in mistake(capsys, *command, work / "climate")
    assert sorted((work / "climate").rglob("*")) == before


def test_a_climate_that_was_cut_short_is_made_anew(tmp_path, capsys):
    (tmp_path / "archive-partial").mkdir()
    (tmp_path / "archive-partial" / "torn.nc").write_text("torn")
    assert main(["synthesize", str(tmp_path), *SMALL, "--synthesize.num-snapshots", "2"]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"archive", "truth.nc", "tracks.csv"}
    assert not (tmp_path / "archive" / "torn.nc").exists()


def test_a_run_goes_on_with_its_own_samples(work, capsys):
    said = mistake(capsys, "train", work / "others", "--resume", work / "run")
    assert "must keep its samples" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "train needs samples and --out RUN, or --resume RUN"),
        (["samples"], "train needs samples and --out RUN, or --resume RUN"),
        (["--resume", "run", "--out", "other"], "--out must not be given with --resume"),
        (["--resume", "nowhere"], "nowhere: must be a run folder to resume"),
        (["samples", "--resume", "samples"], "must be a run folder to resume"),
    ],
)
def test_what_to_train_must_be_clear(words, message, work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    assert message in mistake(capsys, "train", *words)


def test_a_run_is_gone_on_with_by_its_name_alone(work, capsys):
    assert main(["train", "--resume", str(work / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_steps"] == 1


def _edited(work, tmp_path, change):
    """A copy of the samples whose index was changed by hand."""
    shutil.copytree(work / "samples", tmp_path / "s")
    path = tmp_path / "s" / "index.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return tmp_path / "s"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["statistics"].update(std=[1.0]), "statistics.std must have 2 entries, got 1"),
        (lambda c: c["class_shares"].update(by_pixel=[1.0]), "by_pixel must have 3 entries, got 1"),
        (lambda c: c["times"].__setitem__(0, "noon"), "times must be ISO 8601"),
        (lambda c: c.update(calendar="mayan"), "times must be ISO 8601"),
        (lambda c: c["shards"][0].update(split="trian"), "a shard must be a file of the folder"),
        (lambda c: c["shards"][0].update(name="../x.bin"), "a shard must be a file of the folder"),
    ],
)
def test_an_index_that_was_edited(change, words, work, tmp_path, capsys):
    samples = _edited(work, tmp_path, change)
    assert words in mistake(capsys, "train", samples, "--out", tmp_path / "r", *STEP)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("text", "words"), [("no json", "be JSON"), ("[1]", "be a mapping")])
def test_a_model_with_another_record(text, words, work, tmp_path, capsys):
    model = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(3)}, model, metadata={"exastorm": text})
    said = mistake(capsys, "evaluate", model, work / "samples")
    assert f"m.safetensors: record must {words}" in said


def test_masks_without_a_known_pixel_have_no_score(work, tmp_path, capsys):
    truth = work / "climate/truth.nc"
    with xr.open_dataset(truth, decode_times=False) as dataset:
        dataset.assign(class_map=dataset["class_map"] * 0 - 1).to_netcdf(tmp_path / "none.nc")
    assert main(["evaluate", str(tmp_path / "none.nc"), str(truth)]) == 0
    assert "mean IoU none" in capsys.readouterr().out


def test_maps_of_one_name_keep_apart():
    assert titles(("a/masks.nc", "truth.nc")) == {"masks": "a/masks.nc", "truth": "truth.nc"}
    assert list(titles(("a/truth.nc", "b/truth.nc"))) == ["a/truth.nc", "b/truth.nc"]
    with pytest.raises(InputError, match="must be given once"):
        titles(("a.nc", "a.nc"))


def test_a_full_disk_is_one_line(monkeypatch, tmp_path, capsys):
    def fail(*_):
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr("exastorm.cli.synthesize.write_archive", fail)
    said = mistake(capsys, "synthesize", tmp_path, *SMALL, "--synthesize.num-snapshots", "2")
    assert "cannot be written (NetCDF: HDF error); is the disk full?" in said
    with pytest.raises(InputError, match=r"x\.nc: cannot be written"), writing("x.nc"):
        fail()


def _census(work, tmp_path, **streams):
    argv = ["census", str(work / "climate/truth.nc"), "--out", str(tmp_path / "c")]
    return subprocess.run([sys.executable, "-m", "exastorm.cli.main", *argv], **streams)


def test_a_reader_that_stops_early_is_no_mistake(work, tmp_path):
    end, start = os.pipe()
    os.close(end)
    done = _census(work, tmp_path, stdout=start, stderr=subprocess.PIPE)
    os.close(start)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "c" / "census.json").exists()


def test_a_plain_locale_gets_what_it_can_show(work, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = _census(work, tmp_path, capture_output=True)
    assert done.returncode == 0
    assert b"(km?)" in done.stdout
