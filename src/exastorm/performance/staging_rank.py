"""One node of the benchmark of staging: a process of its own, on an emulated node.

    python -m exastorm.performance.staging_rank PLAN

PLAN is JSON: `root`, `files` (rows of name, bytes and SHA-256), `folder`, `mode`,
`samples_per_node`, `num_readers`, `num_transfers`. The node joins as its launcher's variables say,
stages together with the others, then copies what it needs all by itself, as scripts do, and writes
what it measured as JSON.
"""

import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from exastorm.parallel.cluster import Cluster, ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.owners import plan_staging
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.stager import stage
from exastorm.parallel.totals import Totals
from exastorm.performance.staging_sent import sent_by_server

TIMEOUT_S = 120.0
"""Wait for other nodes: many may start on few cores."""


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Measure what a plan asks for."""
    waits = ClusterSettings(timeout_s=TIMEOUT_S, meeting_timeout_s=TIMEOUT_S)
    files = tuple(StagedFile(*row) for row in plan["files"])
    settings = StageSettings(
        folder=str(Path(plan["folder"], os.environ["RANK"])),
        mode=plan["mode"],
        samples_per_node=plan["samples_per_node"],
        num_readers=plan["num_readers"],
        num_transfers=plan["num_transfers"],
    )
    with connect(read_launch(os.environ), waits, "cpu") as cluster:
        totals = Totals(cluster)
        world = cluster.world
        chosen = plan_staging(
            files, world.num_nodes, settings.mode, settings.samples_per_node, settings.seed
        )
        own = tuple(files[i] for i in chosen.of_node(world.node))
        everything = replace(settings, mode="replicate", samples_per_node=None)
        return {
            "needed_bytes": sum(file.num_bytes for file in own),
            "staged": _measure(cluster, totals, Manifest(plan["root"], files), settings),
            "naive": _measure(cluster, totals, Manifest(plan["root"], own), everything, alone=True),
        }


def _measure(
    cluster: Cluster,
    totals: Totals,
    manifest: Manifest,
    settings: StageSettings,
    *,
    alone: bool = False,
) -> dict[str, Any]:
    """Time and bytes of one way to bring files, which are removed again."""
    before = sent_by_server(manifest.root)
    totals.sum([torch.zeros(1)])
    start = time.perf_counter()
    with stage(Cluster.alone() if alone else cluster, manifest, settings) as staged:
        seconds = time.perf_counter() - start
        figures = asdict(staged.figures.node)
    totals.sum([torch.zeros(1)])
    return {
        "seconds": seconds,
        "server_bytes": sent_by_server(manifest.root) - before,
        "figures": figures,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
