"""The step that is timed is one that trains, and its figures agree with one another."""

import pytest
import torch

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings
from exastorm.networks.operations import count_layers
from exastorm.performance import peer_step
from exastorm.performance.device_peaks import biggest_convolution
from exastorm.performance.step import StepBenchSettings, TrainingStep, bench_step
from exastorm.train.device import ComputeSettings, plan_compute

SMALL = {"num_channels": 3, "height": 16, "width": 24, "num_steps": 1, "num_rounds": 1}
CPU = ComputeSettings(device="cpu", num_threads=1)


def step_of(compute=CPU, **options):
    settings = StepBenchSettings(**SMALL, compute=compute, **options)
    return TrainingStep(settings, plan_compute(compute, settings.batch_size))


def test_step_trains():
    step = step_of()
    losses = [float(step()) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert not step.is_compiled()


def test_figures_agree_with_each_other():
    settings = StepBenchSettings(**SMALL, compute=CPU, batch_size=2)
    figures = bench_step(settings)
    assert figures["samples_per_s"] == pytest.approx(2e3 / figures["step_ms"])
    rate = figures["samples_per_s"] * figures["tflop_per_sample"]
    assert figures["tflop_per_s"] == pytest.approx(rate)
    for share, peak in (
        ("convolution", "convolution_both"),
        ("convolution_forward", "convolution_forward"),
        ("matmul", "matmul"),
    ):
        expected = rate / figures[f"{peak}_tflop_per_s"]
        assert figures[f"share_of_{share}_peak"] == pytest.approx(expected)
    table = count_layers(step_of().network, 3, 16, 24)
    assert figures["tflop_per_sample"] == table.totals()["training_tflop_needed"]
    assert (figures["device"], figures["memory_format"]) == ("cpu", "contiguous")
    assert figures["peak_memory_mb"] > 50


def test_the_biggest_convolution_is_the_one_with_most_operations():
    # Of the full network: 2 x 768 x 1152 places x 256 outputs x 384 inputs x 9 = 1.566 TF.
    settings = NetworkSettings(preset="full", variant="paper")
    with torch.device("meta"):
        network = step_network(settings)
        table = count_layers(network, 16, 768, 1152)
    found = biggest_convolution(network, table)
    assert found.operations == 2 * 768 * 1152 * 256 * 384 * 9
    assert found.in_shape == (1, 384, 768, 1152)


def step_network(settings):
    from exastorm.networks.build import build_network

    return build_network(settings, 16, 3, 1152)


def test_every_choice_changes_the_step():
    base = float(step_of()())
    half = ComputeSettings(device="cpu", num_threads=1, precision="bfloat16")
    assert float(step_of(half)()) != base
    for network in (
        NetworkSettings(preset="half"),
        NetworkSettings(variant="paper"),
        NetworkSettings(name="tiramisu"),
    ):
        assert float(step_of(network=network)()) != base
    last = ComputeSettings(device="cpu", num_threads=1, memory_format="channels_last")
    weight = step_of(last).network.classifier.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    again = step_of(ComputeSettings(device="cpu", num_threads=1, recompute=True))
    assert again.network.recompute


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"num_steps": 0}, {"num_warmups": 0}, {"width": -1}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1"):
        StepBenchSettings(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(InputError, match="torch sees no GPU"):
        bench_step(StepBenchSettings(**SMALL, compute=ComputeSettings(device="cuda")))


def test_a_peer_must_be_where_it_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match="deepcam must be a folder with architecture"):
        bench_step(StepBenchSettings(**SMALL, compute=CPU, deepcam=str(tmp_path)))


@pytest.fixture
def with_peer(tmp_path, monkeypatch):
    """Makes settings with a peer whose step is a script of one's own."""

    def make(program):
        (tmp_path / "architecture").mkdir()
        (tmp_path / "architecture" / "deeplab_xception.py").write_text("")
        script = tmp_path / "peer.py"
        script.write_text(program)
        monkeypatch.setattr(peer_step, "SCRIPT", script)
        return StepBenchSettings(**SMALL, compute=CPU, deepcam=str(tmp_path))

    return make


def test_a_peer_that_fails_says_why(with_peer):
    with pytest.raises(InputError, match="DeepCAM's step must run, got no such network"):
        bench_step(with_peer("raise SystemExit('no such network')"))


def test_a_peer_stands_beside_the_step(with_peer):
    program = "import sys; print('{\"tflop_per_s\": 0.5, \"steps\": ' + sys.argv[2] + '}')"
    figures = bench_step(with_peer(program))
    assert figures["deepcam"]["steps"] == 1
    assert figures["rate_over_deepcam"] == pytest.approx(figures["tflop_per_s"] / 0.5)
