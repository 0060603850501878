"""One rank of the benchmark of overlap: a process of its own, perhaps on an emulated node.

    python -m exastorm.performance.overlap_rank PLAN

PLAN is JSON: the fields of `OverlapBenchSettings`. Steps go through the exchange that training
uses, whose hooks take each gradient when backward has made it.
"""

import json
import os
import sys
import time
from typing import Any

import torch

from exastorm.parallel.allreduce.choosing import AloneAllReduce, make_allreduce
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings
from exastorm.parallel.buckets import FLOAT_BYTES, bucket_layout
from exastorm.parallel.cluster import Cluster, ClusterSettings, connect
from exastorm.parallel.gradients import GradientExchange, Lag
from exastorm.parallel.launch.launchers import read_launch
from exastorm.parallel.totals import Totals
from exastorm.performance.exchange_rank import TIMEOUT_S, device_name, meet
from exastorm.performance.overlap_work import Network, Sleep, Work
from exastorm.performance.timing import wait_for


class StepClock:
    """Times steps and exchanges of one rank, together with the others.

    Attributes:
        num_wrong: Numbers in sums so far that are wrong.
    """

    def __init__(self, cluster: Cluster, work: Work, plan: dict[str, Any]) -> None:
        """Connect; all ranks do so at the same time."""
        self.num_wrong = 0
        self._cluster, self._work = cluster, work
        self._totals = Totals(cluster)
        self._bucket_mb: float = plan["bucket_mb"]
        self._num_steps: int = plan["num_steps"]

    def exchange_s(self, way: AllReduce) -> float:
        """Seconds to sum all buckets of a step, started at once; the best of some tries."""
        parameters = self._work.parameters
        sizes = [
            sum(parameters[i].numel() for i in numbers)
            for numbers in bucket_layout(parameters, self._bucket_mb)
        ]
        buffers = [torch.zeros(size, device=self._cluster.device) for size in sizes]
        if self._cluster.world.num_ranks == 1:
            return 0.0
        times = []
        for _ in range(1 + self._num_steps):
            meet(self._cluster, self._totals)
            start = time.perf_counter()
            for pending in [way.start(buffer) for buffer in buffers]:
                pending.wait()
            wait_for(self._cluster.device)
            times.append(time.perf_counter() - start)
        # The first finds connections and memory not used before.
        return min(times[1:])

    def step_s(self, way: AllReduce, lag: Lag) -> float:
        """Seconds of a step whose gradients are summed: the mean of some, after warm-up."""
        parameters = self._work.parameters
        exchange = GradientExchange(parameters, way, lag=lag, bucket_mb=self._bucket_mb)
        # With lag, each generation of gradients is in use from its second turn on.
        for _ in range(2 + lag):
            exchange.learn([self._work.step])
        meet(self._cluster, self._totals)
        start = time.perf_counter()
        for _ in range(self._num_steps):
            exchange.learn([self._work.step])
        wait_for(self._cluster.device)
        seconds: float = (time.perf_counter() - start) / self._num_steps
        exchange.close()
        if not isinstance(way, AloneAllReduce):
            num_ranks = self._cluster.world.num_ranks
            self.num_wrong += self._work.num_wrong(self._totals, num_ranks, lag)
        for parameter in parameters:
            parameter.grad = None
        return seconds


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Measure all that a plan asks for."""
    settings = ClusterSettings(timeout_s=TIMEOUT_S, meeting_timeout_s=TIMEOUT_S)
    with connect(read_launch(os.environ), settings, plan["device"]) as cluster:
        make: type[Sleep] | type[Network] = Sleep if plan["work"] == "sleep" else Network
        work = make(plan, cluster.world.rank, cluster.device)
        clock = StepClock(cluster, work, plan)
        way = make_allreduce(cluster, AllReduceSettings(**plan["allreduce"]), TIMEOUT_S)
        times = {
            "exchange_s": clock.exchange_s(way),
            "step_alone_s": clock.step_s(AloneAllReduce(), 0),
            "step_lag0_s": clock.step_s(way, 0),
            "step_lag1_s": clock.step_s(way, 1),
        }
        way.close()
        return {
            "device": device_name(cluster.device),
            "exchange_mb": FLOAT_BYTES * sum(p.numel() for p in work.parameters) / 1e6,
            "times": times,
            "num_wrong": clock.num_wrong,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
