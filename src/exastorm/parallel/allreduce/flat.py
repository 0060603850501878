"""All-reduce in one ring through all ranks, as the backend makes it."""

import torch
from torch import Tensor

from exastorm.parallel.allreduce.family import AllReduce, Pending, Wire
from exastorm.parallel.allreduce.stages import Stages
from exastorm.parallel.allreduce.wire import CrossSum
from exastorm.parallel.cluster import Cluster


class FlatAllReduce(AllReduce):
    """Sums over all ranks at once."""

    def __init__(self, cluster: Cluster, wire: Wire) -> None:
        """Make a group of all ranks and a thread; all ranks do so at the same time."""
        ranks = range(cluster.world.num_ranks)
        group = cluster.make_group(list(ranks))
        self._cross = CrossSum(group, len(ranks), wire, may_be_direct=False)
        self._stages: Stages[tuple[Tensor, Pending]] = Stages(
            (lambda job: self._cross.start(job[0])(),),
            done=lambda job: job[1].finish_part(),
            prepare=lambda: torch.set_num_threads(1),
        )

    def start(self, buffer: Tensor) -> Pending:
        """Begin to sum a buffer."""
        pending = Pending(self._stages.failure)
        self._stages.put((buffer, pending))
        return pending

    def close(self) -> None:
        """Finish what is under way."""
        self._stages.close()
