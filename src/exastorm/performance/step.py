"""A training step on one device: samples and operations per second, against the device's own peak.

The step is the one training takes: forward, weighted cross-entropy, backward, Adam. Its operations
are counted while it runs (two per multiply-add), with the weight gradient of grouped convolutions
counted by group. The peaks beside it, of one large convolution and one large matrix product, are
measured in the same run and the same precision: data sheets are not reached by anything.
"""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.losses import weighted_cross_entropy
from exastorm.variables import NUM_CLASSES


@dataclass(frozen=True, kw_only=True)
class StepBenchSettings:
    """What is trained, on what, and for how long."""

    network: NetworkSettings = field(default_factory=NetworkSettings)

    num_channels: int = 16
    """Channels of a sample; the paper's are 16."""

    height: int = 768
    """Latitudes of a sample; the paper's are 768."""

    width: int = 1152
    """Longitudes of a sample; the paper's are 1152."""

    batch_size: int = 1
    """Samples in a step."""

    num_steps: int = 10
    """Steps between two looks at the clock."""

    num_rounds: int = 3
    """Times that so many steps are timed; the best round counts."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if there is one."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 computes convolutions in half precision, with weights kept in float32."""

    channels_last: bool = False
    """Keep channels innermost in memory, as tensor cores like them."""

    def __post_init__(self) -> None:
        for name in ("num_channels", "height", "width", "batch_size", "num_steps", "num_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, allowed in (
            ("device", ("auto", "cpu", "cuda")),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )


class TrainingStep:
    """A network with made-up samples on a device; calling it takes one training step.

    Attributes:
        device: Where it runs.
        network: The network.
    """

    def __init__(self, settings: StepBenchSettings) -> None:
        self.device = _device(settings.device)
        self._precision = settings.precision
        torch.manual_seed(0)
        network: Any = build_network(
            settings.network, settings.num_channels, NUM_CLASSES, settings.width
        )
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network: nn.Module = network.to(self.device, memory_format=layout)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        size = (settings.batch_size, settings.height, settings.width)
        field = torch.randn((size[0], settings.num_channels, *size[1:]))
        self._field = field.to(self.device, memory_format=layout)
        self._label = torch.randint(0, NUM_CLASSES, size).to(self.device)
        self._weight = torch.ones(size, device=self.device)

    def __call__(self) -> Tensor:
        """Take one step; returns its loss."""
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self._precision):
            logits = self.network(self._field)
        loss = weighted_cross_entropy(logits, self._label, self._weight)
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def bench_step(settings: StepBenchSettings) -> dict[str, Any]:
    """Measure a training step.

    Args:
        settings: What is trained, on what, and for how long.

    Returns:
        samples_per_s, step_ms, tflop_per_sample, tflop_per_s, peak_memory_mb (on a CPU: of the
        process), convolution_peak_tflop_per_s and matmul_peak_tflop_per_s measured in the same run,
        the shares of them that the step reaches, and what was run where.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    step = TrainingStep(settings)
    operations = count_operations(step)
    if step.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(step.device)
    seconds = seconds_per_call(step, step.device, settings.num_steps, settings.num_rounds)
    memory_mb = _peak_memory_mb(step.device)
    device, parameters = step.device, sum(p.numel() for p in step.network.parameters())
    del step
    peaks = {
        "convolution": _convolution_peak(device, settings),
        "matmul": _matmul_peak(device, settings),
    }
    rate = operations / seconds
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "network": f"{settings.network.name}, {settings.network.preset}",
        "num_parameters": parameters,
        "num_channels": settings.num_channels,
        "grid": [settings.height, settings.width],
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "channels_last": settings.channels_last,
        "step_ms": 1e3 * seconds,
        "samples_per_s": settings.batch_size / seconds,
        "tflop_per_sample": operations / settings.batch_size / 1e12,
        "tflop_per_s": rate / 1e12,
        "peak_memory_mb": memory_mb,
        **{f"{name}_peak_tflop_per_s": peak / 1e12 for name, peak in peaks.items()},
        **{f"share_of_{name}_peak": rate / peak for name, peak in peaks.items()},
    }


def count_operations(work: Callable[[], Any]) -> int:
    """Floating-point operations of some work in torch: two per multiply-add, forward and backward.

    Torch's own counter takes the weight gradient of a grouped convolution for that of a dense one
    (seen in 2.13: a depthwise network counted at twice its cost), so that is counted here.
    """
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward_operations},
    )
    with counter:
        work()
    return int(counter.get_total_flops())


def _convolution_backward_operations(
    grad_shape: list[int], input_shape: list[int], weight_shape: list[int], *options: Any, **_: Any
) -> int:
    """Each gradient, of input and of weights, costs what forward does: a weight times each place.

    Arguments are those of aten::convolution_backward, tensors by their shapes; of the options the
    fifth says whether it is a transposed convolution, the last which gradients are wanted.
    """
    transposed, wanted = options[4], options[-1]
    # A weight (out, in / groups, ...) meets every output place; transposed, every input place.
    places = input_shape if transposed else grad_shape
    once = 2 * places[0] * _product(places[2:]) * _product(weight_shape)
    return once * sum(bool(w) for w in wanted[:2])


def _product(numbers: Any) -> int:
    """Product of some sizes."""
    result = 1
    for number in numbers:
        result *= int(number)
    return result


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Mixed precision on a device, or nothing for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def seconds_per_call(
    work: Callable[[], Any], device: torch.device, num_calls: int, num_rounds: int
) -> float:
    """Wall time of one call, s: the best round's mean, with the device's work waited for.

    Two calls before the clock starts let libraries choose their algorithms and fill their caches.
    """
    rounds = []
    for _ in range(2):
        work()
    for _ in range(num_rounds):
        _wait(device)
        start = time.perf_counter()
        for _ in range(num_calls):
            work()
        _wait(device)
        rounds.append((time.perf_counter() - start) / num_calls)
    return min(rounds)


def _convolution_peak(device: torch.device, settings: StepBenchSettings) -> float:
    """Operations per second of a 3 x 3 convolution of 256 channels, the network's typical one."""
    # 96 x 144 is the paper's grid at stride 8; a GPU needs several samples to be full.
    shape = (8, 256, 96, 144) if device.type == "cuda" else (1, 256, 96, 144)
    dtype = getattr(torch, settings.precision)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    x = torch.randn(shape, device=device, dtype=dtype).to(memory_format=layout)
    weight = torch.randn((256, 256, 3, 3), device=device, dtype=dtype).to(memory_format=layout)

    def work() -> Tensor:
        return nn.functional.conv2d(x, weight, padding=1)

    with torch.no_grad():
        seconds = seconds_per_call(work, device, settings.num_steps, settings.num_rounds)
    return 2 * shape[0] * shape[2] * shape[3] * 256 * 256 * 9 / seconds


def _matmul_peak(device: torch.device, settings: StepBenchSettings) -> float:
    """Operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    dtype = getattr(torch, settings.precision)
    a = torch.randn((size, size), device=device, dtype=dtype)
    b = torch.randn((size, size), device=device, dtype=dtype)
    seconds = seconds_per_call(lambda: a @ b, device, settings.num_steps, settings.num_rounds)
    return 2 * size**3 / seconds


def _device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise InputError("device must be cpu or auto, got cuda, but torch sees no GPU")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


def _wait(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory_mb(device: torch.device) -> float:
    """Most memory held: by tensors on a GPU, by the process on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    # Linux counts in kilobytes of 1024, macOS in bytes (getrusage(2)).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
