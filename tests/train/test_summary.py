"""What is said of a training in the end."""

import json

import pytest

from exastorm.train.summary import TrainSummary

DONE = {
    "run": "r", "model": "r/model.safetensors", "num_steps": 6, "minutes": 2.0, "final_loss": 0.5,
    "best_step": 6, "best_mean_iou": 0.4, "best_iou": {"BG": 0.8, "TC": 0.0, "AR": None},
    "num_bad_steps": 0, "bad_samples": (), "stopped_by": None, "reached_target": False,
}  # fmt: skip


def late(rank, num_late, num_steps=100):
    return {
        "rank": rank, "num_late": num_late, "num_steps": num_steps, "mean_late_s": 0.12345,
        "most_late_s": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stragglers", "words"),
    [
        ((), None),
        # Half of the steps: of two ranks alike either one is the slower half of the time.
        ((late(3, 50),), None),
        ((late(3, 51),), "(rank 3 was late in 51 of the last 100 steps, by 0.123 s)"),
        # The worst is told that is late again and again, not one that was once very late.
        (
            (late(7, 1), late(2, 90), late(5, 80)),
            "(rank 2 was late in 90 of the last 100 steps, by 0.123 s)",
        ),
    ],
)
@pytest.mark.parametrize("stopped_by", [None, "SIGTERM"])
def test_a_rank_that_is_late_again_and_again_is_named(stragglers, words, stopped_by):
    summary = TrainSummary(**DONE | {"stragglers": stragglers, "stopped_by": stopped_by})
    line = summary.to_line()
    if words is None:
        assert "late" not in line
    else:
        assert f"6 steps in 2.0 minutes, 0.0% of it waiting for data {words}; " in line
    assert summary.to_dict()["stragglers"] == list(stragglers)
    assert json.loads(json.dumps(summary.to_dict())) == summary.to_dict()


def test_what_was_left_out_is_told():
    line = TrainSummary(**DONE | {"bad_samples": ("a", "b"), "num_bad_steps": 1}).to_line()
    assert "(1 skipped: loss or gradients not finite) (2 samples left out); best mean IoU" in line
    assert "0.400 (over 2 of 3 classes; the others are in neither map) at step 6" in line
