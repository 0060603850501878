"""One rank of the clusters in test_cluster.py, a process of its own; writes what it saw as JSON."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from exastorm.errors import InputError
from exastorm.parallel.cluster import ClusterSettings, connect
from exastorm.parallel.launch.launchers import read_launch


def total(cluster, group):
    """The sum of 1 + rank over a group; integers, so exact in float32."""
    part = torch.tensor([1.0 + cluster.world.rank])
    dist.all_reduce(part, group=group)
    return part.item()


def work_together():
    """World, store and groups of an uneven cluster (3 + 1)."""
    settings = ClusterSettings(timeout_s=120.0, meeting_timeout_s=120.0)
    seen = {}
    with connect(read_launch(os.environ), settings, "cpu") as cluster:
        world, store = cluster.world, cluster.store
        seen["placement"] = world.placement
        seen["interface"] = os.environ["GLOO_SOCKET_IFNAME"]
        store.set(f"name/{world.rank}", f"rank {world.rank}")
        names = store.multi_get([f"name/{r}" for r in range(world.num_ranks)])
        seen["names"] = [name.decode() for name in names]
        # Ranks of the larger node have made one group more by now than the others.
        node = cluster.make_group(world.ranks_of(world.node))
        everyone = cluster.make_group(range(world.num_ranks))
        leaders = [world.ranks_of(n)[0] for n in range(world.num_nodes)]
        across = [cluster.make_group(leaders) for _ in range(2)]
        seen["node"] = total(cluster, node) if node else None
        seen["everyone"] = total(cluster, everyone)
        seen["default"] = total(cluster, None)
        seen["across"] = [total(cluster, group) if group else None for group in across]
        if across[0]:
            # The root of a group is given by its rank in the world, as in groups of torch's own.
            root = torch.tensor([float(world.rank)])
            dist.broadcast(root, src=leaders[1], group=across[1])
            seen["root"] = root.item()
    cluster.close()
    seen["interface after"] = os.environ.get("GLOO_SOCKET_IFNAME")
    seen["still connected"] = dist.is_initialized()
    return seen


def add_up():
    """Where the ranks sit by what their machines say."""
    settings = ClusterSettings(timeout_s=120.0, meeting_timeout_s=120.0)
    with connect(read_launch(os.environ), settings, "cpu") as cluster:
        return {
            "placement": cluster.world.placement,
            "sum": total(cluster, None),
            "interface": os.environ["GLOO_SOCKET_IFNAME"],
        }


def fall_silent():
    """A network that isn't there; then rank 1 takes no part in an exchange."""
    launch = read_launch(os.environ)
    seen = {}
    try:
        connect(launch, ClusterSettings(interface="nosuch0", timeout_s=20.0), "cpu")
    except InputError as error:
        seen["no interface"] = str(error)
    seen["interface after"] = os.environ.get("GLOO_SOCKET_IFNAME")
    # As if only rank 0 had tried more often; torch's own names of groups would then differ.
    distributed_c10d._world.group_count += launch.rank == 0
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    launch = read_launch(os.environ)
    try:
        with connect(launch, ClusterSettings(timeout_s=1.0), "cpu") as cluster:
            if launch.rank == 0:
                total(cluster, None)
            else:
                cluster.store.get("rank 0 gave up")
    except RuntimeError as error:
        seen["silent"] = str(error)
        cluster.store.set("rank 0 gave up", "")
    return seen


def come_again():
    """Die at the first start, in the last rank; add up at the second."""
    launch = read_launch(os.environ)
    with connect(launch, ClusterSettings(meeting_timeout_s=120.0), "cpu") as cluster:
        if launch.restart_count == 0:
            if launch.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            total(cluster, None)
        seen = {"keeps_store": launch.keeps_store, "sum": total(cluster, None)}
    Path(os.environ["SEEN"], f"{launch.rank}.json").write_text(json.dumps(seen))
    return seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
