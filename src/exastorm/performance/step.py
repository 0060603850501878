"""A training step on one device: samples and operations per second, against the device's own peak.

The step is the one `exastorm train` takes, on made-up samples: forward, weighted cross-entropy,
backward, and the guarded optimizer. Its operations are those that the network's layers need (two
per multiply-add, the gradient of the fields left out), also where some are done twice to save
memory. The peaks beside it are measured in the same run and the same numbers.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.losses import LossSettings
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.operations import TERA, OperationTable, count_layers
from exastorm.performance.device_peaks import (
    BiggestConvolution,
    biggest_convolution,
    convolution_peak,
    matmul_peak,
)
from exastorm.performance.peer_step import bench_deepcam
from exastorm.performance.timing import peak_memory_mb, seconds_per_call
from exastorm.samples.batch import Batch
from exastorm.train.compiling import CompiledForward, forward_of
from exastorm.train.device import ComputePlan, ComputeSettings, compute_mode, plan_compute
from exastorm.train.guard import make_stepper
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.precision import DTYPES
from exastorm.train.workers import BatchWorkers
from exastorm.variables import NUM_CLASSES


@dataclass(frozen=True, kw_only=True)
class StepBenchSettings:
    """What is trained, on what, and for how long."""

    network: NetworkSettings = field(default_factory=NetworkSettings)

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)

    compute: ComputeSettings = field(default_factory=ComputeSettings)

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

    num_warmups: int = 2
    """Steps before the clock starts, in which libraries choose their algorithms."""

    deepcam: str | None = None
    """Folder deepCam of a checkout of MLPerf's DeepCAM (mlcommons/hpc, deepcam/src/deepCam): time a
    step of its network too, on the CPU, before this one."""

    def __post_init__(self) -> None:
        names = ("num_channels", "height", "width", "batch_size", "num_steps", "num_rounds")
        for name in (*names, "num_warmups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class TrainingStep:
    """A network with made-up samples on a device; calling it takes one training step.

    Attributes:
        network: The network.
        batch: What it learns from.
        forward: The network, or the network compiled.
    """

    network: SegmentationNetwork
    batch: Batch
    forward: Callable[[Tensor], Tensor]

    def __init__(self, settings: StepBenchSettings, plan: ComputePlan) -> None:
        torch.manual_seed(0)
        self.network = build_network(
            settings.network, settings.num_channels, NUM_CLASSES, settings.width
        )
        plan.place(self.network.train())
        self.network.recompute = settings.compute.recompute
        self.forward = forward_of(self.network, plan.compile)
        self.batch = _made_up_batch(settings, plan.device)
        self._workers = BatchWorkers(
            self.forward,
            list(self.network.parameters()),
            LossSettings(),
            plan,
            torch.ones(NUM_CLASSES),
        )
        self._stepper = make_stepper(self.network, settings.optimizer, plan)
        self._num_done = 0

    def __call__(self) -> Tensor:
        """Take one step; returns its loss."""
        loss = self._workers.forward_backward(self.batch, lambda part: part, self._stepper.scale)
        self._stepper.step(loss, self._num_done)
        self._num_done += 1
        return loss

    def is_compiled(self) -> bool:
        """Whether compiled code runs: asked for, and no failure so far."""
        return isinstance(self.forward, CompiledForward) and self.forward.is_compiled


def bench_step(settings: StepBenchSettings) -> dict[str, Any]:
    """Measure a training step.

    Args:
        settings: What is trained, on what, and for how long.

    Returns:
        samples_per_s, step_ms, step_cpu_s (all threads of the process), tflop_per_sample,
        tflop_per_s, peak_memory_mb (on a CPU: of the process), the peaks measured in the same run
        and the step's share of them, what was run where, and with `deepcam` the same of that.

    Raises:
        InputError: If a GPU is asked for and there is none, or DeepCAM can't be run.
    """
    plan = plan_compute(
        settings.compute, settings.batch_size, one_worker=settings.network.norm == "batch"
    )
    peer: dict[str, Any] = {}
    if settings.deepcam is not None:
        # First, while this process holds no memory that it would lack.
        peer = bench_deepcam(settings.deepcam, settings.num_steps * settings.num_rounds)
    with compute_mode(settings.compute, plan):
        figures, biggest = _measure(settings, plan)
        rate = figures["tflop_per_s"] * TERA
        figures |= _shares(rate, biggest, plan, settings)
    if peer:
        figures["deepcam"] = peer
        figures["rate_over_deepcam"] = figures["tflop_per_s"] / peer["tflop_per_s"]
    return figures


def _measure(
    settings: StepBenchSettings, plan: ComputePlan
) -> tuple[dict[str, Any], BiggestConvolution]:
    """Time the step; returns its figures and its biggest convolution."""
    step = TrainingStep(settings, plan)
    table = _count(step.network, settings)
    if plan.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(plan.device)
    num_steps, num_rounds = settings.num_steps, settings.num_rounds
    num_all = num_steps * num_rounds + settings.num_warmups
    cpu_start = time.process_time()
    seconds = seconds_per_call(step, plan.device, num_steps, num_rounds, settings.num_warmups)
    cpu_s = (time.process_time() - cpu_start) / num_all
    operations = settings.batch_size * table.total("training_operations")
    figures = {
        **_what_ran(settings, plan, step),
        "step_ms": 1e3 * seconds,
        "step_cpu_s": cpu_s,
        "samples_per_s": settings.batch_size / seconds,
        "tflop_per_sample": operations / settings.batch_size / TERA,
        "tflop_per_s": operations / seconds / TERA,
        "peak_memory_mb": peak_memory_mb(plan.device),
    }
    return figures, biggest_convolution(step.network, table)


def _count(network: SegmentationNetwork, settings: StepBenchSettings) -> OperationTable:
    """The layers of the network for one sample."""
    return count_layers(network, settings.num_channels, settings.height, settings.width)


def _what_ran(settings: StepBenchSettings, plan: ComputePlan, step: TrainingStep) -> dict[str, Any]:
    """What was run where."""
    device = plan.device
    last = plan.memory_format == torch.channels_last
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "num_workers": plan.num_workers,
        "threads_each": plan.threads_each,
        "torch": torch.__version__,
        "network": asdict(settings.network),
        "num_parameters": sum(p.numel() for p in step.network.parameters()),
        "num_channels": settings.num_channels,
        "grid": [settings.height, settings.width],
        "batch_size": settings.batch_size,
        "precision": plan.precision,
        "memory_format": "channels_last" if last else "contiguous",
        "compiled": step.is_compiled(),
        "recompute": settings.compute.recompute,
    }


def _shares(
    rate: float, biggest: BiggestConvolution, plan: ComputePlan, settings: StepBenchSettings
) -> dict[str, Any]:
    """The device's peaks, and the step's share of them."""
    device, dtype = plan.device, DTYPES.get(plan.precision, torch.float32)
    repeats = (settings.num_steps, settings.num_rounds)
    # All cores work inside each operation here, as there is one at a time.
    torch.set_num_threads(plan.num_workers * plan.threads_each)
    rates = convolution_peak(biggest, device, dtype, *repeats)
    product = matmul_peak(device, dtype, *repeats)
    return {
        "biggest_convolution": biggest.name,
        **{f"convolution_{name}_tflop_per_s": r / TERA for name, r in rates.items()},
        "matmul_tflop_per_s": product / TERA,
        "share_of_convolution_peak": rate / rates["both"],
        "share_of_convolution_forward_peak": rate / rates["forward"],
        "share_of_matmul_peak": rate / product,
    }


def _made_up_batch(settings: StepBenchSettings, device: torch.device) -> Batch:
    """Samples of noise with classes at random, each pixel with weight 1."""
    size = (settings.batch_size, settings.height, settings.width)
    batch = Batch(
        field=torch.randn((size[0], settings.num_channels, *size[1:])),
        label=torch.randint(0, NUM_CLASSES, size),
        weight=torch.ones(size),
    )
    return Batch(*(tensor.to(device) for tensor in batch))
