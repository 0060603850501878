"""Training on soft labels: the hard training where they are certain, another where they are not."""

import dataclasses

import numpy as np
import pytest
from tests.train.conftest import last_weights, make_samples, same, train_until_killed

from exastorm.errors import InputError
from exastorm.networks.record import load_model
from exastorm.parallel.cluster import Cluster
from exastorm.samples.shards import SampleStore
from exastorm.train.checkpoint import CheckpointSettings
from exastorm.train.device import ComputeSettings
from exastorm.train.evaluate import evaluate
from exastorm.train.run import train
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings
from exastorm.train.validation import ValidationSettings

HARD = TrainSettings(
    num_steps=4,
    batch_size=4,
    schedule=ScheduleSettings(warmup_steps=1),
    validation=ValidationSettings(interval=2),
    checkpoint=CheckpointSettings(interval=2),
    log_interval=2,
    compute=ComputeSettings(device="cpu", num_threads=1),
)
SOFT = dataclasses.replace(HARD, targets="soft")


@pytest.fixture(scope="module")
def soft_samples(tmp_path_factory):
    """The usual samples with an ensemble of looser and stricter thresholds."""
    folder = tmp_path_factory.mktemp("soft") / "s"
    return make_samples(folder, thresholds=(-0.5, -0.25, 0.0, 0.25, 0.5))


@pytest.fixture(scope="module")
def soft_run(soft_samples, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "soft"
    return run, train(soft_samples, run, SOFT, Cluster.alone())


def test_certain_soft_labels_train_the_same_weights_as_hard_ones(tmp_path):
    # Every member has the thresholds of the class map: probabilities of 0 and 1.
    samples = make_samples(tmp_path / "s", thresholds=(0.0, 0.0, 0.0))
    hard = train(samples, tmp_path / "hard", HARD, Cluster.alone())
    soft = train(samples, tmp_path / "soft", SOFT, Cluster.alone())
    assert soft.final_loss == hard.final_loss
    assert same(last_weights(tmp_path / "soft"), last_weights(tmp_path / "hard"))


def test_uncertain_ones_train_others(soft_run, soft_samples, samples, tmp_path):
    hard = train(soft_samples, tmp_path / "hard", HARD, Cluster.alone())
    assert not same(last_weights(soft_run[0]), last_weights(tmp_path / "hard"))
    assert soft_run[1].final_loss != hard.final_loss
    # Hard targets do not see the soft labels that lie beside them.
    train(samples, tmp_path / "plain", HARD, Cluster.alone())
    assert same(last_weights(tmp_path / "plain"), last_weights(tmp_path / "hard"))


def test_classes_are_weighed_by_their_mean_probability(soft_run, soft_samples):
    _, record = load_model(soft_run[0])
    index = SampleStore(soft_samples).index
    roots = np.asarray(index.soft_class_shares) ** -0.5
    np.testing.assert_allclose(record.training["class_weights"], roots / roots.sum(), rtol=1e-5)
    assert record.training["settings"]["targets"] == "soft"
    assert index.soft_class_shares != pytest.approx(index.class_shares.by_pixel, rel=0.02)


def test_scores_are_against_the_hard_labels(soft_run, soft_samples, samples):
    run, _ = soft_run
    assert evaluate(run, soft_samples)["matrix"] == evaluate(run, samples)["matrix"]
    _, record = load_model(run)
    scored = evaluate(run, samples, "validation")["mean_iou"]
    assert scored == pytest.approx(record.training["validation"]["mean_iou"], abs=1e-3)


def test_a_resumed_run_ends_as_a_straight_one(soft_run, soft_samples, tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 3, soft_samples, tmp_path / "r", SOFT)
    # Without a word about targets the run keeps its own.
    train(soft_samples, tmp_path / "r", None, Cluster.alone(), resume=True)
    assert same(last_weights(tmp_path / "r"), last_weights(soft_run[0]))


def test_a_hard_run_does_not_go_on_with_soft_targets(soft_samples, tmp_path):
    train(soft_samples, tmp_path / "r", HARD, Cluster.alone())
    with pytest.raises(InputError, match=r"keep its settings: targets hard .got soft."):
        train(soft_samples, tmp_path / "r", SOFT, Cluster.alone(), resume=True)


def test_soft_targets_need_soft_labels(samples, tmp_path):
    with pytest.raises(InputError, match="soft targets need samples prepared with") as caught:
        train(samples, tmp_path / "r", SOFT, Cluster.alone())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()
