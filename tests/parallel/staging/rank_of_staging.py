"""One rank of test_stager.py: stages in each mode, then what is corrupt, and writes what it saw."""

import json
import os
import sys
from pathlib import Path

import torch

from exastorm.errors import InputError
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.stager import stage


def run():
    """Stage in each mode, into a folder of its own."""
    launch = read_launch(os.environ)
    rows = json.loads(os.environ["FILES"])
    root = Path(os.environ["ROOT"])
    manifest = Manifest(str(root), tuple(StagedFile(*row) for row in rows))
    seen = {}
    with connect(launch, ClusterSettings(meeting_timeout_s=60.0), "cpu") as cluster:
        for mode in ("replicate", "partition", "sample"):
            settings = StageSettings(
                folder=f"{os.environ['LOCAL']}/{mode}{launch.rank}",
                mode=mode,
                samples_per_node=6 if mode == "sample" else None,
                num_readers=2,
            )
            with stage(cluster, manifest, settings) as staged:
                read = staged.figures.node.read_bytes
                seen[mode] = {"read": read, "names": sorted(staged.entries)}
        if launch.rank == 0:
            (root / rows[0][0]).write_bytes(b"not what it was")
            cluster.store.set("spoiled", "")
        cluster.store.get("spoiled")
        try:
            stage(cluster, manifest, settings)
        except InputError as error:
            seen["failure"] = str(error)
    return seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(run()))
