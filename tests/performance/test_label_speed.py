import fsspec
import numpy as np
import pytest

from exastorm.cli.benches.labels import BenchLabels, speed_text
from exastorm.cli.command import parse
from exastorm.errors import InputError
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS
from exastorm.performance import label_speed
from exastorm.performance.label_files import files_of, write_files
from exastorm.performance.label_speed import LabelSpeedSettings, bench_labels, needed_fields
from exastorm.performance.tempest_speed import tempest_figures

SMALL = LabelSpeedSettings(
    height=48, width=72, num_snapshots=2, num_rounds=1, cyclones=("sc18",), rivers=("tempest",)
)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    measured = bench_labels(SMALL, folder)
    assert list(folder.iterdir()) == [], "what was written is removed"
    return measured


def test_figures_of_the_rule_sets_that_were_named(figures):
    rows = {name for name, row in figures.items() if isinstance(row, dict) and "cpu_s" in row}
    assert rows == {"read_bytes", "read_fields", "cyclones sc18", "rivers tempest", "complete sc18"}
    for name in rows:
        row = figures[name]
        assert row["cpu_s"] > 0
        assert row["wall_s"] > 0
        ratio = row["cpu_s"] / figures["read_bytes"]["cpu_s"]
        assert row["times_reading_bytes"] == pytest.approx(ratio)
    assert figures["grid"] == [48, 72]
    # 13 fields of 48 x 72 floats: the 11 of sc18, and vapor transport in two directions. The rest,
    # coordinates and what describes the fields, is less than a third at this size.
    assert 13 * 48 * 72 * 4 < 1e6 * figures["mb_per_snapshot"] < 1.5 * 13 * 48 * 72 * 4
    # The ring of the Laplacian is laid once.
    assert figures["rivers tempest"]["setup_cpu_s"] > 0
    assert "rivers tempest" in speed_text(figures)


def test_without_names_every_rule_set_is_measured():
    plans = LabelSpeedSettings().plans(["TMQ"], 0.25)
    assert list(plans) == [
        *(f"cyclones {name}" for name in CYCLONE_SECTIONS),
        *(f"rivers {name}" for name in RIVER_SECTIONS),
    ]
    assert {"IVTX", "Z300", "PHIS"} <= set(needed_fields(LabelSpeedSettings()))


def test_your_own_archive_is_measured_as_far_as_its_fields_allow(tmp_path):
    (path,) = write_files(SMALL.climate(), ("TMQ", "PSL"), tmp_path)
    measured = bench_labels(SMALL, tmp_path / "made", archive=str(path))
    assert measured["num_snapshots"] == 2
    assert measured["mb_per_snapshot"] == pytest.approx(1e-6 * path.stat().st_size / 2)
    assert "the archive lacks U850" in measured["left_out"]["cyclones sc18"]
    assert "rivers tempest" in measured["left_out"]
    assert measured["complete sc18"]["cpu_s"] > 0
    assert "left out: the archive lacks" in speed_text(measured)


def test_the_fastest_round_counts(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(label_speed.time, "process_time", lambda: next(clock))
    calls = []
    seconds = label_speed._best(lambda: calls.append(1), 3)
    assert len(calls) == 3
    assert seconds.cpu == 2.0


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


BURN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"


def test_programs_of_tempest_extremes_run_beside_ours(tmp_path):
    # Stand-ins for the real ones: a step costs one burn, set-up two, or none.
    program(
        tmp_path / "DetectBlobs",
        f'echo "Time 1"; {BURN}; {BURN}; {BURN}\necho "-- Time 2"; {BURN}\necho "Time 3"; {BURN}',
    )
    program(
        tmp_path / "DetectNodes", f'{BURN}\ncase "$*" in *timestride*) exit;; esac\n{BURN}; {BURN}'
    )
    ours = {"rivers tempest": (0.01, 0.02), "cyclones tempest-cam": (0.01, 0.02)}
    got = tempest_figures(tmp_path, tmp_path / "x.nc", 3, tmp_path, ours)
    assert set(got) == set(ours)
    for row in got.values():
        assert row["times_ours"] == pytest.approx(row["cpu_s"] / 0.01)
        assert row["times_ours_with_reading"] == pytest.approx(row["cpu_s"] / 0.02)
        assert row["cpu_s"] > 0
    assert got["rivers tempest"]["setup_cpu_s"] > got["rivers tempest"]["cpu_s"]
    assert got["cyclones tempest-cam"]["setup_cpu_s"] < got["cyclones tempest-cam"]["cpu_s"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "DetectBlobs: can't be run: No such file"),
        ("echo oh dear; exit 3", "DetectBlobs: failed: oh dear"),
        ("echo 'EXCEPTION no such variable'", "failed: EXCEPTION no such variable"),
        ("echo 'Time 1'", "must tell of 2 time steps, got 1"),
    ],
)
def test_a_program_that_fails_is_told(tmp_path, text, message):
    if text:
        program(tmp_path / "DetectBlobs", text)
    with pytest.raises(InputError, match=message):
        tempest_figures(tmp_path, tmp_path / "x.nc", 2, tmp_path, {"rivers tempest": (1.0, 1.0)})


def test_what_can_not_be_measured_is_refused(tmp_path):
    with pytest.raises(InputError, match="tempest must be left out with an archive"):
        bench_labels(SMALL, tmp_path, archive="x.nc", tempest=tmp_path)
    with pytest.raises(InputError, match="must have two time steps, got 1"):
        tempest_figures(tmp_path, tmp_path / "x.nc", 1, tmp_path, {})
    fsspec.filesystem("memory").pipe("/far/away.nc", b"CDF")
    with pytest.raises(InputError, match="must be on this machine, to read its bytes alone"):
        files_of("memory://far/away.nc")


def test_files_of_a_store_are_those_in_it(tmp_path):
    (tmp_path / "x.zarr" / "TMQ").mkdir(parents=True)
    for name in ("zarr.json", "TMQ/zarr.json"):
        (tmp_path / "x.zarr" / name).touch()
    found = files_of(str(tmp_path / "x.zarr"))
    assert found == [tmp_path / "x.zarr/TMQ/zarr.json", tmp_path / "x.zarr/zarr.json"]


def test_settings_are_checked():
    for name in ("num_snapshots", "num_rounds"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            LabelSpeedSettings(**{name: 0})
    with pytest.raises(ValueError, match=r"rivers must be of sc18, .*, got 'sc81'"):
        LabelSpeedSettings(rivers=("sc81",))
    with pytest.raises(ValueError, match="height must be at least 24"):
        LabelSpeedSettings(height=2)


def test_the_command(tmp_path):
    words = ["--folder", str(tmp_path), "--labels.num-rounds", "1", "--labels.height", "48"]
    words += ["--labels.width", "72", "--labels.num-snapshots", "1", "--labels.rivers", "sc18"]
    words += ["--labels.cyclones", "sc18"]
    outcome = parse(BenchLabels, "bench labels", words).run()
    assert "ms of CPU time a snapshot" in outcome.line
    assert np.isfinite(outcome.figures["complete sc18"]["times_reading_bytes"])
