"""Staging as a whole: each file read once, all nodes with what they need, and every fault told."""

import json
from pathlib import Path

import pytest
from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes
from tests.parallel.made_ranks import values
from tests.parallel.staging.made_nodes import (
    copies,
    made_manifest,
    settings_of,
    stage_on_nodes,
    total_bytes,
)

from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.stager import stage

RANK = Path(__file__).with_name("rank_of_staging.py")


def test_one_process_stages_all_without_a_connection(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.create_server", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    manifest = made_manifest(tmp_path / "root")
    with stage(Cluster.alone(), manifest, settings_of(tmp_path / "local")) as staged:
        assert set(staged.entries) == {file.name for file in manifest.files}
    assert staged.figures.total.read_bytes == total_bytes(manifest)
    assert staged.figures.node.present_bytes == staged.figures.node.num_stolen == 0


def test_without_keep_nothing_stays(tmp_path):
    manifest = made_manifest(tmp_path / "root", 2)
    with stage(Cluster.alone(), manifest, settings_of(tmp_path / "local", keep=False)) as staged:
        assert (staged.folder / "000").exists()
    assert not (tmp_path / "local").exists()


def test_after_an_error_the_files_are_left_to_the_next_start(tmp_path):
    manifest, settings = made_manifest(tmp_path / "root", 2), settings_of(tmp_path / "local")
    with pytest.raises(KeyError), stage(Cluster.alone(), manifest, settings):
        raise KeyError
    with stage(Cluster.alone(), manifest, settings) as staged:
        assert staged.figures.node.read_bytes == 0


@pytest.mark.parametrize("mode", ["replicate", "partition", "sample"])
def test_each_file_is_read_once_in_every_mode(tmp_path, mode):
    manifest = made_manifest(tmp_path / "root")
    words = {"samples_per_node": 8} if mode == "sample" else {}
    results = values(stage_on_nodes(manifest, tmp_path, mode=mode, **words))
    read = [staged.figures.node.read_bytes for staged in results]
    assert sum(read) == total_bytes(manifest)
    # 3 nodes with 8 of 12 samples have two copies of each file on average.
    num_copies = {"replicate": 3, "partition": 1, "sample": 2}[mode]
    assert set(copies(results)) == {file.name for file in manifest.files}
    assert copies(results).total() == 12 * num_copies
    assert {staged.figures.total.read_bytes for staged in results} == {total_bytes(manifest)}
    received = [staged.figures.node.received_bytes for staged in results]
    assert sum(staged.figures.node.sent_bytes for staged in results) == sum(received)
    assert results[0].figures.total.received_bytes == sum(received)
    kept = sum(entry.num_bytes for staged in results for entry in staged.entries.values())
    assert sum(received) == kept - total_bytes(manifest)


def test_a_second_start_reads_nothing_and_sends_nothing(tmp_path):
    manifest = made_manifest(tmp_path / "root")
    values(stage_on_nodes(manifest, tmp_path))
    results = values(stage_on_nodes(manifest, tmp_path))
    total = results[0].figures.total
    assert (total.read_bytes, total.received_bytes) == (0, 0)
    assert total.present_bytes == 3 * total_bytes(manifest)


def test_what_a_node_has_lost_comes_from_the_others(tmp_path):
    manifest = made_manifest(tmp_path / "root")
    values(stage_on_nodes(manifest, tmp_path))
    with LocalStore(tmp_path / "node1", manifest.fingerprint, manifest.origins) as local:
        local.remove()
    flipped = tmp_path / "node2" / "exastorm-staged" / "files" / "000"
    content = bytearray(flipped.read_bytes())
    content[50] ^= 1
    flipped.write_bytes(content)
    results = values(stage_on_nodes(manifest, tmp_path))
    assert [staged.figures.node.read_bytes for staged in results] == [0, 0, 0]
    assert results[1].figures.node.received_bytes == total_bytes(manifest)
    assert results[2].figures.node.received_bytes == len(content)
    assert "000" in results[2].repaired[0]


def test_another_mode_leaves_no_more_than_it_needs(tmp_path):
    manifest = made_manifest(tmp_path / "root")
    values(stage_on_nodes(manifest, tmp_path))
    results = values(stage_on_nodes(manifest, tmp_path, mode="partition"))
    assert copies(results).total() == 12
    assert results[0].figures.total.read_bytes == 0


def test_uneven_nodes_and_ranks_that_wait(tmp_path):
    manifest = made_manifest(tmp_path / "root", 5)
    results = values(stage_on_nodes(manifest, tmp_path, placement=(0, 1, 0, 1, 1), keep=False))
    assert all(len(staged.entries) == 5 for staged in results)
    assert results[0].entries == results[2].entries
    assert results[1].figures == results[4].figures
    assert results[0].figures.total.read_bytes == total_bytes(manifest)
    assert not (tmp_path / "node0").exists()
    assert not (tmp_path / "node1").exists()


def test_more_nodes_than_files(tmp_path):
    manifest = made_manifest(tmp_path / "root", 1)
    results = values(stage_on_nodes(manifest, tmp_path))
    assert [set(staged.entries) for staged in results] == [{"000"}] * 3
    assert results[0].figures.total.read_bytes == total_bytes(manifest)


def test_nothing_to_stage(tmp_path):
    results = values(stage_on_nodes(made_manifest(tmp_path / "root", 0), tmp_path))
    assert [staged.entries for staged in results] == [{}] * 3


def test_a_folder_must_be_named(tmp_path):
    with pytest.raises(InputError, match="folder must say where"):
        stage(Cluster.alone(), made_manifest(tmp_path / "root", 1), StageSettings())


def test_processes_as_nodes(tmp_path):
    manifest = made_manifest(tmp_path / "root", 9)
    rows = [[file.name, file.num_bytes, file.sha256] for file in manifest.files]
    (port,) = free_ports(1)
    seen = run_processes(
        [RANK],
        3,
        120,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
        EXASTORM_RANKS_PER_NODE="1",
        ROOT=manifest.root,
        FILES=json.dumps(rows),
        LOCAL=str(tmp_path),
    )
    for mode, num_copies in (("replicate", 3), ("partition", 1), ("sample", 2)):
        of_mode = [rank[mode] for rank in seen]
        assert sum(rank["read"] for rank in of_mode) == total_bytes(manifest)
        assert sum(len(rank["names"]) for rank in of_mode) == 9 * num_copies
        assert {name for rank in of_mode for name in rank["names"]} == {row[0] for row in rows}
    (line,) = {rank["failure"] for rank in seen}
    assert line.startswith(f"{manifest.root}/000: ")
