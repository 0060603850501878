"""Experiments as files: read strictly, and known again by all on which their results hang."""

import dataclasses
import itertools

import pytest
from tests.performance.experiment_files import CLIMATE, write_experiment

from exastorm.config import from_dict
from exastorm.errors import InputError
from exastorm.performance.experiment_settings import (
    load_experiment,
    settings_hash,
    shipped_experiments,
)
from exastorm.performance.experiments import slug, trial_of
from exastorm.samples.settings import PrepareSettings
from exastorm.train.settings import TrainSettings

QUESTIONS = {
    "baseline", "channels", "lag", "larc", "loss_weights", "networks", "normalization", "precision",
    "variants",
}  # fmt: skip

ABLATIONS = QUESTIONS - {"lag", "networks"}


def test_shipped_experiments_are_those_of_the_documentation():
    assert set(shipped_experiments()) == QUESTIONS


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_shipped_experiment_loads_and_its_arms_differ(name):
    experiment = load_experiment(name)
    assert experiment.question.endswith("?")
    keys = [trial_of(experiment, arm, 0).settings for arm in experiment.arms]
    assert len(set(keys)) == len(keys)
    assert len({slug(arm.name) for arm in experiment.arms}) == len(keys)
    for arm in experiment.arms:
        assert arm.train.network.preset == "compact"


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_arms_of_an_ablation_see_as_many_samples(name):
    arms = load_experiment(name).arms
    assert {arm.train.batch_size * arm.train.num_steps for arm in arms} == {4096}


def test_ablations_share_the_baseline():
    key = trial_of(load_experiment("baseline"), load_experiment("baseline").arms[0], 0).settings
    shared = {
        name
        for name in QUESTIONS
        for arm in load_experiment(name).arms
        if trial_of(load_experiment(name), arm, 0).settings == key
    }
    assert shared == ABLATIONS


def test_adam_follows_the_square_root_of_the_batch_and_larc_the_batch():
    arms = {arm.name: arm.train for arm in load_experiment("larc").arms}
    for batch in (1, 8, 64):
        plain, larc = arms[f"batch {batch}"], arms[f"batch {batch}, LARC"]
        # 2e-3 at 8; the file has two digits.
        assert plain.optimizer.learning_rate == pytest.approx(2e-3 * (batch / 8) ** 0.5, rel=0.02)
        assert plain.optimizer.larc == "none"
        assert larc.optimizer.trust == pytest.approx(0.004 * batch / 8)
        changed = dataclasses.replace(larc.optimizer, larc="none", trust=plain.optimizer.trust)
        assert dataclasses.replace(larc, optimizer=changed) == plain


def test_arms_of_lag_see_as_many_samples_and_differ_in_what_they_say():
    arms = {arm.name: arm.train for arm in load_experiment("lag").arms}
    assert {arm.batch_size * arm.num_steps for arm in arms.values()} == {16384}
    for batch in (8, 64, 512):
        adam, late = arms[f"{batch}, Adam"], arms[f"{batch}, LARC, no warm-up, lag 1"]
        cold, larc = arms[f"{batch}, Adam, no warm-up"], arms[f"{batch}, LARC, no warm-up"]
        # A tenth of the steps.
        assert adam.schedule.warmup_steps == pytest.approx(adam.num_steps / 10, rel=0.07)
        assert {a.schedule.warmup_steps for a in (late, cold, larc)} == {0}
        assert (adam.exchange.lag, larc.exchange.lag, late.exchange.lag) == (0, 0, 1)
        assert dataclasses.replace(late, exchange=larc.exchange) == larc
        assert dataclasses.replace(adam, schedule=cold.schedule) == cold
        assert larc.optimizer.trust == pytest.approx(0.004 * batch / 8)
        assert adam.optimizer.learning_rate == pytest.approx(2e-3 * (batch / 8) ** 0.5, rel=0.02)


def test_arms_lie_over_what_they_share_and_that_over_the_climate(tmp_path):
    path = write_experiment(
        tmp_path,
        train={"batch_size": 4, "optimizer": {"learning_rate": 0.5, "beta1": 0.8}},
        prepare={"dtype": "float16"},
        arms={
            "a": {"train": {"optimizer": {"learning_rate": 0.25}}},
            "b": {"prepare": {"dtype": "float32", "channels": ["TMQ"]}},
        },
    )
    a, b = load_experiment(str(path)).arms
    assert (a.train.batch_size, a.train.optimizer.beta1) == (4, 0.8)
    assert (a.train.optimizer.learning_rate, b.train.optimizer.learning_rate) == (0.25, 0.5)
    assert (a.prepare.channels, a.prepare.dtype) == (("TMQ", "PSL"), "float16")
    assert (b.prepare.channels, b.prepare.dtype) == (("TMQ",), "float32")
    assert a.prepare.block_days == b.prepare.block_days == CLIMATE["prepare"]["block_days"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": "?"}, "unknown key 'questions'; did you mean 'question'?"),
        ({"question": None}, "question: "),
        ({"arms": {}}, "arms must name at least one"),
        ({"arms": {"a": {"trian": {}}}}, "arm 'a': unknown key 'trian'; did you mean 'train'?"),
        ({"arms": {"a": {"train": {"batchsize": 1}}}}, "arm 'a': unknown key 'train.batchsize'"),
        ({"train": {"batch_size": 0}}, "batch_size must be at least 1, got 0"),
        ({"prepare": {"dtype": "int4"}}, "prepare.dtype: "),
        ({"climate": "tiny"}, "unknown key 'question'"),
        ({"climate": "summer"}, "climate must be the name of a file beside it, got 'summer'"),
    ],
)
def test_wrong_files_are_refused_with_their_path(tmp_path, changes, message):
    path = write_experiment(tmp_path, **changes)
    with pytest.raises(InputError, match=r"tiny\.yaml") as error:
        load_experiment(str(path))
    assert message in str(error.value)


def test_unknown_experiment_is_told_with_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'loss_weights'"):
        load_experiment("loss_weight")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"num_steps": 700},
        {"optimizer": {"larc": "clip"}},
        {"compute": {"precision": "bfloat16"}},
        {"network": {"norm": "batch"}},
        {"validation": {"interval": 9}},
    ],
)
def test_hash_tells_apart_what_changes_results(change):
    assert settings_hash(from_dict(TrainSettings, change)) != settings_hash(TrainSettings())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"batch_size": TrainSettings().batch_size},
        {"compute": {"num_threads": 7, "device": "cpu"}},
        {"checkpoint": {"interval": 9}},
        {"log_interval": 3},
    ],
)
def test_hash_is_the_same_where_no_result_hangs_on_it(change):
    assert settings_hash(from_dict(TrainSettings, change)) == settings_hash(TrainSettings())


def test_hash_is_of_all_stages_in_their_order():
    stages = (PrepareSettings(dtype="float16"), TrainSettings(batch_size=3))
    hashes = {settings_hash(*some) for some in itertools.permutations(stages)}
    assert len(hashes | {settings_hash(stages[0]), settings_hash(stages[1])}) == 4


def test_slug_is_safe_in_a_path():
    assert slug("batch 64, LARC / 4") == "batch-64-larc-4"
    assert slug("+") == "arm"
