"""Where and how torch computes: device, threads, and whether it repeats its rounding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def compute_mode(settings: TrainSettings) -> Iterator[torch.device]:
    """Set threads and determinism for a training, and put back what was before.

    Yields:
        The device.
    """
    device = choose_device(settings.device)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    num_threads = settings.num_threads or (1 if settings.deterministic else None)
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    if settings.deterministic:
        os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield device
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
