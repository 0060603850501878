"""One rank of the trainings in test_ranks.py, a process of its own.

It takes part in one training after another: to start a process costs more than a few steps.
"""

import json
import os
import time
from pathlib import Path

from exastorm.config import from_dict
from exastorm.parallel.allreduce import choosing
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import Launch
from exastorm.train.loop import Trainer
from exastorm.train.run import train
from exastorm.train.settings import TrainSettings

TIMEOUT_S = 280.0

real_step, real_ms = Trainer.step, choosing.median_ms


def forget_all_but_the_first(run):
    """As if the run had been killed after its first checkpoint: the later ones are lost."""
    latest = Path(run) / "checkpoints" / "latest"
    kept, *lost = sorted(p for p in latest.parent.iterdir() if p.name.startswith("step_"))
    for path in lost:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    latest.write_text(kept.name)


def slowed(seconds):
    """A step that takes longer."""

    def step(self, batch):
        time.sleep(seconds)
        return real_step(self, batch)

    return step


def measured(fastest):
    """As if a class of sums had been measured to be the fastest."""
    return lambda way, kilobytes, device: 1.0 if type(way).__name__ == fastest else 2.0


def main():
    rank, jobs = int(os.environ["RANK"]), json.loads(os.environ["JOBS"])
    for job in jobs:
        if rank >= job["num_ranks"]:
            continue
        if rank == 0 and job.get("forget"):
            forget_all_but_the_first(job["run"])
        if rank == 0 and job.get("lose"):
            (Path(job["run"]) / "model.safetensors").unlink()
        slow_rank, seconds = job.get("slow", (None, 0.0))
        Trainer.step = slowed(seconds) if rank == slow_rank else real_step
        choosing.median_ms = measured(job["fastest"]) if "fastest" in job else real_ms
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
            resume = job.get("resume", False)
            summary = train(job["samples"], job["run"], settings, cluster, resume=resume)
        if rank == 0:
            told = summary.to_dict() | {"line": summary.to_line()}
            Path(job["run"]).with_suffix(".json").write_text(json.dumps(told))


main()
