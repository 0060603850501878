"""Settings that cannot be, and a file of them that comes back as it went."""

import pytest

from exastorm.config import load_settings, save_settings
from exastorm.train.settings import TrainSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"validation_interval": 0}, "validation_interval must be at least 1, got 0"),
        ({"validation_samples": 0}, "validation_samples must be at least 1, got 0"),
        ({"checkpoint_interval": -1}, "checkpoint_interval must be at least 1, got -1"),
        ({"log_interval": 0}, "log_interval must be at least 1, got 0"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"num_steps": 50}, r"warmup_steps must be from 0 to below num_steps .50., got 50"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"max_minutes": -1.0}, "max_minutes must be positive, got -1.0"),
        ({"max_minutes": 1.0, "deterministic": True}, "max_minutes must be unset .*, got 1.0"),
        ({"seed": -1}, "seed must be from 0 .*, got -1"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine, got 'linear'"),
        ({"weight_law": "x"}, "weight_law must be one of none, inverse, inverse_sqrt, got 'x'"),
        ({"targets": "fuzzy"}, "targets must be one of hard, soft, got 'fuzzy'"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**options)


def test_settings_survive_a_file(tmp_path):
    settings = TrainSettings(num_steps=77, max_minutes=1.5, weight_law="inverse")
    save_settings(settings, tmp_path / "s.yaml")
    assert load_settings(TrainSettings, tmp_path / "s.yaml") == settings
