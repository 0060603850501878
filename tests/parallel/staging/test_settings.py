"""Settings of staging are checked where they are made."""

import pytest

from exastorm.parallel.staging.settings import StageSettings


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"folder": " "}, "folder must be named"),
        ({"mode": "copy"}, "mode must be one of replicate, partition, sample, got copy"),
        ({"mode": "sample"}, "samples_per_node must be given with mode sample"),
        ({"samples_per_node": 5}, "samples_per_node must be given with mode sample, and only"),
        ({"mode": "sample", "samples_per_node": 0}, "samples_per_node must be at least 1"),
        ({"num_readers": 0}, "num_readers must be at least 1, got 0"),
        ({"num_transfers": 0}, "num_transfers must be at least 1"),
        ({"on_corrupt": "ignore"}, "on_corrupt must be one of stop, skip, got ignore"),
        ({"patience_s": 0}, "patience_s must be above 0"),
        ({"steal_after_s": float("nan")}, "steal_after_s must be above 0"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_settings_that_cannot_be(words, problem):
    with pytest.raises(ValueError, match=problem):
        StageSettings(**words)


def test_settings_as_in_the_paper():
    # 1,500 samples a node, 8 readers: SC18 paper, section V-A1, and its staging script.
    settings = StageSettings(folder="/local", mode="sample", samples_per_node=1500)
    assert settings.num_readers == 8
