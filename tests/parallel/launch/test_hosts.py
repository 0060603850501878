"""Which ranks share a machine."""

import subprocess
import sys
from pathlib import Path

import pytest

import exastorm
from exastorm.parallel.launch import hosts
from exastorm.parallel.launch.hosts import host_identity, place_ranks


def test_processes_of_a_machine_are_of_one_host():
    other = subprocess.run(
        [
            sys.executable,
            "-c",
            "from exastorm.parallel.launch.hosts import host_identity as h; print(h())",
        ],
        env={"PYTHONPATH": str(Path(exastorm.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == host_identity()
    assert "\n" not in host_identity()


def test_machines_of_one_name_differ(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts.platform, "node", lambda: "localhost")
    seen = []
    kernels = [("1f", "net:[1]"), ("2e", "net:[1]"), ("1f", "net:[2]"), ("1f", "net:[1]")]
    for boot, network in kernels:
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        (folder / "boot").write_text(f"{boot}\n")
        (folder / "net").symlink_to(network)
        monkeypatch.setattr(hosts, "BOOT_ID", folder / "boot")
        monkeypatch.setattr(hosts, "NETWORK", folder / "net")
        seen.append(host_identity())
    # Another kernel is another node, and so is another network on the same kernel.
    assert place_ranks(seen) == (0, 1, 2, 0)


def test_host_names_of_one_kernel_differ(monkeypatch):
    first = host_identity()
    monkeypatch.setattr(hosts.platform, "node", lambda: "another")
    assert place_ranks([first, host_identity()]) == (0, 1)


def test_a_host_without_a_linux_kernel(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts, "BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(hosts.platform, "node", lambda: "a")
    first, again = host_identity(), host_identity()
    monkeypatch.setattr(hosts.uuid, "getnode", lambda: 0xFF)
    assert place_ranks([first, again, host_identity()]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("identities", "placement"),
    [
        ("aabb", (0, 0, 1, 1)),
        ("baba", (0, 1, 0, 1)),  # dealt out in turn; numbered by first appearance
        ("cccaab", (0, 0, 0, 1, 1, 2)),
    ],
)
def test_nodes_are_numbered_as_they_appear(identities, placement):
    assert place_ranks(identities) == placement


def test_nodes_emulated_on_one_machine():
    assert place_ranks("aaaaa", ranks_per_node=2) == (0, 0, 1, 1, 2)
