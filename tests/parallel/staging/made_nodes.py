"""Nodes that are threads of the test, and files for them to stage."""

import hashlib
from collections import Counter

import numpy as np
from tests.parallel.made_ranks import run_ranks

from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.stager import stage
from exastorm.parallel.world import World


def made_manifest(root, num_files=12, num_bytes=100_000, **words):
    """Files of random bytes, each of another size."""
    root.mkdir(parents=True, exist_ok=True)
    files = []
    for place in range(num_files):
        name = f"part/{place:03d}" if place % 2 else f"{place:03d}"
        content = np.random.default_rng(place).bytes(num_bytes + place)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        files.append(StagedFile(name, len(content), hashlib.sha256(content).hexdigest()))
    return Manifest(str(root), tuple(files), **words)


def settings_of(folder, **words):
    """Settings of one node."""
    usual = {"num_readers": 1, "patience_s": 20.0, "keep": True}
    return StageSettings(folder=str(folder), **usual | words)


def stage_on_nodes(manifest, folder, placement=(0, 1, 2), **words):
    """What each rank got, or raised.

    Args:
        manifest: What to stage; a function of the node makes one for each.
        folder: Holds a folder for each node.
        placement: The node of each rank.
        words: Settings.
    """

    def run(cluster):
        cluster.world = World(rank=cluster.world.rank, placement=placement)
        node = cluster.world.node
        settings = settings_of(folder / f"node{node}", **words)
        files = manifest(node) if callable(manifest) else manifest
        with stage(cluster, files, settings) as staged:
            check_right(files, staged)
            return staged

    return run_ranks(run, len(placement))


def check_right(manifest, staged):
    """Whatever is there is what it should be."""
    by_name = {file.name: file for file in manifest.files}
    for name, entry in staged.entries.items():
        content = (staged.folder / name).read_bytes()
        assert entry.num_bytes == len(content)
        assert hashlib.sha256(content).hexdigest() == by_name[name].sha256
    found = {str(p.relative_to(staged.folder)) for p in staged.folder.rglob("*") if p.is_file()}
    assert found == set(staged.entries)


def total_bytes(manifest):
    return sum(file.num_bytes for file in manifest.files)


def copies(results):
    """How many nodes have each file."""
    return Counter(name for staged in results for name in staged.entries)
