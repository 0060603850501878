"""What bench/faults.sh calls well: made-up lines and notes of runs that were not are told apart."""

import importlib.util
import json
import subprocess
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from exastorm.train.checkpoint_files import step_path, write_checkpoint

BENCH = Path(__file__).resolve().parents[2] / "bench" / "faults"

SILENT = "(gives no answer: its process is stopped, or its node or link is lost)"
ALIVE = "(alive, but has not voted)"
AGAIN = "; all ranks are started again (1 restarts left)"

DIED = ["exastorm: error: rank 1 died: its connection was closed",
        f"exastorm: rank 1 was killed by SIGKILL{AGAIN}"]  # fmt: skip
STOPPED = [f"exastorm: step 9 has waited 2 s for rank 1 {SILENT}",
           f"exastorm: error: step 9 has waited 4 s for rank 1 {SILENT}",
           f"exastorm: rank 1 did not end when it had to, and was killed{AGAIN}"]  # fmt: skip
CUT = [f"exastorm: step 9 has waited 2 s for rank 1 {SILENT}",
       f"exastorm: error: step 9 has waited 4 s for rank 1 {SILENT}",
       f"exastorm: error: step 9 has waited 4 s for rank 0 {SILENT}"]  # fmt: skip
BAD = ["exastorm: error: samples, time 2000-01-03: loss or gradients were not finite"]


@pytest.fixture(scope="module")
def bench():
    """Modules of the bench, which import one another as a script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        names = ("judging", "ends", "ranks")
        modules = {name: importlib.import_module(name) for name in names}
        spec = importlib.util.spec_from_file_location("bench_faults", BENCH / "__main__.py")
        main = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(main)
        return SimpleNamespace(main=main, **modules)


@pytest.fixture
def expected(bench):
    """What has to be said where rank 1 is struck."""
    judging = bench.judging
    return {
        "died": judging.died(1),
        "stopped": judging.stopped(1),
        "cut": judging.Expected((judging.waits_for([0]), judging.waits_for([1])), is_silent=True),
        "bad": judging.Expected((judging.blames_no_rank("time 2000-01-03: "),)),
    }


@pytest.mark.parametrize(
    ("end", "lines"), [("died", DIED), ("stopped", STOPPED), ("cut", CUT), ("bad", BAD)]
)
def test_what_has_to_be_said_is_clear(bench, expected, end, lines):
    is_clear = bench.judging.is_clear
    assert is_clear(lines, expected[end])
    for line in lines:
        assert not is_clear([other for other in lines if other != line], expected[end])
        # Only stall reports may be said again and again.
        is_report = bench.judging.STALL.match(line) is not None
        assert is_clear([*lines, line], expected[end]) == is_report
    assert not is_clear([*lines, "Traceback (most recent call last):"], expected[end])


@pytest.mark.parametrize(
    ("end", "lines", "old", "new"),
    [
        # The wrong rank, or another besides, is the cause.
        ("died", DIED, "error: rank 1 ", "error: rank 0 "),
        ("died", DIED, "rank 1 was killed", "rank 0 was killed"),
        ("died", DIED, "connection was closed", "connection was closed by rank 0"),
        ("stopped", STOPPED, "2 s for rank 1", f"2 s for rank 0 {SILENT}; rank 1"),
        ("stopped", STOPPED, "2 s for rank 1", "2 s for rank 0"),
        ("stopped", STOPPED, "4 s for rank 1", f"4 s for rank 0 {ALIVE}; rank 1"),
        ("stopped", STOPPED, "exastorm: rank 1", "exastorm: rank 0"),
        ("cut", CUT, "2 s for rank 1", f"2 s for rank 0 {SILENT}; rank 1"),
        ("cut", CUT, "4 s for rank 0", "4 s for rank 1"),
        ("bad", BAD, "error: ", "error: rank 0, "),
        ("bad", BAD, "01-03", "01-04"),
        # A stopped process is not alive, a killed one not stopped.
        ("stopped", STOPPED, SILENT, ALIVE),
        ("stopped", STOPPED, "did not end when it had to, and was killed", "ended with code 1"),
        ("died", DIED, "SIGKILL", "SIGABRT"),
        ("died", DIED, "all ranks are started again", "not started again"),
    ],
)
def test_what_else_is_said_is_not_clear(bench, expected, end, lines, old, new):
    assert any(old in line for line in lines)
    assert not bench.judging.is_clear([line.replace(old, new) for line in lines], expected[end])


@pytest.mark.parametrize(
    ("report_s", "end_s", "in_time"),
    [(2.0, 5.0, True), (0.05, 5.0, False), (1.0, 5.0, False), (6.5, 7.0, False), (2.0, 15, False)],
)
def test_a_stall_is_reported_after_stall_s_and_ended_in_time(
    bench, expected, report_s, end_s, in_time
):
    # STALL_S is 2 s, and the report must come within 2 + 1 + 3 s; all must end within 13 s.
    times = (report_s, report_s + 0.1, end_s)
    ended = bench.ranks.Ended(
        (0,), [(100 + s, line) for s, line in zip(times, STOPPED, strict=True)], 100
    )
    case = SimpleNamespace(course=SimpleNamespace(struck_at=lambda: 100.0, patience=1.0))
    limit_s = bench.judging.ENDS_S["silent"]
    trial = bench.judging.judged(case, ended, limit_s, 100 + end_s, expected["stopped"])
    assert trial.is_clear
    assert trial.is_bounded == in_time


def write_notes(notes, name, steps_of_ranks):
    """Steps that each rank notes."""
    for rank, steps in enumerate(steps_of_ranks):
        lines = [json.dumps([step, 0, [f"{step}-{rank}"]]) for step in steps]
        (notes / f"{name}-{rank}.jsonl").write_text("\n".join([*lines, ""]))


@pytest.mark.parametrize(
    "steps", [[(0, 1), (0, 1)], [(6, 7), (3, 4)], [(3, 4), (3, 4)], [(7,), (7,)], [(6, 7)], []]
)
def test_ranks_go_on_at_the_last_checkpoint(bench, tmp_path, steps):
    write_notes(tmp_path, "other-0", [(6, 7), (6, 7)])
    assert bench.ends.wrong_with_start(tmp_path, "other-0", 2, 6) == ""
    write_notes(tmp_path, "first-1", steps)
    wrong = bench.ends.wrong_with_start(tmp_path, "first-1", 2, 6)
    begun = [own[0] for own in steps]
    assert wrong == f"2 ranks went on at steps {begun}, the last checkpoint is of 6"


def test_the_last_checkpoint_is_the_newest_whole_one(bench, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(AssertionError, match="holds no checkpoint"):
        bench.ends.kept_step(tmp_path, 0)
    write_checkpoint(folder, {"step": 0}, 0)
    with pytest.raises(AssertionError, match="is of step 0"):
        bench.ends.kept_step(tmp_path, 0)
    for step in (3, 6):
        write_checkpoint(folder, {"step": step}, step)
    assert bench.ends.kept_step(tmp_path, 0) == 6
    # The writer was killed before it named the one of step 6, or `latest` was not written any more.
    (folder / "latest").write_text("step_00000003\n")
    assert bench.ends.kept_step(tmp_path, 1) == 3
    with pytest.raises(AssertionError, match=r"checkpoints \[6\] are newer than the last, 3"):
        bench.ends.kept_step(tmp_path, 0)
    # One that is torn does not count; but the last one must be whole.
    (step_path(folder, 6) / "manifest.json").write_text("{")
    assert bench.ends.kept_step(tmp_path, 0) == 3
    (step_path(folder, 3) / "manifest.json").write_text("{")
    with pytest.raises(AssertionError, match="manifest"):
        bench.ends.kept_step(tmp_path, 0)


# Ten samples: two ranks of batch 2 take four a step, and leave two out; one rank takes two.
BEFORE = [[0, 0, ["a", "b"]], [0, 0, ["c", "d"]]]
AFTER = [[1, 0, ["e", "f"]], [2, 0, ["g", "h"]], [3, 0, ["i", "j"]], [4, 1, ["b", "a"]]]


def seen(bench, after, num_samples=10, steps=range(1, 5)):
    """What is wrong with what was seen after one step of two ranks."""
    return bench.ends.wrong_with_steps(after, steps, 2) or bench.ends.wrong_with_samples(
        BEFORE, after, (4, 2), num_samples
    )


def test_every_sample_of_the_split_is_seen_once(bench):
    assert seen(bench, AFTER) == ""
    assert seen(bench, [*AFTER[:-1], [4, 0, ["b", "a"]]]) == (
        "2 samples were seen again in epoch 0"
    )
    # Nobody ever sees two of twelve.
    assert seen(bench, AFTER, num_samples=12) == "10 samples of 12 were seen in epoch 0"
    assert seen(bench, AFTER, num_samples=8) == ("10 samples were seen, the training split has 8")
    # An epoch is left out, or ends too soon.
    late = [*AFTER[:-1], [4, 2, ["b", "a"]]]
    assert seen(bench, late) == "only the epochs [0, 2] were seen"
    soon = [*AFTER[:2], [3, 1, ["i", "j"]], AFTER[3]]
    assert seen(bench, soon) == "8 samples of 10 were seen in epoch 0"


def test_the_last_epoch_is_seen_as_far_as_it_went(bench):
    assert seen(bench, AFTER[:-1]) == "steps [4] are not of 2 samples"
    assert seen(bench, [*AFTER[:-1], [4, 1, ["b"]]]) == "steps [4] are not of 2 samples"
    assert seen(bench, [*AFTER, [5, 1, ["c", "d"]]]) == "steps [5] are not of 2 samples"
    twice = [*AFTER, [5, 1, ["c", "a"]]]
    assert seen(bench, twice, steps=range(1, 6)) == "1 samples were seen again in epoch 1"


def test_a_trial_that_breaks_off_is_not_well_and_the_next_is_tried(bench, tmp_path, monkeypatch):
    def is_busy(case):
        raise subprocess.CalledProcessError(32, ["umount", "checkpoints"])

    monkeypatch.setitem(bench.main.FAULTS, "busy", is_busy)
    asked = SimpleNamespace(out=tmp_path, num_trials=2, num_ranks=2, patience=1.0, seed=0)
    record = StringIO()
    trials = bench.main.try_fault("busy", tmp_path / "whole", asked, record)
    assert [trial.is_well for trial in trials] == [False, False]
    assert all("umount" in problem for trial in trials for problem in trial.problems)
    assert len(record.getvalue().splitlines()) == 2


def test_the_longest_end_is_the_one_that_nobody_saw(bench):
    ends = [bench.judging.Trial(ended_s=3.0), bench.judging.Trial(ended_s=1.0)]
    assert "| 3.0 |" in bench.main.row_of("kill", ends)
    unknown = bench.judging.Trial()
    for trials in ([unknown, *ends], [*ends, unknown]):
        assert "| nan |" in bench.main.row_of("kill", trials)
