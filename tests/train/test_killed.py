"""A run that was killed or stopped, and resumed, ends as one that never was, bit for bit.

Each attempt is the command in a process of its own, forked from one that has imported all.
"""

import json
import os
import random
import signal
import sys
import time

import pytest
import torch
from tests.parallel.made_forks import context
from tests.train.conftest import changed, last_state

from exastorm.cli.main import main
from exastorm.config import save_settings
from exastorm.networks.record import load_model, weights_checksum
from exastorm.train import run_folder
from exastorm.train.run_folder import RunSettings
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings

NUM_STEPS = 18

SETTINGS = changed(
    TrainSettings(schedule=ScheduleSettings(warmup_steps=2), num_steps=NUM_STEPS, batch_size=2),
    ema_decay=0.9,
    log_interval=1,
    compute__device="cpu",
    compute__num_threads=2,
    checkpoint__interval=2,
    validation__interval=6,
)
"""Two samples a step side by side, dropout, rolls, a moving average, and many checkpoints."""


class Attempt:
    """One process that trains, until it ends or is ended."""

    def __init__(self, samples, run):
        self.run = run
        self.output = run.parent / "output.txt"
        self.process = context.Process(target=train_or_resume, args=(samples, run, self.output))
        self.process.start()

    def __enter__(self):
        lock = self.run / "checkpoints" / "lock"
        while self.is_alive() and not (
            lock.exists() and f" {self.process.pid} " in lock.read_text()
        ):
            time.sleep(0.001)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()

    def is_alive(self):
        return self.process.is_alive()

    def signal(self, number):
        """Send a signal, unless it has ended; returns the exit status."""
        if self.is_alive():
            os.kill(self.process.pid, number)
        return self.end()

    def end(self):
        """Wait for its end; returns the exit status."""
        self.process.join()
        return self.process.exitcode

    def wait_for_write(self):
        """Wait until it writes a checkpoint, or ends."""
        while self.is_alive() and not is_amid_write(self.run):
            pass

    def wait_for_step(self, step):
        """Wait until it has done a step, or ends."""
        while self.is_alive() and step > max((x["step"] for x in log_of(self.run)), default=0):
            time.sleep(0.001)


def train_or_resume(samples, run, output):
    """What a script does that starts a training over and over; in a process of its own."""
    # A shell starts what runs in its background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if (run / "settings.yaml").exists():
        sys.exit(main(["train", "--resume", str(run)]))
    settings = output.with_name("settings.yaml")
    save_settings(RunSettings(train=SETTINGS), settings)
    sys.exit(main(["train", str(samples), "--out", str(run), "--config", str(settings)]))


def is_amid_write(run):
    return any((run / "checkpoints").glob("step_*.partial"))


def log_of(run):
    """The whole lines of the log."""
    path = run / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def plain(value):
    """A state in which tensors are their bytes, so that it can be compared."""
    if isinstance(value, torch.Tensor):
        return weights_checksum({"": value})
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "minutes"}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def end_of(run):
    """All that a run comes to: its last checkpoint, its model with record, and its log."""
    network, record = load_model(run)
    timeless = ("minutes", "samples_per_s", "tflop_per_s", "data_wait_share")
    log = [{k: v for k, v in line.items() if k not in timeless} for line in log_of(run)]
    return plain(last_state(run)), plain(network.state_dict()), record, log


@pytest.fixture(scope="module")
def straight(samples, tmp_path_factory):
    """The end of a run that was let be."""
    run = tmp_path_factory.mktemp("straight") / "run"
    with Attempt(samples, run) as attempt:
        assert attempt.end() == 0, attempt.output.read_text()
    return end_of(run)


def kill_and_resume(samples, run, kills, chance):
    """Kill a run some times, then let it end.

    Args:
        samples: What to learn from.
        run: The run folder.
        kills: For each time a step, and whether to wait for the write of a checkpoint after it.
        chance: Generator of the moments after the step.

    Returns:
        How often it was killed before its end, and how often amid a write.
    """
    num_kills = num_amid_write = 0
    for step, amid_write in kills:
        with Attempt(samples, run) as attempt:
            attempt.wait_for_step(step)
            if amid_write:
                attempt.wait_for_write()
            else:
                time.sleep(chance.uniform(0, 0.1))
            num_kills += attempt.signal(signal.SIGKILL) == -signal.SIGKILL
        num_amid_write += is_amid_write(run)
    with Attempt(samples, run) as attempt:
        assert attempt.end() == 0, attempt.output.read_text()
    return num_kills, num_amid_write


def test_kills_change_nothing(samples, straight, tmp_path):
    # The last one is after the best validation, which is that of step 12.
    kills = [(0, False), (4, True), (9, False), (15, True)]
    num_kills, num_amid_write = kill_and_resume(samples, tmp_path / "run", kills, random.Random(1))
    assert end_of(tmp_path / "run") == straight
    assert straight[0]["step"] == NUM_STEPS
    assert num_kills >= 3
    assert num_amid_write >= 1


@pytest.mark.slow
def test_twenty_trials_of_kills_change_nothing(samples, straight, tmp_path):
    chance = random.Random(2)
    num_kills = num_amid_write = 0
    for trial in range(20):
        run = tmp_path / str(trial) / "run"
        run.parent.mkdir()
        kill = (chance.randrange(NUM_STEPS - 2), trial % 2 == 1)
        killed, amid_write = kill_and_resume(samples, run, [kill], chance)
        assert end_of(run) == straight, f"trial {trial}"
        num_kills, num_amid_write = num_kills + killed, num_amid_write + amid_write
    # Few runs are over before they are killed; most of the ten kills hit the write they wait for.
    assert num_kills >= 15
    assert num_amid_write >= 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_that_is_asked_to_stop_loses_nothing(samples, straight, tmp_path, name):
    run = tmp_path / "run"
    with Attempt(samples, run) as attempt:
        attempt.wait_for_step(3)
        assert attempt.signal(getattr(signal, name)) == 0
    told = attempt.output.read_text()
    assert f"exastorm: {name}: stops after this step and saves" in told
    assert f"resume with: exastorm train --resume {run}\n" in told
    # Each step that was done is in the checkpoint.
    step = last_state(run)["step"]
    assert 3 <= step < NUM_STEPS
    assert log_of(run)[-1]["step"] == step
    with Attempt(samples, run) as attempt:
        assert attempt.end() == 0
    assert end_of(run) == straight


def test_a_run_has_settings_only_once_it_has_all_else(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(run_folder, "replace_file", lambda *_: found.extend(tmp_path.iterdir()))
    run_folder.start_run(tmp_path, tmp_path / "samples", SETTINGS)
    # Killed before this, it is no run yet; after it, one that can be gone on with.
    assert {path.name for path in found} == {"version.txt", "samples.txt"}
