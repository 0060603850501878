"""Faults while files are staged: each is told on all ranks alike, or made good."""

import threading
from pathlib import Path

import pytest
from tests.parallel.made_ranks import run_ranks, values
from tests.parallel.staging.made_nodes import (
    made_manifest,
    settings_of,
    stage_on_nodes,
    total_bytes,
)

from exastorm.errors import ExchangeError, InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.staging import gathering, stager
from exastorm.parallel.staging.ending import Ending
from exastorm.parallel.staging.fetching import TransferError
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.owners import plan_staging
from exastorm.parallel.staging.reading import Readers
from exastorm.parallel.world import World


def spoil(manifest, name):
    """Flip a byte in the shared store."""
    path = Path(manifest.root, name)
    content = bytearray(path.read_bytes())
    content[7] ^= 4
    path.write_bytes(content)


def test_corrupt_files_end_all_ranks_with_one_line(tmp_path):
    manifest = made_manifest(tmp_path / "root")
    spoil(manifest, "004")
    results = stage_on_nodes(manifest, tmp_path, placement=(0, 1, 2, 2))
    assert all(isinstance(error, InputError) for error in results)
    (line,) = {str(error) for error in results}
    assert line.startswith(f"{manifest.root}/004: ")
    assert "sha256" in line
    assert "\n" not in line


def test_corrupt_files_are_skipped_by_all_alike(tmp_path, capfd):
    manifest = made_manifest(tmp_path / "root")
    for name in ("part/007", "002"):
        spoil(manifest, name)
    results = values(stage_on_nodes(manifest, tmp_path, placement=(0, 1, 2, 2), on_corrupt="skip"))
    assert [staged.left_out for staged in results] == [("002", "part/007")] * 4
    assert all(len(staged.entries) == 10 for staged in results)
    said = capfd.readouterr().err
    assert "2 of 12 files are corrupt and left out: 002 has sha256" in said


@pytest.mark.parametrize(("mode", "num_samples"), [("partition", None), ("sample", 6)])
def test_corrupt_files_are_skipped_where_nodes_have_a_part(tmp_path, mode, num_samples):
    manifest = made_manifest(tmp_path / "root", 8)
    spoil(manifest, "002")
    words = {"mode": mode, "samples_per_node": num_samples, "on_corrupt": "skip"}
    results = values(stage_on_nodes(manifest, tmp_path, (0, 1), **words))
    assert [staged.left_out for staged in results] == [("002",)] * 2
    # Each node has what it would have without it.
    plan = plan_staging(manifest.files, 2, mode, num_samples)
    for node, staged in enumerate(results):
        names = {manifest.files[index].name for index in plan.of_node(node)}
        assert set(staged.entries) == names - {"002"}


def test_what_fails_on_one_node_ends_all_with_its_line(tmp_path):
    blocked = tmp_path / "node1"
    blocked.write_text("a file where a folder should be")
    results = stage_on_nodes(made_manifest(tmp_path / "root"), tmp_path, placement=(0, 1, 2, 1))
    assert all(isinstance(error, InputError) for error in results)
    (line,) = {str(error) for error in results}
    assert str(blocked) in line
    assert line.endswith("(node 1)")


def test_a_mistake_of_ours_is_raised_and_ends_the_others(tmp_path, monkeypatch):
    class Broken(gathering.Gathering):
        def turn(self, *words):
            if self._node == 1:
                raise ZeroDivisionError("oh")
            return super().turn(*words)

    monkeypatch.setattr(stager, "Gathering", Broken)
    results = stage_on_nodes(made_manifest(tmp_path / "root"), tmp_path)
    assert [type(error) for error in results] == [ExchangeError, ZeroDivisionError, ExchangeError]
    assert str(results[0]) == str(results[2]) == "staging ended (node 1): ZeroDivisionError oh"


def test_nodes_must_stage_the_same(tmp_path):
    manifests = [made_manifest(tmp_path / "root", num) for num in (4, 4, 3)]
    results = stage_on_nodes(lambda node: manifests[node], tmp_path)
    (line,) = {str(error) for error in results}
    assert "node 2 are not those of node 0" in line


def test_nodes_must_stage_in_the_same_way(tmp_path):
    manifest = made_manifest(tmp_path / "root", 4)

    def run(cluster):
        cluster.world = World(rank=cluster.world.rank, placement=(0, 1))
        node = cluster.world.node
        words = {"mode": "sample", "samples_per_node": 3, "seed": node}
        return stager.stage(cluster, manifest, settings_of(tmp_path / f"node{node}", **words))

    (line,) = {str(error) for error in run_ranks(run)}
    assert "with the same settings, but those of node 1 are not those of node 0" in line


def test_what_is_there_is_checked_no_further_once_staging_fails(tmp_path, monkeypatch):
    manifest = made_manifest(tmp_path / "root", 4)
    values(stage_on_nodes(manifest, tmp_path, (0, 1)))
    right, ends = LocalStore.recover, []

    def recover(self, advance):
        if self.folder.name == "node0":
            raise InputError("a disk fails")
        while not ends:  # There is no end of what it has to check.
            try:
                advance(1)
            except TransferError:
                ends.append("ended")
        return right(self)

    monkeypatch.setattr(LocalStore, "recover", recover)
    (line,) = {str(error) for error in stage_on_nodes(manifest, tmp_path, (0, 1))}
    assert line == "a disk fails (node 0)"
    monkeypatch.undo()
    results = values(stage_on_nodes(manifest, tmp_path, (0, 1)))
    assert results[0].figures.total.present_bytes == 2 * total_bytes(manifest)


def test_a_failure_is_not_waited_for_by_those_who_are_gone():
    cluster = Cluster.alone()
    cluster.world = World(rank=0, placement=(0, 1, 2))
    ending = Ending(cluster, "staging/1")
    ending.hear()
    assert not ending.all_heard(1)
    ending.hear()
    assert ending.all_heard(1)
    assert not ending.all_heard()


def test_too_little_room_is_told_before_the_first_byte(tmp_path, monkeypatch):
    def require(self, num_bytes):
        if self.folder.name == "node2":
            raise InputError(f"needs {num_bytes}")

    monkeypatch.setattr(LocalStore, "require_space", require)
    manifest = made_manifest(tmp_path / "root")
    results = stage_on_nodes(manifest, tmp_path)
    assert {str(error) for error in results} == {f"needs {total_bytes(manifest)} (node 2)"}
    assert not list((tmp_path / "node0").rglob("000"))


def test_a_silent_node_ends_the_others(tmp_path, monkeypatch):
    over = threading.Event()

    class Stuck(gathering.Gathering):
        def turn(self, *words):
            if self._node == 1:
                over.wait(60)
            return super().turn(*words)

    right = stager._Stager.fail

    def fail(self, error):
        told = right(self, error)
        over.set()
        return told

    monkeypatch.setattr(stager, "Gathering", Stuck)
    monkeypatch.setattr(stager._Stager, "fail", fail)
    results = stage_on_nodes(made_manifest(tmp_path / "root"), tmp_path, patience_s=3.0)
    assert {str(error) for error in results} == {
        "node 1 (rank 1) said nothing for 3 s while files were staged"
    }
    assert {type(error) for error in results} == {ExchangeError}


def test_what_a_slow_node_has_not_begun_is_stolen(tmp_path, monkeypatch):
    class Slow(gathering.Gathering):
        def _read_more(self, readers):
            if self._node != 1 or self._view.peers[0].figures or not self._needed:
                super()._read_more(readers)

    monkeypatch.setattr(stager, "Gathering", Slow)
    manifest = made_manifest(tmp_path / "root")
    results = values(stage_on_nodes(manifest, tmp_path))
    assert results[1].figures.node.read_bytes == 0
    # Node 1 was to read a third; the others may also take from one another.
    assert results[0].figures.total.num_stolen >= 4
    assert results[0].figures.total.read_bytes == total_bytes(manifest)


def test_what_a_stuck_node_has_begun_is_read_by_another(tmp_path, monkeypatch):
    class StuckReaders(Readers):
        def submit(self, file):
            self.is_stuck = self._local.folder.name == "node1"
            if not self.is_stuck:
                super().submit(file)

        def cancel(self, name):
            return self.is_stuck or super().cancel(name)

    monkeypatch.setattr(stager, "Readers", StuckReaders)
    manifest = made_manifest(tmp_path / "root")
    results = values(stage_on_nodes(manifest, tmp_path, steal_after_s=0.5))
    assert all(len(staged.entries) == 12 for staged in results)
    assert results[1].figures.node.read_bytes == 0
    assert results[0].figures.total.read_bytes == total_bytes(manifest)


@pytest.mark.parametrize("num_failures", [1, 3, 5])
def test_a_transfer_that_fails_is_made_again_then_elsewhere_then_read(
    tmp_path, monkeypatch, num_failures
):
    lock, asked = threading.Lock(), []
    right = gathering.fetch

    def fetch(address, token, expected, partial, *words):
        if expected.name == "000":
            with lock:
                asked.append(address)
                if len(asked) <= num_failures:
                    raise TransferError("a byte has flipped")
        return right(address, token, expected, partial, *words)

    monkeypatch.setattr(gathering, "fetch", fetch)
    manifest = made_manifest(tmp_path / "root")
    # One node reads 000, the other must fetch it.
    results = values(stage_on_nodes(manifest, tmp_path, placement=(0, 1)))
    assert all(len(staged.entries) == 12 for staged in results)
    total = results[0].figures.total
    # Of two nodes there is no third to ask: after two failures the file is read.
    assert total.num_again == min(num_failures, 2)
    again = manifest.files[0].num_bytes if num_failures > 1 else 0
    assert total.read_bytes == total_bytes(manifest) + again


def test_many_transfers_at_once_are_bounded(tmp_path, monkeypatch):
    lock, now, most = threading.Lock(), [0], [0]
    right = gathering.fetch

    def fetch(*words):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return right(*words)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(gathering, "fetch", fetch)
    values(stage_on_nodes(made_manifest(tmp_path / "root"), tmp_path, num_transfers=1))
    # Three nodes, one each.
    assert most[0] <= 3
