import pytest
import torch
from torch import nn

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings
from exastorm.performance.step import StepBenchSettings, TrainingStep, bench_step, count_operations

SMALL = {"num_channels": 3, "height": 16, "width": 24, "num_steps": 1, "num_rounds": 1}


@pytest.mark.parametrize(
    ("layer", "size", "forward"),
    [
        # 2 x 10 x 12 places x 8 outputs x 4 inputs x 9 = 69,120.
        (nn.Conv2d(4, 8, 3, padding=1), (1, 4, 10, 12), 69_120),
        # Depthwise: each of 4 outputs sees one input: 2 x 120 x 4 x 9 = 8640.
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 10, 12), 8640),
        # Stride 2: a quarter of the places, 30: 2 x 2 samples x 30 x 8 x 4 x 9 = 34,560.
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (2, 4, 10, 12), 34_560),
        # Transposed: each of 120 input places meets each weight: 2 x 120 x 4 x 6 x 4 = 23,040.
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 10, 12), 23_040),
    ],
)
@pytest.mark.parametrize("input_gradient", [False, True])
def test_backward_costs_once_forward_for_each_gradient(layer, size, forward, input_gradient):
    x = torch.randn(size, requires_grad=input_gradient)
    operations = count_operations(lambda: layer(x).sum().backward())
    assert operations == forward * (3 if input_gradient else 2)


def test_network_costs_three_times_forward_but_for_the_first_layer():
    step = TrainingStep(StepBenchSettings(**SMALL, device="cpu"))
    with torch.no_grad():
        forward = count_operations(lambda: step.network(step._field))
    training = count_operations(step)
    # Nobody asks for the gradient of the fields, so layers that read them save it.
    assert 2.5 * forward < training < 3 * forward


def test_step_trains():
    step = TrainingStep(StepBenchSettings(**SMALL, device="cpu"))
    losses = [float(step()) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_figures_agree_with_each_other():
    figures = bench_step(StepBenchSettings(**SMALL, device="cpu", batch_size=2))
    assert figures["samples_per_s"] == pytest.approx(2e3 / figures["step_ms"])
    rate = figures["samples_per_s"] * figures["tflop_per_sample"]
    assert figures["tflop_per_s"] == pytest.approx(rate)
    for name in ("convolution", "matmul"):
        peak = figures[f"{name}_peak_tflop_per_s"]
        assert figures[f"share_of_{name}_peak"] == pytest.approx(rate / peak)
    assert figures["device"] == "cpu"
    assert figures["peak_memory_mb"] > 50


def test_every_choice_changes_the_step():
    base = TrainingStep(StepBenchSettings(**SMALL, device="cpu"))
    half = TrainingStep(StepBenchSettings(**SMALL, device="cpu", precision="bfloat16"))
    assert float(base()) != float(half())
    last = TrainingStep(StepBenchSettings(**SMALL, device="cpu", channels_last=True))
    assert last._field.stride()[1] == 1
    wide = TrainingStep(
        StepBenchSettings(**SMALL, device="cpu", network=NetworkSettings(preset="half"))
    )
    sizes = [sum(p.numel() for p in s.network.parameters()) for s in (base, wide)]
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"device": "tpu"}, {"precision": "float16"}, {"num_steps": 0}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        StepBenchSettings(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(InputError, match="torch sees no GPU"):
        bench_step(StepBenchSettings(**SMALL, device="cuda"))
