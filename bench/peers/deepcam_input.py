"""An epoch of MLPerf's DeepCAM reference loader, as JSON.

    python bench/peers/deepcam_input.py HPC/deepcam/src/deepCam DATA BATCH_SIZE NUM_WORKERS

HPC is a checkout of github.com/mlcommons/hpc; DATA holds train and stats.h5. Data set and loader
are the reference's (data/__init__.py), but for the number of workers, which it takes from batch
size and threads alone, and pinned memory, which needs a GPU.
"""

import json
import resource
import sys
import time
from pathlib import Path

from torch.utils.data import DataLoader


def cpu_seconds():
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(folder, data, batch_size, num_workers):
    sys.path.insert(0, folder)
    from data.cam_hdf5_dataset import CamDataset

    dataset = CamDataset(
        str(Path(data) / "train"),
        statsfile=str(Path(data) / "stats.h5"),
        channels=list(range(16)),
        shuffle=True,
        preprocess=True,
    )
    loader = DataLoader(dataset, batch_size, num_workers=num_workers, shuffle=True, drop_last=True)
    cpu, start = cpu_seconds(), time.perf_counter()
    num_samples, first = 0, start
    for fields, _, _ in loader:
        num_samples += len(fields)
        if num_samples == len(fields):
            first = time.perf_counter()
    end = time.perf_counter()
    figures = {
        "samples_per_s": num_samples / (end - start),
        # From the first batch on: what starting its workers costs is left out.
        "steady_samples_per_s": max(num_samples - batch_size, 0) / (end - first),
        "cpu_s_per_sample": (cpu_seconds() - cpu) / num_samples,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
