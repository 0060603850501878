"""Training: what it leaves behind, that it can be trusted, and what each option does."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tests.train.conftest import make_samples

from exastorm.config import load_settings
from exastorm.errors import InputError
from exastorm.networks.record import load_model
from exastorm.parallel.world import World
from exastorm.samples.shards import SampleStore
from exastorm.train import workers
from exastorm.train.checkpoint import CHECKPOINT_NAME, load_checkpoint
from exastorm.train.device import plan_compute
from exastorm.train.loop import Trainer, train
from exastorm.train.run_folder import RunSettings
from exastorm.train.settings import TrainSettings

SHORT = TrainSettings(
    num_steps=6,
    batch_size=4,
    warmup_steps=2,
    validation_interval=3,
    checkpoint_interval=2,
    log_interval=2,
    device="cpu",
    num_threads=1,
)


def weights(run):
    return load_checkpoint(run / CHECKPOINT_NAME)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def log_lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def short_run(samples, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "short"
    return run, train(samples, run, SHORT, World.single())


def test_a_run_folder_has_everything(short_run):
    run, summary = short_run
    names = {path.name for path in run.iterdir()}
    assert names == {
        "settings.yaml", "version.txt", "log.jsonl", "events", "checkpoint.pt", "model.safetensors"
    }  # fmt: skip
    assert load_settings(RunSettings, run / "settings.yaml").train == SHORT
    assert f"torch {torch.__version__}" in (run / "version.txt").read_text()
    assert summary.num_steps == 6
    assert summary.model == str(run / "model.safetensors")
    assert "6 steps in" in summary.to_line()
    assert json.loads(json.dumps(summary.to_dict())) == summary.to_dict()


def test_the_log_has_losses_and_validations_at_their_intervals(short_run):
    run, summary = short_run
    lines = log_lines(run)
    assert [x["step"] for x in lines if "loss" in x] == [2, 4, 6]
    validations = {x["step"]: x["validation"] for x in lines if "validation" in x}
    assert list(validations) == [3, 6]
    assert summary.best_mean_iou == max(v["mean_iou"] for v in validations.values())
    assert validations[summary.best_step]["mean_iou"] == summary.best_mean_iou
    assert all(v["mean_iou"] >= v["mean_iou_untuned"] for v in validations.values())


def test_the_record_says_what_the_weights_need(short_run, samples):
    run, summary = short_run
    _, record = load_model(run)
    index = SampleStore(samples).index
    assert record.channels == ("TMQ", "PSL")
    assert record.units == ("kg m-2", "Pa")
    assert record.mean == index.statistics.mean
    assert record.lat == index.lat
    assert record.classes == ("background", "tropical_cyclone", "atmospheric_river")
    assert record.training["step"] == summary.best_step
    assert record.training["settings"]["num_steps"] == 6
    # Inverse square roots of the shares, over their sum.
    roots = np.asarray(index.class_shares.by_pixel) ** -0.5
    np.testing.assert_allclose(record.training["class_weights"], roots / roots.sum(), rtol=1e-5)


def test_a_resumed_run_ends_as_a_straight_one(short_run, samples, tmp_path, monkeypatch):
    straight, summary = short_run
    real_step = Trainer.step

    def step_until_killed(self, batch):
        if self.step_number == 5:
            raise KeyboardInterrupt
        return real_step(self, batch)

    monkeypatch.setattr(Trainer, "step", step_until_killed)
    with pytest.raises(KeyboardInterrupt):
        train(samples, tmp_path / "r", SHORT, World.single())
    monkeypatch.undo()
    # Step 5 was done after the checkpoint at step 4 and is done again.
    assert load_checkpoint(tmp_path / "r" / CHECKPOINT_NAME)["step"] == 4
    resumed = train(samples, tmp_path / "r", SHORT, World.single(), resume=True)
    assert same(weights(tmp_path / "r"), weights(straight))
    for name in ("best_step", "best_mean_iou", "best_iou", "final_loss"):
        assert getattr(resumed, name) == getattr(summary, name)
    (network, record), (network2, record2) = load_model(tmp_path / "r"), load_model(straight)
    assert same(network.state_dict(), network2.state_dict())
    assert record == record2
    kept = [(x["step"], x.get("loss")) for x in log_lines(tmp_path / "r")]
    assert kept == [(x["step"], x.get("loss")) for x in log_lines(straight)]


def test_a_finished_run_has_nothing_left_to_do(short_run, samples):
    run, summary = short_run
    before = weights(run)
    again = train(samples, run, TrainSettings(), World.single(), resume=True)
    assert same(before, weights(run))
    assert again.num_steps == 6
    assert again.best_mean_iou == summary.best_mean_iou


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_same_seed_gives_the_same_weights(samples, tmp_path, deterministic):
    settings = dataclasses.replace(SHORT, deterministic=deterministic, num_threads=None)
    if not deterministic:
        settings = dataclasses.replace(settings, num_threads=1)
    for name in ("a", "b"):
        train(samples, tmp_path / name, settings, World.single())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert torch.are_deterministic_algorithms_enabled() is False


def test_compute_mode_holds_while_training_and_no_longer(samples, tmp_path, monkeypatch):
    seen = []
    real_step = Trainer.step

    def watch(self, batch):
        seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return real_step(self, batch)

    monkeypatch.setattr(Trainer, "step", watch)
    before = torch.get_num_threads()
    one = dataclasses.replace(SHORT, num_steps=1, warmup_steps=0)
    train(samples, tmp_path / "a", dataclasses.replace(one, num_threads=9), World.single())
    one = dataclasses.replace(one, deterministic=True, num_threads=None)
    train(samples, tmp_path / "b", one, World.single())
    # Nine threads for a batch of four: two inside the operations of each sample.
    assert seen == [(2, False), (1, True)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 2},
        {"learning_rate": 1e-4},
        {"schedule": "constant"},
        {"warmup_steps": 0},
        {"weight_law": "none"},
        {"roll": False},
    ],
)
def test_each_option_changes_the_weights(short_run, samples, tmp_path, change):
    train(samples, tmp_path / "r", dataclasses.replace(SHORT, **change), World.single())
    assert not same(weights(tmp_path / "r"), weights(short_run[0]))


def test_options_that_change_the_score_alone(short_run, samples, tmp_path):
    change = {"tune_decision": False, "validation_samples": 3}
    settings = dataclasses.replace(SHORT, **change, checkpoint_interval=6)
    train(samples, tmp_path / "r", settings, World.single())
    assert same(weights(tmp_path / "r"), weights(short_run[0]))
    _, record = load_model(tmp_path / "r")
    assert record.decision_bias == (0.0, 0.0, 0.0)
    scores = record.training["validation"]
    assert scores["mean_iou"] == scores["mean_iou_untuned"]
    # Every third of the 8 validation samples.
    data = Trainer(samples, tmp_path / "r", settings, World.single(), plan_compute(SHORT)).data
    assert sum(len(b.field) for b in data.validation_batches()) == 3


def test_the_clock_ends_a_run(samples, tmp_path):
    settings = dataclasses.replace(SHORT, num_steps=10_000, max_minutes=0.005)
    summary = train(samples, tmp_path / "r", settings, World.single())
    assert 0 < summary.num_steps < 10_000
    assert summary.minutes >= 0.005
    # The cosine ran out with the time.
    assert log_lines(tmp_path / "r")[-2]["learning_rate"] < 0.1 * settings.learning_rate


def test_ranks_share_the_samples_of_a_step(samples, tmp_path):
    worlds = [
        World(rank=r, num_ranks=2, node=0, num_nodes=1, rank_of_node=r, ranks_per_node=2)
        for r in (0, 1)
    ]
    plan = plan_compute(SHORT)
    data = [Trainer(samples, tmp_path, SHORT, world, plan).data for world in worlds]
    # 24 samples, 2 ranks of 4: 3 steps an epoch, no sample twice.
    seen = [t for d in data for step in range(3) for t in d.times_of_step(step)]
    assert len(seen) == len(set(seen)) == 24
    with pytest.raises(InputError, match="training must be in one process, got num_ranks 2"):
        train(samples, tmp_path / "r", SHORT, worlds[1])


def test_a_loss_that_is_no_number_names_its_samples(samples, tmp_path, monkeypatch):
    def poisoned(logits, labels, weights, total):
        return logits.sum() * float("nan")

    monkeypatch.setattr(workers, "weighted_cross_entropy", poisoned)
    with pytest.raises(InputError, match=r"loss became nan in step 1; .*learning_rate") as caught:
        train(samples, tmp_path / "r", SHORT, World.single())
    # Four samples of January 2000.
    assert str(caught.value.time).count("2000-01-") == 4


def test_a_run_is_not_overwritten(short_run, samples):
    with pytest.raises(InputError, match="holds a run already; resume it"):
        train(samples, short_run[0], SHORT, World.single())


def test_nothing_to_resume(samples, tmp_path):
    with pytest.raises(InputError, match="must hold a checkpoint to resume from"):
        train(samples, tmp_path, SHORT, World.single(), resume=True)


def test_a_resumed_run_keeps_its_settings(short_run, samples):
    other = dataclasses.replace(SHORT, learning_rate=0.5)
    with pytest.raises(InputError, match=r"keep its settings: learning_rate 0.002 .got 0.5."):
        train(samples, short_run[0], other, World.single(), resume=True)


def test_a_wrong_folder_leaves_no_run_behind(tmp_path):
    with pytest.raises(InputError):
        train(tmp_path, tmp_path / "r", SHORT, World.single())
    assert not (tmp_path / "r").exists()


def test_a_batch_larger_than_the_split(samples, tmp_path):
    settings = dataclasses.replace(SHORT, batch_size=25)
    with pytest.raises(InputError, match="at most the 24 samples"):
        train(samples, tmp_path / "r", settings, World.single())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(samples, tmp_path):
    with pytest.raises(InputError, match="device must be cpu or auto, got cuda"):
        train(samples, tmp_path / "r", dataclasses.replace(SHORT, device="cuda"), World.single())


def test_grids_of_any_width(tmp_path):
    samples = make_samples(tmp_path / "s", num_lon=21)
    summary = train(
        samples, tmp_path / "r", dataclasses.replace(SHORT, num_steps=3), World.single()
    )
    assert 0 < summary.best_mean_iou < 1
