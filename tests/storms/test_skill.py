"""The pooled confusion matrix, with every figure worked by hand."""

import json

import numpy as np
import pytest

from exastorm.storms.skill import ConfusionMatrix

# Six pixels:  truth     0 0 0 1 2 2
#              predicted 0 0 1 1 2 0
# rows truth: BG (2, 1, 0), TC (0, 1, 0), AR (1, 0, 1).
TRUTH = np.array([[0, 0, 0], [1, 2, 2]], dtype=np.int8)
PREDICTED = np.array([[0, 0, 1], [1, 2, 0]], dtype=np.int64)


def _recorded(truth=TRUTH, predicted=PREDICTED, **options):
    confusion = ConfusionMatrix()
    confusion.record_batch(truth, predicted, **options)
    return confusion


def test_rows_are_the_truth():
    assert _recorded().matrix.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_scores_of_six_pixels():
    summary = _recorded().summary()
    # IoU: BG 2 / (3 + 3 - 2) = 1/2; TC 1 / (1 + 2 - 1) = 1/2; AR 1 / (2 + 1 - 1) = 1/2.
    assert summary["iou"] == {"BG": 0.5, "TC": 0.5, "AR": 0.5}
    assert summary["mean_iou"] == 0.5
    assert summary["precision"] == pytest.approx({"BG": 2 / 3, "TC": 0.5, "AR": 1.0})
    assert summary["recall"] == pytest.approx({"BG": 2 / 3, "TC": 1.0, "AR": 0.5})
    assert summary["num_true_pixels"] == {"BG": 3, "TC": 1, "AR": 2}
    assert summary["num_predicted_pixels"] == {"BG": 3, "TC": 2, "AR": 1}
    assert summary["num_pixels"] == 6
    json.dumps(summary)


def test_the_mean_is_over_pooled_pixels_not_over_snapshots():
    # First snapshot: TC 1 of 1 hit (IoU 1). Second: 3 true, none predicted (IoU 0).
    # The mean over snapshots would be 1/2; pooled it is 1 / 4.
    confusion = _recorded(np.array([1]), np.array([1]))
    confusion.record_batch(np.array([1, 1, 1]), np.array([0, 0, 0]))
    assert confusion.summary()["iou"]["TC"] == 0.25


def test_a_class_absent_in_both_has_no_iou_and_does_not_lower_the_mean():
    # BG: 2 / 3, AR: 1 / 2, no TC anywhere. Mean (2/3 + 1/2) / 2 = 7/12.
    summary = _recorded(np.array([0, 0, 2, 2]), np.array([0, 0, 0, 2])).summary()
    assert summary["iou"]["TC"] is None
    assert summary["mean_iou"] == pytest.approx(7 / 12)


def test_a_class_only_predicted_has_iou_zero():
    summary = _recorded(np.array([0, 0]), np.array([0, 1])).summary()
    assert summary["iou"]["TC"] == 0.0
    assert summary["recall"]["TC"] is None
    assert summary["precision"]["TC"] == 0.0


def test_pixels_without_label_or_not_valid_do_not_count():
    truth = np.array([[-1, 0], [1, 2]], dtype=np.int8)
    predicted = np.array([[2, 0], [-1, 2]], dtype=np.int8)
    confusion = _recorded(truth, predicted, valid=np.array([True, False]))
    # Left: pixels (0,0) and (1,0) lack a label; right: False. Nothing is left.
    assert confusion.matrix.sum() == 0
    assert confusion.summary()["mean_iou"] is None
    confusion.record_batch(truth, predicted)
    assert confusion.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_two_halves_merge_to_the_whole():
    halves = _recorded(TRUTH[0], PREDICTED[0]).merge(_recorded(TRUTH[1], PREDICTED[1]))
    assert halves.matrix.tolist() == _recorded().matrix.tolist()


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros(3, int), np.zeros(4, int), "one shape"),
        (np.zeros(3), np.zeros(3, int), "truth must hold integers, got float64"),
        (np.zeros(3, int), np.full(3, 3), r"predicted must lie in -1..2, got 3..3"),
    ],
)
def test_wrong_input_is_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix().record_batch(truth, predicted)


def test_one_class_is_no_classification():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        ConfusionMatrix(1)
    with pytest.raises(ValueError, match="both must have 3 classes, got 2"):
        ConfusionMatrix(3).merge(ConfusionMatrix(2))
