"""Scores of a network and of the regression beside it."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.train.conftest import NUM_LAT, NUM_LON, make_samples

from exastorm.errors import InputError
from exastorm.networks.losses import class_weights
from exastorm.networks.record import MODEL_NAME, load_model, save_model
from exastorm.parallel.cluster import Cluster
from exastorm.samples.shards import SampleStore
from exastorm.train import baseline
from exastorm.train.baseline import evaluate_baseline, fit
from exastorm.train.device import ComputeSettings
from exastorm.train.evaluate import evaluate
from exastorm.train.run import train
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings
from exastorm.train.validation import ValidationSettings


@pytest.fixture(scope="module")
def run(samples, tmp_path_factory):
    settings = TrainSettings(
        num_steps=120,
        batch_size=4,
        schedule=ScheduleSettings(warmup_steps=5),
        validation=ValidationSettings(interval=40),
        compute=ComputeSettings(num_threads=1),
    )
    folder = tmp_path_factory.mktemp("run") / "r"
    train(samples, folder, settings, Cluster.alone())
    return folder


def test_the_network_beats_the_pixels(run, samples):
    network, regression = evaluate(run, samples), evaluate_baseline(run, samples)
    # The classes are made from smoothed fields, the fields are rough: surroundings decide.
    assert network["mean_iou"] > regression["mean_iou"] + 0.05
    # All background would have the IoU of its share, about 0.83, and 0 twice: 0.28.
    assert regression["mean_iou"] > 0.33


def test_figures_agree_with_one_another(run, samples):
    figures = evaluate(run, samples, "test")
    matrix = np.array(figures["matrix"])
    assert figures["split"] == "test"
    assert figures["num_samples"] == 8
    assert matrix.sum() == 8 * NUM_LAT * NUM_LON
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    assert figures["mean_iou"] == pytest.approx((np.diag(matrix) / union).mean())


def test_validation_scores_as_the_training_did(run, samples):
    _, record = load_model(run)
    figures = evaluate(run, samples, "validation")
    assert figures["mean_iou"] == pytest.approx(record.training["validation"]["mean_iou"], abs=1e-3)


def test_the_scaling_is_the_model_s_own(run, samples, tmp_path):
    # Other statistics of the samples must not change what the network sees.
    folder = make_samples(tmp_path / "s", seed=5)
    network, record = load_model(run)
    moved = dataclasses.replace(record, shift=tuple(s + 5.0 for s in record.shift))
    save_model(tmp_path / MODEL_NAME, network, moved)
    assert evaluate(run, folder)["matrix"] != evaluate(tmp_path, folder)["matrix"]
    assert SampleStore(folder).index.scaling.shift != record.shift


def test_other_channels_are_refused(run, samples, tmp_path):
    network, record = load_model(run)
    save_model(tmp_path / MODEL_NAME, network, dataclasses.replace(record, channels=("PSL", "TMQ")))
    with pytest.raises(
        InputError, match=r"channels must be those of the model .PSL, TMQ., got TMQ"
    ):
        evaluate(tmp_path, samples)


def test_another_grid_is_refused(run, tmp_path):
    folder = make_samples(tmp_path / "s", num_lon=32)
    with pytest.raises(InputError, match=r"variable lon: grid must be that of the model .16 x 24."):
        evaluate(run, folder)
    with pytest.raises(InputError, match="grid must be"):
        evaluate_baseline(run, folder)


def test_the_regression_finds_the_line():
    # log odds = 2 x - 1 exactly: with 60000 pixels the fit is within 0.1 of both.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60_000, 1, generator=generator)
    odds = 2 * x[:, 0] - 1
    y = (torch.rand(60_000, generator=generator) < torch.sigmoid(odds)).long()
    model = fit(x, y, class_weights([0.5, 0.5], "none"))
    assert (model.weight[1] - model.weight[0]).item() == pytest.approx(2, abs=0.1)
    assert (model.bias[1] - model.bias[0]).item() == pytest.approx(-1, abs=0.1)


def test_the_regression_sees_all_longitudes_of_a_sample_of_pixels(run, samples, monkeypatch):
    _, record = load_model(run)
    store = SampleStore(samples)
    everything, _ = baseline.training_pixels(record, store)
    assert len(everything) == 24 * NUM_LAT * NUM_LON
    monkeypatch.setattr(baseline, "MAX_PIXELS", 24 * NUM_LAT * NUM_LON // 4)
    # Every 4th would meet 6 of 24 longitudes; the next step without a common factor is 5.
    some, _ = baseline.training_pixels(record, store)
    assert len(some) == pytest.approx(24 * NUM_LAT * NUM_LON / 5, abs=24)
    np.testing.assert_allclose(some.mean(0), everything.mean(0), atol=0.1)


def test_the_regression_reaches_the_optimum():
    # At the optimum of a smooth convex loss the gradient is 0; 3 classes, weighted unevenly.
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20_000, 3, generator=generator)
    y = (x @ torch.randn(3, 3, generator=generator)).softmax(1).multinomial(1, generator=generator)
    weights = torch.tensor([0.1, 0.7, 0.2])
    model = fit(x, y[:, 0], weights)
    loss = torch.nn.functional.cross_entropy(model(x), y[:, 0], weight=weights)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-5


def test_the_regression_bears_classes_that_a_line_parts_or_that_are_absent():
    # Parted classes have no optimum but better and better rules; a class of no weight has none.
    x = torch.linspace(-1, 1, 2_000)[:, None]
    model = fit(x, (x[:, 0] > 0.25).long(), torch.tensor([0.5, 0.5, 0.0]))
    assert bool(torch.isfinite(model.weight).all())
    assert (model(x).argmax(1) == (x[:, 0] > 0.25)).float().mean() > 0.995
    alone = fit(x, torch.zeros(2_000, dtype=torch.int64), torch.tensor([1.0, 0.0, 0.0]))
    assert bool((alone(x).argmax(1) == 0).all())
