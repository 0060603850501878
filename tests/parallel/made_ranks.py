"""Ranks that are threads of the test: joined by real connections, without a process for each."""

import threading
from collections import Counter
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.launch.launchers import LOOPBACK
from exastorm.parallel.voice import Voice
from exastorm.parallel.world import World

LIMIT_S = 60.0


class MadeCluster:
    """What `Cluster` has, for a rank in a thread: torch itself knows one rank a process."""

    def __init__(self, rank, num_ranks, store, limit_s):
        self.world = World(rank=rank, placement=(0,) * num_ranks)
        self._limit = timedelta(seconds=limit_s)
        self.store, self.host, self.device = store, LOOPBACK, torch.device("cpu")
        self.voice = Voice(store, num_ranks)
        self._groups, self._num_uses = [], Counter()

    unique = Cluster.unique

    def make_group(self, ranks):
        """Ranks make their groups in the same order; each is of all ranks."""
        ranks, rank = list(ranks), self.world.rank
        assert ranks == list(range(self.world.num_ranks))
        if len(ranks) == 1:
            return None
        store = dist.PrefixStore(f"groups/{len(self._groups)}", self.store)
        group = dist.ProcessGroupGloo(store, rank, len(ranks), self._limit)
        distributed_c10d._world.pg_group_ranks[group] = {r: r for r in ranks}
        self._groups.append(group)
        return group

    def close(self):
        """Let the groups go."""
        for group in self._groups:
            del distributed_c10d._world.pg_group_ranks[group]


def run_ranks(act, num_ranks=2, limit_s=LIMIT_S):
    """What each rank returned or raised, each in a thread that calls act(cluster).

    An exchange may take limit_s.
    """
    store, results = dist.HashStore(), [None] * num_ranks
    store.set_timeout(timedelta(seconds=LIMIT_S))
    clusters = [MadeCluster(rank, num_ranks, store, limit_s) for rank in range(num_ranks)]

    def run(rank):
        torch.set_num_threads(1)
        try:
            results[rank] = act(clusters[rank])
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(r,), daemon=True) for r in range(num_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LIMIT_S)
        assert not thread.is_alive()
    for cluster in clusters:
        cluster.close()
    return results


def values(results):
    """What each rank returned; raises what a rank raised."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results
