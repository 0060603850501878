"""A training step of MLPerf's DeepCAM reference, in a process of its own.

Its network is imported from a checkout of mlcommons/hpc by a script of `bench/peers`; nothing of it
is part of exastorm.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from exastorm.errors import InputError

SCRIPT = Path(__file__).parents[3] / "bench" / "peers" / "deepcam_step.py"
"""Takes steps of the reference; in a checkout of exastorm, not in an installed package."""

NETWORK = Path("architecture") / "deeplab_xception.py"
"""The reference's network in its folder deepCam."""


def bench_deepcam(folder: str | Path, num_steps: int) -> dict[str, Any]:
    """Measure a training step of DeepCAM's reference on the CPU.

    Args:
        folder: deepcam/src/deepCam of a checkout of mlcommons/hpc.
        num_steps: Steps after the first; the fastest counts.

    Returns:
        step_ms, step_cpu_s, tflop_per_sample by the same count as our own, tflop_per_s and
        peak_memory_mb.

    Raises:
        InputError: If the folder is another one, or a step fails.
    """
    if not (Path(folder) / NETWORK).is_file():
        raise InputError(f"deepcam must be a folder with {NETWORK}, got {folder}")
    if not SCRIPT.is_file():
        raise InputError("deepcam must be timed from a checkout of exastorm, which has bench/peers")
    command = [sys.executable, str(SCRIPT), str(folder), str(num_steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"DeepCAM's step must run, got {reason}", file=Path(folder))
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures
