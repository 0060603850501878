"""Where and how torch computes: device, threads, and whether it repeats its rounding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from exastorm.errors import InputError
from exastorm.train.settings import TrainSettings

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS repeats its rounding only with a fixed workspace (NVIDIA cuBLAS manual, section 2.1.4)."""


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
    """

    device: torch.device
    num_workers: int
    threads_each: int


def plan_compute(settings: TrainSettings) -> ComputePlan:
    """Device and threads that settings mean here.

    On a CPU each sample of a batch gets a worker as long as there are threads; what is left over
    works inside the operations.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    device = choose_device(settings.device)
    num_threads = settings.num_threads or (1 if settings.deterministic else torch.get_num_threads())
    num_workers = min(num_threads, settings.batch_size) if device.type == "cpu" else 1
    return ComputePlan(
        device=device, num_workers=num_workers, threads_each=num_threads // num_workers
    )


@contextmanager
def compute_mode(settings: TrainSettings) -> Iterator[ComputePlan]:
    """Set threads and determinism for a training, and put back what was before.

    Yields:
        Who computes.

    Raises:
        InputError: As `plan_compute`.
    """
    plan = plan_compute(settings)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(plan.threads_each)
    if settings.deterministic:
        os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield plan
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
