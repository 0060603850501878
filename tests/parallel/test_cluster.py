"""Processes that connect: real ones, on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes

import exastorm
from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster, ClusterSettings, connect
from exastorm.parallel.launch.cards import CPU
from exastorm.parallel.launch.launchers import Launch
from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.launch.transport import choose_device, choose_interface
from exastorm.parallel.world import World

RANK_OF_CLUSTER = Path(__file__).with_name("rank_of_cluster.py")


def run_ranks(program, num_ranks, prefixes=None, **variables):
    """What each rank saw; prefixes are commands that each is started through."""
    first, second = free_ports(2)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": first, "SECOND_PORT": second}
    words = [RANK_OF_CLUSTER, program]
    return run_processes(words, num_ranks, 120, prefixes, **where | variables)


@pytest.fixture(scope="module")
def together():
    return run_ranks("work_together", 4, EXASTORM_RANKS_PER_NODE="3")


def test_all_ranks_know_the_world(together):
    assert [seen["placement"] for seen in together] == [[0, 0, 0, 1]] * 4


def test_all_ranks_share_the_store(together):
    assert all(seen["names"] == ["rank 0", "rank 1", "rank 2", "rank 3"] for seen in together)


def test_groups_exchange_among_their_members(together):
    # Ranks 0, 1, 2 hold 1, 2, 3 (6 in all); rank 3, which holds 4, is alone on its node.
    assert [seen["node"] for seen in together] == [6, 6, 6, None]
    assert [seen["everyone"] for seen in together] == [10] * 4
    assert [seen["default"] for seen in together] == [10] * 4
    # Leaders are 0 and 3, in two groups of the same ranks.
    assert [seen["across"] for seen in together] == [[5, 5], [None, None], [None, None], [5, 5]]
    assert [seen.get("root") for seen in together] == [3, None, None, 3]


def test_the_interface_is_that_of_the_meeting_point(together):
    loopback = {name for _, name in socket.if_nameindex() if name.startswith("lo")}
    assert {seen["interface"] for seen in together} <= loopback


def test_closing_leaves_nothing_behind(together):
    assert [seen["interface after"] for seen in together] == [None] * 4
    assert [seen["still connected"] for seen in together] == [False] * 4


def test_what_fails_is_told_in_one_line():
    first, second = run_ranks("fall_silent", 2)
    for rank, seen in enumerate((first, second)):
        assert f"rank {rank} can't reach other ranks" in seen["no interface"]
        assert "nosuch0" in seen["no interface"]
        assert "\n" not in seen["no interface"]
        assert seen["interface after"] is None
    # One second is the limit of an exchange here.
    assert "1000ms" in first["silent"]
    assert "silent" not in second


@pytest.fixture
def two_networks():
    """Two network namespaces, joined by a cable, as commands that run a process in each."""
    names = [f"exastorm-{os.getpid()}-{index}" for index in (0, 1)]
    setup = [f"netns add {name}" for name in names]
    setup.append(f"link add near0 netns {names[0]} type veth peer name far0 netns {names[1]}")
    for name, link, address in zip(
        names, ("near0", "far0"), ("10.77.5.1", "10.77.5.2"), strict=True
    ):
        setup.append(f"-n {name} link set lo up")
        setup.append(f"-n {name} address add {address}/24 dev {link}")
        setup.append(f"-n {name} link set {link} up")
    try:
        for line in setup:
            if subprocess.run(["ip", *line.split()], capture_output=True, check=False).returncode:
                pytest.skip(f"needs the right to ip {line}")
        rename = ["unshare", "--uts", "sh", "-c", 'hostname localhost; exec "$@"', "sh"]
        yield [["ip", "netns", "exec", name, *rename] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)")
def test_machines_of_one_name_are_told_apart(two_networks):
    # Both are called localhost, to which gloo by itself would bind: then they would not meet.
    seen = run_ranks("add_up", 2, two_networks, MASTER_ADDR="10.77.5.1")
    assert [rank["placement"] for rank in seen] == [[0, 1]] * 2
    assert [rank["sum"] for rank in seen] == [3, 3]
    assert [rank["interface"] for rank in seen] == ["near0", "far0"]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_ranks_that_torchrun_starts_again_meet_again(tmp_path, shared):
    # In the store that torchrun shares over restarts, torch's own start finds stale keys and fails.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=1", RANK_OF_CLUSTER, "come_again"]
    outcome = subprocess.run(
        command,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(exastorm.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
            "SEEN": str(tmp_path),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0" if shared else "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert seen == [{"keeps_store": shared, "sum": 3}] * 2


def test_a_process_alone_has_the_same_verbs():
    with Cluster.alone() as cluster:
        assert cluster.world == World.single()
        assert cluster.device == torch.device("cpu")
        assert cluster.make_group([0]) is None
        assert cluster.store.add("count", 2) == 2
        assert not dist.is_initialized()
    cluster.close()
    with connect(Launch(), device="cpu") as cluster:
        assert cluster.world == World.single()


def test_each_use_of_the_store_has_a_name_of_its_own():
    cluster = Cluster.alone()
    names = [cluster.unique(purpose) for purpose in ("control", "node", "control")]
    assert names == ["control/1", "node/1", "control/2"]


@pytest.mark.parametrize("ranks", [[0, 0], [1], [-1]])
def test_groups_are_of_ranks(ranks):
    with pytest.raises(ValueError, match="ranks must be different ranks of the world, got"):
        Cluster.alone().make_group(ranks)


@pytest.mark.parametrize("store", [MemoryStore(), dist.HashStore()], ids=["memory", "torch"])
def test_stores_answer_alike(store):
    store.set("a", "1")
    store.set("b", "x")
    assert store.get("a") == b"1"
    assert store.multi_get(["b", "a"]) == [b"x", b"1"]
    assert store.add("n", 3) == 3
    assert store.add("n", 4) == 7
    assert store.get("n") == b"7"
    assert store.check(["a", "b"])
    assert not store.check(["a", "c"])
    store.wait(["a"], timedelta(seconds=1))


def test_a_process_alone_waits_for_no_one():
    for ask in (MemoryStore().get, lambda key: MemoryStore().wait([key])):
        with pytest.raises(KeyError):
            ask("never set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timeout_s": 0.0}, "timeout_s must be positive, got 0.0"),
        ({"meeting_timeout_s": float("inf")}, "meeting_timeout_s must be positive, got inf"),
        ({"interface": " "}, "interface must be a name or None, got ' '"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        ClusterSettings(**change)


def test_who_waits_at_the_start_gives_up():
    launch = Launch(rank=1, num_ranks=2, port=free_ports(1)[0])
    with pytest.raises(InputError, match="no one answers rank 1"):
        connect(launch, ClusterSettings(meeting_timeout_s=0.2), "cpu")


def test_a_setting_of_the_interface_wins(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert choose_interface("ib0", "127.0.0.1", cpu) == "ib0"
    assert choose_interface("ib0", "127.0.0.1", gpu) == "ib0"
    # NCCL looks for itself, and so does who has set gloo's own variable.
    assert choose_interface(None, "127.0.0.1", gpu) is None
    assert choose_interface(None, "127.0.0.1", cpu) is not None
    with pytest.raises(InputError, match=r"no network leads to rank 0 at 255.255.255.255"):
        choose_interface(None, "255.255.255.255", cpu)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    assert choose_interface(None, "127.0.0.1", cpu) is None


def with_gpus(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


def test_ranks_of_a_machine_take_a_gpu_each(monkeypatch):
    launch = Launch(rank=5, num_ranks=8, local_rank=1)
    with_gpus(monkeypatch, 4)
    assert choose_device("auto", launch) == torch.device("cuda", 1)
    assert choose_device("cpu", launch) == torch.device(CPU)
    assert choose_device("cuda", Launch()) == torch.device("cuda", 0)
    with pytest.raises(InputError, match="LOCAL_RANK must be set to choose one of 4 GPUs"):
        choose_device("cuda", Launch(rank=5, num_ranks=8))
    with pytest.raises(InputError, match="at most its 4 GPUs, got local rank 4"):
        choose_device("cuda", Launch(rank=5, num_ranks=8, local_rank=4))
    # A launcher that shows each process one GPU.
    with_gpus(monkeypatch, 1)
    assert choose_device("auto", launch) == torch.device("cuda", 0)
    with_gpus(monkeypatch, 0)
    assert choose_device("auto", launch) == torch.device(CPU)
    with pytest.raises(InputError, match="torch sees no GPU"):
        choose_device("cuda", launch)
