"""One rank of the trainings in test_ranks.py, a process of its own.

It takes part in one training after another: to start a process costs more than a few steps.
"""

import json
import os
import sys

from exastorm.config import from_dict
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import Launch
from exastorm.train.run import train
from exastorm.train.settings import TrainSettings

TIMEOUT_S = 120.0


def main():
    rank, jobs = int(sys.argv[1]), json.loads(os.environ["JOBS"])
    for job in jobs:
        if rank >= job["num_ranks"]:
            continue
        launch = Launch(
            launcher="test",
            rank=rank,
            num_ranks=job["num_ranks"],
            port=job["port"],
            ranks_per_node=job.get("ranks_per_node"),
        )
        waits = ClusterSettings(timeout_s=TIMEOUT_S, meeting_timeout_s=TIMEOUT_S)
        settings = None if job["settings"] is None else from_dict(TrainSettings, job["settings"])
        with connect(launch, waits, "cpu") as cluster:
            train(job["samples"], job["run"], settings, cluster, resume=job.get("resume", False))


main()
