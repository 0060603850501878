"""The log of a run."""

import json
import math

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from exastorm.train.meter import EVENTS_NAME, LOG_NAME, RunLog
from exastorm.train.waiting import DataWait

SCORES = {"mean_iou": 0.5, "iou": {"BG": 0.9, "TC": None, "AR": 0.1}}


def lines(run):
    return [json.loads(line) for line in (run / LOG_NAME).read_text().splitlines()]


def test_a_line_holds_means_since_the_line_before(tmp_path):
    with RunLog(tmp_path, batch_size=4) as log:
        for loss in (1.0, 3.0):
            log.record_step(torch.tensor(loss))
        log.write_steps(2, 0.5, 1e-3)
        log.record_step(torch.tensor(5.0))
        log.write_steps(3, 0.6, 1e-4)
        log.write_steps(3, 0.6, 1e-4)  # nothing new to tell
    first, second = lines(tmp_path)
    assert (first["step"], first["loss"], first["learning_rate"]) == (2, 2.0, 1e-3)
    assert (second["step"], second["loss"]) == (3, 5.0)
    assert first["samples_per_s"] > 0


def test_a_loss_that_is_no_number_is_counted_and_not_averaged(tmp_path):
    with RunLog(tmp_path, batch_size=1) as log:
        for loss in (1.0, math.nan, 3.0, math.inf):
            log.record_step(torch.tensor(loss))
        log.write_steps(4, 0.5, 1e-3, num_bad_steps=2)
        log.record_step(torch.tensor(math.nan))
        log.write_steps(5, 0.5, 1e-3, num_bad_steps=3)
    first, second = lines(tmp_path)
    assert (first["loss"], first["num_bad_steps"]) == (2.0, 2)
    assert "loss" not in second
    assert second["num_bad_steps"] == 3


def test_the_rate_of_operations_is_that_of_samples_times_their_cost(tmp_path):
    with RunLog(tmp_path, batch_size=4, tflop_per_sample=0.5) as log:
        log.record_step(torch.tensor(1.0))
        log.write_steps(1, 0.5, 1e-3)
    (line,) = lines(tmp_path)
    assert line["tflop_per_s"] == 0.5 * line["samples_per_s"]


def test_the_note_tells_loss_speed_and_score(tmp_path):
    with RunLog(tmp_path, batch_size=1) as log:
        log.write_validation(1, 0.1, SCORES)
        log.record_step(torch.tensor(0.25))
        log.write_steps(2, 0.1, 1e-3)
        assert log.note.startswith("loss 0.250, ")
        assert log.note.endswith("samples/s, IoU 0.500")


def test_tensorboard_reads_the_same(tmp_path):
    with RunLog(tmp_path, batch_size=1) as log:
        log.record_step(torch.tensor(0.25))
        log.write_steps(7, 0.1, 1e-3)
        log.write_validation(7, 0.1, SCORES)
    events = EventAccumulator(str(tmp_path / EVENTS_NAME)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(7, 0.25)]
    assert events.Scalars("validation/mean_iou")[0].value == 0.5
    tags = events.Tags()["scalars"]
    assert "validation/iou_BG" in tags
    assert "validation/iou_TC" not in tags


def test_a_run_that_goes_on_tells_every_step_once(tmp_path):
    with RunLog(tmp_path, batch_size=1) as log:
        for step in (1, 2, 3):
            log.record_step(torch.tensor(float(step)))
            log.write_steps(step, 0.1, 1e-3)
    with (tmp_path / LOG_NAME).open("a") as file:
        file.write('{"step": 4, "lo')  # the run was killed while it wrote
    with RunLog(tmp_path, batch_size=1, start_step=2) as log:
        log.record_step(torch.tensor(30.0))
        log.write_steps(3, 0.1, 1e-3)
    assert [(x["step"], x["loss"]) for x in lines(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_ranks_that_were_late_stand_beside_the_scores(tmp_path):
    late = {"rank": 3, "num_late": 7, "num_steps": 10, "mean_late_s": 0.5, "most_late_s": 1.0}
    with RunLog(tmp_path, batch_size=1) as log:
        log.write_validation(1, 0.1, SCORES)
        log.write_validation(2, 0.2, SCORES, [late])
    first, second = lines(tmp_path)
    assert "stragglers" not in first
    assert second["stragglers"] == [late]


def test_a_line_tells_the_share_of_its_time_that_was_waited_for_data(tmp_path):
    wait = DataWait()
    with RunLog(tmp_path, batch_size=1, wait=wait) as log:
        for step, waited_s in enumerate((1e3, 0.0), start=1):
            wait.waited_s += waited_s
            log.record_step(torch.tensor(1.0))
            log.write_steps(step, 0.1, 1e-3)
    # More than a line's whole time cannot have been waited; the second line counts anew.
    assert [line["data_wait_share"] for line in lines(tmp_path)] == [1.0, 0.0]
