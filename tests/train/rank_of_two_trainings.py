"""One rank of two trainings in one cluster, a process of its own; see test_two_trainings.py."""

import json
import os
import sys

from exastorm.config import from_dict
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.train.run import train
from exastorm.train.settings import TrainSettings


def main():
    told = json.loads(os.environ["TOLD"])
    waits = ClusterSettings(timeout_s=200.0, meeting_timeout_s=200.0)
    settings = from_dict(TrainSettings, told["settings"])
    with connect(read_launch(os.environ), waits, "cpu") as cluster:
        summaries = [train(samples, run, settings, cluster) for samples, run in told["runs"]]
    if cluster.world.is_first:
        sys.stdout.write(json.dumps([summary.to_dict() for summary in summaries]))


main()
