"""A tiny experiment from its files to its rows: nothing twice, nothing lost."""

import shutil

import pytest
import yaml
from tests.performance.experiment_files import CLIMATE, write_experiment

from exastorm import __version__
from exastorm.errors import InputError
from exastorm.networks.record import load_model, weights_checksum
from exastorm.performance.experiment_climate import make_climate, make_samples
from exastorm.performance.experiment_results import RESULTS_NAME, append_results, read_results
from exastorm.performance.experiment_settings import load_experiment
from exastorm.performance.experiments import rows_of, run_experiments, trial_of
from exastorm.report.logs import read_curves
from exastorm.train.loop import Trainer
from exastorm.train.run_lock import RunLock


class Laboratory:
    """Does experiments in a folder, and keeps what it was told."""

    def __init__(self, out):
        self.out, self.lines, self.answers = out, [], {}

    def run(self, *paths, seeds=(0,), num_jobs=1, arms=()):
        self.lines.clear()
        return run_experiments(
            [load_experiment(str(p)) for p in paths], self.out, seeds, num_jobs,
            self.lines.append, lambda e, rows: self.answers.update({e.name: rows}), arms,
        )  # fmt: skip

    def num_begun(self):
        return sum(line.startswith("begins") for line in self.lines)


@pytest.fixture(scope="module")
def climate_folder(tmp_path_factory):
    """A climate as experiments leave it."""
    folder = tmp_path_factory.mktemp("climates") / "tiny_climate"
    experiment = load_experiment(str(write_experiment(folder.parent)))
    make_climate(folder, experiment.climate, lambda line: None)
    make_samples(folder, experiment.climate.prepare, lambda line: None)
    return folder


@pytest.fixture
def laboratory(tmp_path, climate_folder):
    """One whose climate is there."""
    shutil.copytree(climate_folder, tmp_path / "out" / "climates" / "tiny_climate")
    return Laboratory(tmp_path / "out")


def test_each_arm_is_trained_with_each_seed_and_scored_once(tmp_path, laboratory):
    path = write_experiment(tmp_path)
    assert laboratory.run(path, seeds=(0, 1))
    rows = laboratory.answers["tiny"]
    assert rows == rows_of(load_experiment(str(path)), laboratory.out)
    assert [(r.arm, r.seed) for r in rows] == [
        ("plain", 0), ("plain", 1), ("one channel", 0), ("one channel", 1)
    ]  # fmt: skip
    assert laboratory.num_begun() == 4
    for row in rows:
        assert (row.experiment, row.status, row.version) == ("tiny", "done", __version__)
        assert (row.grid, row.network, row.variant) == ("24x36", "deeplabv3plus", "modern")
        # 2 steps of 2 samples.
        assert (row.batch, row.steps, row.samples_seen, row.num_bad_steps) == (2, 2, 4, 0)
        assert 0.0 < row.mean_iou <= 1.0
        assert 0.0 < row.mean_iou_per_image <= 1.0
        assert row.samples_per_s > 0
        assert row.minutes > 0
        best = max(score for _, score in read_curves(laboratory.out / row.run)[1]["mean"])
        assert row.validation_mean_iou == pytest.approx(best, rel=1e-5)
    # The first convolution, and the skip of the input, have fewer weights with one channel less.
    assert rows[2].parameters < rows[0].parameters
    # A seed changes the weights.
    weights = [load_model(laboratory.out / row.run)[0].state_dict() for row in rows]
    assert weights_checksum(weights[0]) != weights_checksum(weights[1])
    assert len(list((laboratory.out / "climates/tiny_climate").glob("samples-*"))) == 2

    before = (laboratory.out / RESULTS_NAME).read_bytes()
    laboratory.answers.clear()
    assert laboratory.run(path, seeds=(0, 1))
    assert laboratory.num_begun() == 0
    assert (laboratory.out / RESULTS_NAME).read_bytes() == before
    assert laboratory.answers["tiny"] == rows


def test_same_arms_of_several_experiments_are_trained_once(tmp_path, laboratory):
    first = write_experiment(tmp_path, "first", arms={"plain": None})
    second = write_experiment(
        tmp_path, "second", arms={"as before": None, "more": {"train": {"batch_size": 3}}}
    )
    third = write_experiment(tmp_path, "third", arms={"once more": None})
    laboratory.run(first, second, arms=("plain", "as before"))
    assert laboratory.num_begun() == 1
    laboratory.run(third)
    assert laboratory.num_begun() == 0
    plain, same = (laboratory.answers[n][0] for n in ("first", "third"))
    assert (plain.run, plain.mean_iou, plain.minutes) == (same.run, same.mean_iou, same.minutes)
    assert [r.arm for r in laboratory.answers["second"]] == ["as before"]


def test_other_settings_are_trained_anew_and_old_rows_are_not_shown(tmp_path, laboratory):
    laboratory.run(write_experiment(tmp_path, arms={"plain": None}))
    changed = write_experiment(tmp_path, arms={"plain": {"train": {"num_steps": 3}}})
    laboratory.run(changed)
    assert laboratory.num_begun() == 1
    assert [row.steps for row in laboratory.answers["tiny"]] == [3]
    assert [row.steps for row in read_results(laboratory.out)] == [2, 3]


def test_arm_that_diverges_has_a_row_and_the_others_go_on(tmp_path, laboratory):
    wild = {"max_bad_steps": 1, "log_interval": 1, "optimizer": {"learning_rate": 1e30}}
    path = write_experiment(tmp_path, arms={"wild": {"train": wild}, "tame": None})
    assert laboratory.run(path)
    wild, tame = laboratory.answers["tiny"]
    assert (wild.status, wild.mean_iou, wild.minutes) == ("diverged", None, None)
    assert (tame.status, tame.arm) == ("done", "tame")
    assert any("not finite" in line for line in laboratory.lines)
    laboratory.run(path)
    assert laboratory.num_begun() == 0


def test_killed_arm_goes_on_where_it_was(tmp_path, laboratory, monkeypatch):
    arm = {"train": {"num_steps": 4, "checkpoint": {"interval": 1}}}
    path = write_experiment(tmp_path, arms={"plain": arm})
    real_step, taken = Trainer.step, []

    def step(trainer, batch):
        taken.append(trainer.step_number)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return real_step(trainer, batch)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        laboratory.run(path)
    assert read_results(laboratory.out) == []
    laboratory.run(path)
    # Steps 0 to 2 were taken and saved; the fourth was not.
    assert taken == [0, 1, 2, 3, 3]
    assert laboratory.answers["tiny"][0].steps == 4


def test_arm_that_fails_is_told_when_the_others_are_done(tmp_path, laboratory):
    # Too many label sets: the samples have one.
    path = write_experiment(tmp_path, arms={"bad": {"train": {"label_set": 5}}, "good": None})
    with pytest.raises(InputError, match=r"tiny: bad, seed 0: .*label_set"):
        laboratory.run(path)
    assert [row.arm for row in read_results(laboratory.out)] == ["good"]


def test_half_precision_is_left_out_on_a_cpu(tmp_path, laboratory):
    half = {"train": {"compute": {"precision": "bfloat16", "device": "cpu"}}}
    laboratory.run(write_experiment(tmp_path, arms={"half": half}))
    assert laboratory.lines == ["tiny: half left out: bfloat16 needs a GPU"]


def test_climate_that_is_there_is_not_made_again(tmp_path, laboratory):
    folder = laboratory.out / "climates/tiny_climate"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    # As one writes it by hand: what is not the default, and other numbers of workers.
    by_hand = {"synthesize": CLIMATE["synthesize"], "label": {"num_workers": 3}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(by_hand))
    laboratory.run(write_experiment(tmp_path, arms={"plain": None}))
    assert all(
        file.stat().st_mtime_ns == time for file, time in before.items() if file.suffix != ".yaml"
    )


def test_climate_that_was_cut_off_is_finished(tmp_path, laboratory):
    folder = laboratory.out / "climates/tiny_climate"
    (folder / "labels.nc").unlink()
    (folder / "archive").rename(folder / "archive-partial")
    laboratory.run(write_experiment(tmp_path, arms={"plain": None}))
    assert (folder / "archive").is_dir()
    assert not (folder / "archive-partial").exists()
    assert laboratory.answers["tiny"][0].status == "done"


def test_another_climate_in_the_folder_is_refused(tmp_path, laboratory):
    folder = laboratory.out / "climates/tiny_climate"
    other = CLIMATE | {"synthesize": CLIMATE["synthesize"] | {"seed": 5}}
    path = write_experiment(tmp_path, made_of=other)
    with pytest.raises(InputError, match="synthesize must be that of the experiment's climate"):
        laboratory.run(path)
    (folder / "settings.yaml").unlink()
    with pytest.raises(InputError, match=r"without settings.yaml"):
        laboratory.run(path)


def test_one_process_at_a_time_works_in_a_folder(tmp_path, laboratory):
    lock = RunLock(laboratory.out, laboratory.out / "lock")
    lock.acquire()
    with pytest.raises(InputError, match="another process"):
        laboratory.run(write_experiment(tmp_path))
    lock.release()


@pytest.mark.slow
def test_processes_side_by_side_make_the_rows_of_one_after_the_other(tmp_path, laboratory):
    wild = {"max_bad_steps": 1, "log_interval": 1, "optimizer": {"learning_rate": 1e30}}
    one_thread = {"train": {"compute": {"num_threads": 1}}}
    arms = {"plain": one_thread, "wild": {"train": wild}}
    path = write_experiment(tmp_path, arms=arms)
    shutil.copytree(laboratory.out, tmp_path / "other")
    other = Laboratory(tmp_path / "other")
    assert laboratory.run(path)
    assert other.run(path, num_jobs=2)
    (plain, wild), (plain_too, wild_too) = laboratory.answers["tiny"], other.answers["tiny"]
    assert plain_too.mean_iou == plain.mean_iou
    assert plain_too.parameters == plain.parameters
    assert (wild.status, wild_too.status) == ("diverged", "diverged")


@pytest.mark.parametrize("end", ["", "tiny,plain,1,24x"])
def test_torn_last_row_is_none(tmp_path, laboratory, end):
    path = write_experiment(tmp_path)
    experiment = load_experiment(str(path))
    trial = trial_of(experiment, experiment.arms[0], 0)
    row = trial.row("diverged", trial.run, {})
    append_results(laboratory.out, [row])
    table = laboratory.out / RESULTS_NAME
    table.write_text(table.read_text() + end)
    assert read_results(laboratory.out) == [row]
    append_results(laboratory.out, [row])
    assert read_results(laboratory.out) == [row, row]


def test_table_of_another_kind_is_refused(tmp_path):
    (tmp_path / RESULTS_NAME).write_text("arm,seed\nplain,0\n")
    with pytest.raises(InputError, match="columns must be experiment, arm, seed"):
        read_results(tmp_path)
