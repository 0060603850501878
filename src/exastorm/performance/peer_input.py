"""The loader of MLPerf's DeepCAM reference, in a process of its own.

Its data set is imported from a checkout of mlcommons/hpc by a script of `bench/peers`; nothing of
it is part of exastorm.
"""

import json
import subprocess
import sys
from pathlib import Path

from exastorm.errors import InputError

SCRIPT = Path(__file__).parents[3] / "bench" / "peers" / "deepcam_input.py"
"""Reads an epoch; in a checkout of exastorm, not in an installed package."""

DATASET = Path("data") / "cam_hdf5_dataset.py"
"""The reference's data set in its folder deepCam."""

REFERENCE_WORK = {
    "reference, as shipped": (1, 1),
    "reference, batch 1, 2 workers": (1, 2),
    "reference, batch 8, 2 workers": (8, 2),
}
"""Batch size and worker processes: as shipped, best over an epoch and best once it is running, of
those tried on two cores."""


def check_reference(folder: str | Path) -> None:
    """Refuse a folder that is not the reference's.

    Raises:
        InputError: If so, or the script that runs it is not there.
    """
    if not (Path(folder) / DATASET).is_file():
        raise InputError(f"deepcam must be a folder with {DATASET}, got {folder}")
    if not SCRIPT.is_file():
        raise InputError("deepcam must be timed from a checkout of exastorm, which has bench/peers")


def read_reference(folder: str | Path, data: Path, name: str) -> dict[str, float]:
    """Read an epoch with the reference's loader.

    Args:
        folder: deepcam/src/deepCam of a checkout of mlcommons/hpc.
        data: Folder of DeepCAM files.
        name: Of `REFERENCE_WORK`.

    Returns:
        samples_per_s over the epoch, steady_samples_per_s after the first batch, cpu_s_per_sample.

    Raises:
        InputError: If it fails.
    """
    batch_size, num_workers = REFERENCE_WORK[name]
    command = [sys.executable, str(SCRIPT), str(folder), str(data), str(batch_size)]
    command.append(str(num_workers))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"DeepCAM's loader must run, got {reason}", file=Path(folder))
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures
