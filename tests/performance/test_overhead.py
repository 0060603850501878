"""Both loops that are timed train the same network, on samples of a made-up climate."""

import pytest

from exastorm.cli.main import run
from exastorm.networks.build import NetworkSettings
from exastorm.parallel.world import World
from exastorm.performance.overhead import OverheadSettings, bench_overhead, make_samples, plain_loop
from exastorm.train.data import TrainingData
from exastorm.train.device import ComputeSettings, plan_compute
from exastorm.train.settings import TrainSettings

SMALL = {
    "height": 32,
    "width": 48,
    "num_snapshots": 40,
    "num_steps": 1,
    "num_rounds": 1,
    "batch_size": 2,
    "compute": ComputeSettings(device="cpu", num_threads=2),
}


def test_figures_agree_with_each_other():
    figures = bench_overhead(OverheadSettings(**SMALL))
    assert set(figures["loops"]) == {"plain, one batch", "lag 0", "lag 1", "as shipped"}
    for row in figures["loops"].values():
        # One round: the median is that round.
        expected = row["step_ms"] / figures["plain_ms"] - 1.0
        assert row["overhead"] == pytest.approx(expected)


def test_samples_are_of_the_size_and_number_asked_for(tmp_path):
    settings = OverheadSettings(**SMALL)
    make_samples(tmp_path / "samples", settings)
    train = TrainSettings(batch_size=2)
    device = plan_compute(settings.compute, 2).device
    data = TrainingData(tmp_path / "samples", train, World.single(), device)
    index = data.store.index
    assert (len(index.lat), len(index.lon), len(data.store)) == (32, 48, 40)
    batch = next(data.batches(0))
    assert batch.field.shape == (2, 16, 32, 48)
    # The plain loop trains the network that was asked for.
    plain_loop(settings, lambda: batch)()
    tiramisu = OverheadSettings(**SMALL, network=NetworkSettings(name="tiramisu"))
    plain_loop(tiramisu, lambda: batch)()


@pytest.mark.parametrize("name", ["batch_size", "num_steps", "num_rounds"])
def test_numbers_that_make_no_sense(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        OverheadSettings(**{name: 0})


def test_command_tells_what_it_measured(capsys):
    words = ["--overhead.height", "32", "--overhead.width", "48", "--overhead.num-rounds", "1"]
    more = ["--overhead.num-steps", "1", "--overhead.num-snapshots", "40"]
    run(["bench", "overhead", *words, *more])
    told = capsys.readouterr().out
    assert "a plain step takes" in told
    assert "% lag 1" in told
