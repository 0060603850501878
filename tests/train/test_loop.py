"""Training: what it leaves behind, that it can be trusted, and what each option does."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.train.conftest import (
    changed,
    last_state,
    last_weights,
    make_samples,
    same,
    train_until_killed,
)

from exastorm.config import load_settings
from exastorm.errors import InputError
from exastorm.networks.record import load_model
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.world import World
from exastorm.samples.shards import SampleStore
from exastorm.train.checkpoint import CheckpointSettings
from exastorm.train.data import TrainingData
from exastorm.train.device import ComputeSettings, plan_compute
from exastorm.train.loop import Trainer
from exastorm.train.run import train
from exastorm.train.run_folder import RunSettings
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings
from exastorm.train.validation import ValidationSettings

SHORT = TrainSettings(
    num_steps=6,
    batch_size=4,
    schedule=ScheduleSettings(warmup_steps=2),
    validation=ValidationSettings(interval=3),
    checkpoint=CheckpointSettings(interval=2),
    log_interval=2,
    compute=ComputeSettings(device="cpu", num_threads=1),
)


def log_lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def short_run(samples, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "short"
    return run, train(samples, run, SHORT, Cluster.alone())


def test_a_run_folder_has_everything(short_run):
    run, summary = short_run
    names = {path.name for path in run.iterdir()}
    assert names == {
        "settings.yaml", "version.txt", "log.jsonl", "events", "samples.txt", "checkpoints",
        "model.safetensors"
    }  # fmt: skip
    assert load_settings(RunSettings, run / "settings.yaml").train == SHORT
    assert f"torch {torch.__version__}" in (run / "version.txt").read_text()
    assert summary.num_steps == 6
    assert summary.model == str(run / "model.safetensors")
    line = summary.to_line()
    assert "6 steps in" in line
    assert "in 0.0 minutes" not in line
    assert "6 steps in 2.5 minutes" in replace(summary, minutes=2.5).to_line()
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
    train_until_killed(monkeypatch, 5, samples, tmp_path / "r", SHORT)
    # Step 5 was done after the checkpoint at step 4 and is done again.
    assert last_state(tmp_path / "r")["step"] == 4
    resumed = train(samples, tmp_path / "r", SHORT, Cluster.alone(), resume=True)
    assert same(last_weights(tmp_path / "r"), last_weights(straight))
    for name in ("best_step", "best_mean_iou", "best_iou", "final_loss"):
        assert getattr(resumed, name) == getattr(summary, name)
    (network, record), (network2, record2) = load_model(tmp_path / "r"), load_model(straight)
    assert same(network.state_dict(), network2.state_dict())
    assert record == record2
    kept = [(x["step"], x.get("loss")) for x in log_lines(tmp_path / "r")]
    assert kept == [(x["step"], x.get("loss")) for x in log_lines(straight)]


def test_a_finished_run_has_nothing_left_to_do(short_run, samples):
    run, summary = short_run
    before = last_weights(run)
    again = train(samples, run, None, Cluster.alone(), resume=True)
    assert same(before, last_weights(run))
    assert again.num_steps == 6
    assert again.best_mean_iou == summary.best_mean_iou


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_same_seed_gives_the_same_last_weights(samples, tmp_path, deterministic):
    settings = changed(SHORT, compute__deterministic=deterministic, compute__num_threads=None)
    if not deterministic:
        settings = changed(settings, compute__num_threads=1)
    for name in ("a", "b"):
        train(samples, tmp_path / name, settings, Cluster.alone())
    assert same(last_weights(tmp_path / "a"), last_weights(tmp_path / "b"))
    assert torch.are_deterministic_algorithms_enabled() is False


def test_compute_mode_holds_while_training_and_no_longer(samples, tmp_path, monkeypatch):
    seen = []
    real_step = Trainer.step

    def watch(self, batch):
        seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return real_step(self, batch)

    monkeypatch.setattr(Trainer, "step", watch)
    before = torch.get_num_threads()
    one = changed(SHORT, schedule__warmup_steps=0, num_steps=1)
    train(samples, tmp_path / "a", changed(one, compute__num_threads=9), Cluster.alone())
    one = changed(one, compute__deterministic=True, compute__num_threads=None)
    train(samples, tmp_path / "b", one, Cluster.alone())
    # Nine threads for a batch of four: two inside the operations of each sample, eight in all.
    assert seen == [(8, False), (1, True)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 2},
        {"optimizer__learning_rate": 1e-4},
        {"schedule__name": "constant"},
        {"schedule__warmup_steps": 0},
        {"loss__weight_law": "none"},
        {"roll": False},
        {"mirror": True},
        {"loss__overlap": "dice"},
        {"loss__area_weighting": True},
        {"optimizer__name": "lamb"},
        {"compute__precision": "bfloat16"},
        {"network__norm": "batch"},
        {"network__name": "tiramisu"},
    ],
)
def test_each_option_changes_the_last_weights(short_run, samples, tmp_path, change):
    train(samples, tmp_path / "r", changed(SHORT, **change), Cluster.alone())
    assert not same(last_weights(tmp_path / "r"), last_weights(short_run[0]))


def test_options_that_change_the_score_alone(short_run, samples, tmp_path):
    change = {"validation__tune_decision": False, "validation__num_samples": 3}
    settings = changed(SHORT, **change, checkpoint__interval=6)
    train(samples, tmp_path / "r", settings, Cluster.alone())
    assert same(last_weights(tmp_path / "r"), last_weights(short_run[0]))
    _, record = load_model(tmp_path / "r")
    assert record.decision_bias == (0.0, 0.0, 0.0)
    scores = record.training["validation"]
    assert scores["mean_iou"] == scores["mean_iou_untuned"]
    # Every third of the 8 validation samples.
    data = Trainer(
        samples,
        tmp_path / "r",
        settings,
        Cluster.alone(),
        plan_compute(SHORT.compute, SHORT.batch_size),
    ).data
    assert sum(len(b.field) for b in data.validation_batches()) == 3


def test_the_clock_ends_a_run(samples, tmp_path):
    settings = changed(SHORT, schedule__warmup_steps=0, num_steps=10_000, max_minutes=0.02)
    summary = train(samples, tmp_path / "r", settings, Cluster.alone())
    assert 0 < summary.num_steps < 10_000
    assert summary.minutes >= 0.02
    # The cosine ran out with the time: by steps alone it would not have fallen by a hundredth.
    rates = [x["learning_rate"] for x in log_lines(tmp_path / "r") if "learning_rate" in x]
    assert rates[-1] < 0.5 * settings.optimizer.learning_rate


def test_ranks_share_the_samples_of_a_step(samples, tmp_path):
    worlds = [World(rank=r, placement=(0, 0)) for r in (0, 1)]
    data = [TrainingData(samples, SHORT, world, torch.device("cpu")) for world in worlds]
    # 24 samples, 2 ranks of 4: 3 steps an epoch, no sample twice.
    seen = [t for d in data for step in range(3) for t in d.times_of_step(step)]
    assert len(seen) == len(set(seen)) == 24


def poison(monkeypatch, steps):
    """Make the loss of some steps no number."""
    real = Trainer.learn

    def learn(self, batch):
        learned = real(self, batch)
        if self.step_number in steps:
            self.loss = self.loss * float("nan")
        return learned

    monkeypatch.setattr(Trainer, "learn", learn)


def test_a_step_whose_loss_is_no_number_is_left_out(samples, tmp_path, monkeypatch):
    poison(monkeypatch, {2, 5})
    seen = []
    real = Trainer.step

    def step(self, batch):
        before = {k: v.clone() for k, v in self.network.state_dict().items()}
        loss = real(self, batch)
        seen.append(same(before, self.network.state_dict()))
        return loss

    monkeypatch.setattr(Trainer, "step", step)
    summary = train(samples, tmp_path / "r", SHORT, Cluster.alone())
    assert seen == [False, False, True, False, False, True]
    assert summary.num_bad_steps == 2
    assert summary.final_loss is None
    assert "(2 skipped: loss or gradients not finite)" in summary.to_line()
    lines = [x for x in log_lines(tmp_path / "r") if "num_bad_steps" in x]
    assert [x["num_bad_steps"] for x in lines] == [0, 1, 2]
    assert np.isfinite([x["loss"] for x in lines]).all()


def test_too_many_bad_steps_name_their_samples(samples, tmp_path, monkeypatch):
    poison(monkeypatch, range(1, 100))
    settings = changed(SHORT, max_bad_steps=3)
    message = r"not finite in 3 steps in a row, the last of them step 4; .*learning_rate .0.002."
    with pytest.raises(InputError, match=message) as caught:
        train(samples, tmp_path / "r", settings, Cluster.alone())
    # Four samples of January 2000.
    assert str(caught.value.time).count("2000-01-") == 4


def test_with_lag_the_samples_are_those_of_the_gradients(samples, tmp_path, monkeypatch):
    poison(monkeypatch, range(1, 100))
    settings = changed(SHORT, max_bad_steps=3, exchange__lag=1)
    # The third update that is bad is the fourth step's, with the gradients of the third.
    with pytest.raises(InputError, match="in a row, the last of them step 3;"):
        train(samples, tmp_path / "r", settings, Cluster.alone())


def test_parts_of_a_batch_learn_what_the_batch_learns(short_run, samples, tmp_path):
    train(samples, tmp_path / "r", changed(SHORT, part_size=1), Cluster.alone())
    parts, whole = last_weights(tmp_path / "r"), last_weights(short_run[0])
    assert not same(parts, whole)  # sums are rounded in another order
    # Adam divides by the size of a gradient, so where that is near 0 its rounding shows; six steps
    # of at most 0.002 move a weight by 0.012.
    for name, tensor in whole.items():
        assert (parts[name] - tensor).abs().mean() < 1e-4


def test_the_average_of_the_weights_is_what_is_kept(short_run, samples, tmp_path):
    train(samples, tmp_path / "r", changed(SHORT, ema_decay=0.5), Cluster.alone())
    # It changes what is scored and saved, not what is learned.
    assert same(last_weights(tmp_path / "r"), last_weights(short_run[0]))
    network, record = load_model(tmp_path / "r")
    kept = {k: v for k, v in network.state_dict().items() if k != "classifier.bias"}
    last = last_weights(tmp_path / "r")
    assert not same(kept, {k: last[k] for k in kept})
    assert record.training["settings"]["ema_decay"] == 0.5


def test_an_average_goes_on_after_an_interruption(samples, tmp_path, monkeypatch):
    settings = changed(SHORT, ema_decay=0.9)
    train(samples, tmp_path / "straight", settings, Cluster.alone())
    train_until_killed(monkeypatch, 5, samples, tmp_path / "r", settings)
    train(None, tmp_path / "r", None, Cluster.alone(), resume=True)
    (network, _), (network2, _) = load_model(tmp_path / "r"), load_model(tmp_path / "straight")
    assert same(network.state_dict(), network2.state_dict())


def test_a_run_ends_when_it_has_reached_its_target(samples, tmp_path):
    settings = changed(SHORT, validation__target=0.05)
    summary = train(samples, tmp_path / "r", settings, Cluster.alone())
    # The first score, after three steps, is that good.
    assert (summary.num_steps, summary.reached_target) == (3, True)
    assert "target reached" in summary.to_line()
    again = train(samples, tmp_path / "r", None, Cluster.alone(), resume=True)
    assert again.num_steps == 3


def test_the_best_weights_are_those_of_the_metric(samples, tmp_path):
    settings = changed(SHORT, validation__metric="mean_iou_per_image", validation__interval=1)
    summary = train(samples, tmp_path / "r", settings, Cluster.alone())
    scores = {x["step"]: x["validation"] for x in log_lines(tmp_path / "r") if "validation" in x}
    best = max(scores, key=lambda step: scores[step]["mean_iou_per_image"])
    assert summary.best_step == best


def test_a_signal_ends_a_run_that_goes_on_as_if_it_had_not(
    short_run, samples, tmp_path, monkeypatch
):
    real_step = Trainer.step

    def step(self, batch):
        if self.step_number == 2:
            signal.raise_signal(signal.SIGTERM)
        return real_step(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    summary = train(samples, tmp_path / "r", SHORT, Cluster.alone())
    monkeypatch.undo()
    assert (summary.num_steps, summary.stopped_by) == (3, "SIGTERM")
    assert f"resume with: exastorm train --resume {tmp_path / 'r'}" in summary.to_line()
    train(None, tmp_path / "r", None, Cluster.alone(), resume=True)
    assert same(last_weights(tmp_path / "r"), last_weights(short_run[0]))


def test_a_run_without_a_checkpoint_begins_again(short_run, samples, tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 0, samples, tmp_path / "r", SHORT)
    train(None, tmp_path / "r", None, Cluster.alone(), resume=True)
    assert same(last_weights(tmp_path / "r"), last_weights(short_run[0]))


def test_a_resumed_run_may_compute_otherwise(short_run, samples, tmp_path):
    shutil.copytree(short_run[0], tmp_path / "r")
    other = changed(SHORT, compute__num_threads=2, log_interval=5)
    assert train(None, tmp_path / "r", other, Cluster.alone(), resume=True).num_steps == 6


def test_a_run_must_say_where_its_samples_are(short_run, tmp_path):
    shutil.copytree(short_run[0], tmp_path / "r")
    (tmp_path / "r" / "samples.txt").unlink()
    with pytest.raises(InputError, match="name the samples too"):
        train(None, tmp_path / "r", None, Cluster.alone(), resume=True)
    with pytest.raises(InputError, match="must be given samples"):
        train(None, tmp_path / "new", SHORT, Cluster.alone())


def test_settings_that_were_lost_or_changed_are_not_gone_on_with(short_run, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(short_run[0], run)
    (run / "settings.yaml").write_text("")
    with pytest.raises(InputError, match=r"settings.yaml: must hold the settings of the run"):
        train(None, run, None, Cluster.alone(), resume=True)
    (run / "settings.yaml").write_text("train: {batch_size: 3}")
    with pytest.raises(InputError, match=r"must keep its settings: .*batch_size 4 \(got 3\)"):
        train(None, run, None, Cluster.alone(), resume=True)


def test_best_weights_that_are_gone_are_replaced_and_told(short_run, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(short_run[0], run)
    (run / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="the best weights so far are lost: .*no such model file"):
        summary = train(None, run, None, Cluster.alone(), resume=True)
    assert summary.best_step == 6
    assert load_model(run)[1].training["step"] == 6


def test_a_run_has_a_folder_of_its_own(samples):
    for run in (samples, samples / "run"):
        with pytest.raises(InputError, match="a run must have a folder of its own"):
            train(samples, run, SHORT, Cluster.alone())


def test_other_samples_are_not_gone_on_with(short_run, tmp_path):
    shutil.copytree(short_run[0], tmp_path / "r")
    others = make_samples(tmp_path / "s", seed=5)
    with pytest.raises(InputError, match="must keep its samples, got others"):
        train(others, tmp_path / "r", None, Cluster.alone(), resume=True)


def test_a_bad_sample_stops_the_run_or_is_left_out(tmp_path):
    folder = make_samples(tmp_path / "s")
    shard = next(folder.glob("train-*.bin"))
    with shard.open("r+b") as file:
        file.write(np.full(20, np.nan, np.float32).tobytes())
    with pytest.raises(InputError, match=r"train-00000\.bin"):
        train(folder, tmp_path / "a", SHORT, Cluster.alone())
    with pytest.warns(RuntimeWarning, match=r"train-00000\.bin"):
        summary = train(folder, tmp_path / "b", changed(SHORT, skip_bad=True), Cluster.alone())
    assert len(summary.bad_samples) == 1
    assert "(1 samples left out)" in summary.to_line()
    assert summary.final_loss is not None


def test_a_run_is_not_overwritten(short_run, samples):
    with pytest.raises(InputError, match="holds a run already; go on with --resume"):
        train(samples, short_run[0], SHORT, Cluster.alone())


def test_nothing_to_resume(samples, tmp_path):
    with pytest.raises(InputError, match="must be a run folder to resume"):
        train(samples, tmp_path, SHORT, Cluster.alone(), resume=True)


def test_a_resumed_run_keeps_its_settings(short_run, samples):
    other = changed(SHORT, optimizer__learning_rate=0.5)
    with pytest.raises(InputError, match=r"optimizer.learning_rate 0.002 .got 0.5."):
        train(samples, short_run[0], other, Cluster.alone(), resume=True)


def test_a_wrong_folder_leaves_no_run_behind(tmp_path):
    with pytest.raises(InputError):
        train(tmp_path, tmp_path / "r", SHORT, Cluster.alone())
    assert not (tmp_path / "r").exists()


def test_a_batch_larger_than_the_split(samples, tmp_path):
    settings = changed(SHORT, batch_size=25)
    with pytest.raises(InputError, match="at most the 24 samples"):
        train(samples, tmp_path / "r", settings, Cluster.alone())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(samples, tmp_path):
    with pytest.raises(InputError, match="device must be cpu or auto, got cuda"):
        train(samples, tmp_path / "r", changed(SHORT, compute__device="cuda"), Cluster.alone())


def test_grids_of_any_width(tmp_path):
    samples = make_samples(tmp_path / "s", num_lon=21)
    summary = train(samples, tmp_path / "r", changed(SHORT, num_steps=3), Cluster.alone())
    assert 0 < summary.best_mean_iou < 1
