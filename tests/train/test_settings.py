"""Settings that cannot be, and a file of them that comes back as it went."""

import pytest

from exastorm.config import load_settings, save_settings
from exastorm.networks.losses import LossSettings
from exastorm.train.device import ComputeSettings
from exastorm.train.settings import TrainSettings
from exastorm.train.validation import ValidationSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"part_size": 0}, "part_size must be at least 1, got 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"max_bad_steps": 0}, "max_bad_steps must be at least 1, got 0"),
        ({"log_interval": 0}, "log_interval must be at least 1, got 0"),
        ({"num_steps": 50}, r"schedule.warmup_steps must be below num_steps .50., got 50"),
        ({"max_minutes": -1.0}, "max_minutes must be positive, got -1.0"),
        ({"ema_decay": 1.0}, "ema_decay must be between 0 and 1, got 1.0"),
        ({"seed": -1}, "seed must be from 0 .*, got -1"),
        ({"targets": "fuzzy"}, "targets must be one of hard, soft, got 'fuzzy'"),
        ({"label_set": -1}, "label_set must be a number from 0, random or soft, got -1"),
        ({"label_set": "all"}, "label_set must be a number from 0, random or soft, got 'all'"),
        ({"label_set": 1, "targets": "soft"}, "label_set must be 0 where targets is soft, got 1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**options)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (ComputeSettings, {"num_threads": 0}, "num_threads must be at least 1, got 0"),
        (ComputeSettings, {"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
        (ComputeSettings, {"precision": "int8"}, "precision must be one of .*, got 'int8'"),
        (ComputeSettings, {"memory_format": "x"}, "memory_format must be one of .*, got 'x'"),
        (ComputeSettings, {"compile": "yes"}, "compile must be one of auto, off, on, cuda_graphs"),
        (
            ComputeSettings,
            {"device": "cpu", "compile": "cuda_graphs"},
            "compile must not be cuda_graphs on a CPU",
        ),
        (ValidationSettings, {"interval": 0}, "interval must be at least 1, got 0"),
        (ValidationSettings, {"num_samples": 0}, "num_samples must be at least 1, got 0"),
        (ValidationSettings, {"metric": "f1"}, "metric must be one of mean_iou, .*, got 'f1'"),
        (ValidationSettings, {"target": 1.5}, "target must be above 0 and at most 1, got 1.5"),
    ],
)
def test_what_cannot_be_in_a_part_is_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_the_clock_makes_no_deterministic_run():
    with pytest.raises(ValueError, match=r"max_minutes must be unset .*, got 1.0"):
        TrainSettings(max_minutes=1.0, compute=ComputeSettings(deterministic=True))


def test_a_hard_loss_refuses_soft_targets():
    for soft in ({"targets": "soft"}, {"label_set": "soft"}):
        with pytest.raises(ValueError, match="overlap"):
            TrainSettings(loss=LossSettings(overlap="lovasz"), **soft)


def test_settings_survive_a_file(tmp_path):
    settings = TrainSettings(num_steps=77, max_minutes=1.5, loss=LossSettings(weight_law="inverse"))
    save_settings(settings, tmp_path / "s.yaml")
    assert load_settings(TrainSettings, tmp_path / "s.yaml") == settings
