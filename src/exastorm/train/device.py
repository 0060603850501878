"""Where and how torch computes: device, threads, numbers, and whether it repeats its rounding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from exastorm.errors import InputError
from exastorm.train.host_memory import keep_host_memory
from exastorm.train.precision import Precision

Device = Literal["auto", "cpu", "cuda"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
Compile = Literal["auto", "off", "on", "cuda_graphs"]

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS repeats its rounding only with a fixed workspace (NVIDIA cuBLAS manual, section 2.1.4)."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Where and how a training computes."""

    device: Device = "auto"
    """auto takes a GPU if there is one."""

    num_threads: int | None = None
    """Threads that compute on the CPU; None takes all cores. Samples of a batch are computed side
    by side, and threads left over work inside the operations."""

    deterministic: bool = False
    """The same weights from the same seed on the same machine: only algorithms that repeat their
    rounding, and one thread unless num_threads says otherwise."""

    precision: Precision = "float32"
    """Numbers of the convolutions: float32; bfloat16; or float16, whose loss is scaled as the
    gradients allow. Weights, normalization, softmax and loss are float32 in either case."""

    tensor_float32: bool = True
    """On a GPU, let float32 convolutions round their inputs to 10 bits (TF32), which is several
    times as fast on tensor cores; torch's own default. Off for a comparison with full float32."""

    memory_format: MemoryFormat = "auto"
    """How features lie in memory: contiguous (NCHW) or channels_last (NHWC); auto takes
    channels_last on a GPU, for its tensor cores, and contiguous on a CPU, where that is faster."""

    compile: Compile = "auto"
    """on makes kernels for this network and these shapes (torch.compile), cuda_graphs also
    replays them as one graph; auto is on for a GPU and off for a CPU. Where the compiler fails,
    training goes on without it, and says so."""

    keep_memory: bool = True
    """On a CPU under Linux, ask for memory in large pages, and don't give freed blocks of up to
    32 MiB back to the system before the process ends: steps are up to a third faster."""

    recompute: bool = False
    """Keep only the outputs of the network's stages, and compute the rest again in backward: less
    memory for about a third more work."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("device", Device),
            ("precision", Precision),
            ("memory_format", MemoryFormat),
            ("compile", Compile),
        ):
            if getattr(self, name) not in get_args(choices):
                got, known = getattr(self, name), ", ".join(get_args(choices))
                raise ValueError(f"{name} must be one of {known}, got {got!r}")
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {self.num_threads}")
        if self.device == "cpu" and self.compile == "cuda_graphs":
            raise ValueError("compile must not be cuda_graphs on a CPU, got device 'cpu'")


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device must be cpu or auto, got cuda, but torch sees no GPU")
    return torch.device(name)


@dataclass(frozen=True, kw_only=True)
class ComputePlan:
    """Who computes in a training.

    Attributes:
        device: Where the network is.
        num_workers: Parts of a batch that are computed side by side.
        threads_each: CPU threads inside the operations of each part.
        memory_format: How features lie in memory.
        compile: off, on or cuda_graphs.
        precision: Numbers of the convolutions.
    """

    device: torch.device
    num_workers: int
    threads_each: int
    memory_format: torch.memory_format
    compile: str
    precision: Precision

    def place(self, network: nn.Module) -> nn.Module:
        """A network on the device, its weights laid out as its features will be."""
        # torch's stubs know no module of either kind that takes both.
        placed: Any = network
        moved: nn.Module = placed.to(self.device, memory_format=self.memory_format)
        return moved


def plan_compute(
    settings: ComputeSettings, batch_size: int, *, one_worker: bool = False
) -> ComputePlan:
    """Device, threads and layout that settings mean here.

    On a CPU each sample of a batch gets a worker as long as there are threads; what is left over
    works inside the operations.

    Args:
        settings: The settings.
        batch_size: Samples of a step.
        one_worker: Never more than one part at a time, as layers need that see the whole batch.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    device = choose_device(settings.device)
    on_gpu = device.type == "cuda"
    if settings.compile == "cuda_graphs" and not on_gpu:
        raise InputError("compile must be auto, off or on without a GPU, got cuda_graphs")
    compiled = settings.compile
    if compiled == "auto":
        compiled = "on" if on_gpu else "off"
    layout = settings.memory_format
    if layout == "auto":
        layout = "channels_last" if on_gpu else "contiguous"
    num_threads = settings.num_threads or (1 if settings.deterministic else torch.get_num_threads())
    # A compiled network is traced once, by one thread.
    alone = on_gpu or one_worker or compiled != "off"
    num_workers = 1 if alone else min(num_threads, batch_size)
    return ComputePlan(
        device=device,
        num_workers=num_workers,
        threads_each=num_threads // num_workers,
        memory_format=(
            torch.channels_last if layout == "channels_last" else torch.contiguous_format
        ),
        compile=compiled,
        precision=settings.precision,
    )


@contextmanager
def compute_mode(settings: ComputeSettings, plan: ComputePlan) -> Iterator[None]:
    """Set threads, determinism and kernels for a training, and put back what was before."""
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    cudnn: Any = torch.backends.cudnn
    products: Any = torch.backends.cuda.matmul
    kernels = (cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32)
    # Also of what convolutions do by products of matrices (`networks/atrous.py`).
    products.allow_tf32 = settings.tensor_float32
    # Shapes are fixed: it pays to try the kernels there are once, unless they must repeat.
    cudnn.allow_tf32, cudnn.benchmark = settings.tensor_float32, not settings.deterministic
    if settings.keep_memory and plan.device.type == "cpu":
        keep_host_memory()
    # Workers set theirs; what the main thread does alone, it does with all.
    torch.set_num_threads(plan.num_workers * plan.threads_each)
    if settings.deterministic:
        os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32 = kernels
