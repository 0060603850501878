"""Sums that are queued: the same code between CPUs and GPUs; what waits for what needs a GPU."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.parallel.made_gpu import SLEEP, needs_gpu, own_group, wait_until
from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes
from tests.parallel.made_ranks import run_ranks, values
from torch import nn

from exastorm.errors import ExchangeError
from exastorm.parallel import streams
from exastorm.parallel.allreduce import choosing
from exastorm.parallel.allreduce.choosing import make_allreduce
from exastorm.parallel.allreduce.device import DeviceAllReduce
from exastorm.parallel.allreduce.family import AllReduceSettings
from exastorm.parallel.allreduce.wire import CrossSum
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.gradients import GradientExchange
from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.streams import Mark, SideStream
from exastorm.parallel.world import World

RANK = Path(__file__).with_name("rank_of_device.py")

PLACEMENTS = {
    "1x2": [0, 0],
    "2x1": [0, 1],
    "2x2": [0, 0, 1, 1],
    "2x2 dealt out": [0, 1, 0, 1],
    "2x3": [0, 0, 0, 1, 1, 1],
    "3+2+1": [0, 0, 0, 1, 1, 2],
}

SIZES = [0, 1, 7, 1000, 100_003]
"""Numbers in a buffer: fewer than ranks of a node, no multiple of them, and a multiple of two."""

FLAT, LEADER = {"kind": "flat"}, {"kind": "leader"}
HIERARCHICAL = {"kind": "hierarchical"}
EXACT = [FLAT, HIERARCHICAL, {"kind": "hierarchical", "leaders_per_node": 2}, LEADER]
ROUNDED = [way | {"wire": wire} for way in EXACT[:2] for wire in ("bfloat16", "float16")]
AUTO = {"kind": "auto"}


@pytest.fixture
def gpu():
    with own_group() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sums():
    """What each rank saw of each way on each placement it took part in."""
    jobs = [
        {"placement": placement, "ways": [*EXACT], "sizes": SIZES}
        for placement in PLACEMENTS.values()
    ]
    for name in ("2x2", "3+2+1"):
        jobs[list(PLACEMENTS).index(name)]["ways"] += ROUNDED
    for name in ("2x1", "2x2"):
        jobs[list(PLACEMENTS).index(name)]["ways"] += [AUTO]
    for job, port in zip(jobs, free_ports(len(jobs)), strict=True):
        job["port"] = port
    seen = run_processes([RANK], 6, 500, JOBS=jobs)
    return [entry for of_rank in seen for entry in of_rank]


def seen_of(sums, name, way):
    found = [s for s in sums if s["placement"] == PLACEMENTS[name] and s["way"] == way]
    assert len(found) == len(PLACEMENTS[name])
    return found


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.parametrize("way", EXACT, ids=str)
def test_sums_of_integers_are_exact_whenever_they_are_waited_for(sums, name, way):
    assert [s["wrong"] for s in seen_of(sums, name, way)] == [[]] * len(PLACEMENTS[name])


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.parametrize("way", EXACT, ids=str)
def test_all_ranks_have_the_same_bits(sums, name, way):
    assert len({s["bits"] for s in seen_of(sums, name, way)}) == 1


# float32 adds six numbers of about 1 with an error of 2^-24 of them; bfloat16 rounds each part and
# the sum to 8 bits (2^-9 of each at most, 2^-10.8 in the mean square), float16 to 11.
@pytest.mark.parametrize(
    ("wire", "low", "high"),
    [("float32", 0.0, 1.5e-7), ("bfloat16", 5e-4, 3.5e-3), ("float16", 6e-5, 4.5e-4)],
)
@pytest.mark.parametrize("name", ["2x2", "3+2+1"])
@pytest.mark.parametrize("way", [FLAT, HIERARCHICAL], ids=str)
def test_numbers_between_nodes_round_once_each_way(sums, name, way, wire, low, high):
    seen = seen_of(sums, name, way if wire == "float32" else way | {"wire": wire})
    assert all(low <= s["error"] <= high for s in seen)
    assert len({s["bits"] for s in seen}) == 1


def test_auto_tries_two_levels_where_there_are_two(sums):
    assert all(s["wrong"] == [] for name in ("2x1", "2x2") for s in seen_of(sums, name, AUTO))
    assert all(s["choice"] == ["flat"] * 4 for s in seen_of(sums, "2x1", AUTO))
    choices = [s["choice"] for s in seen_of(sums, "2x2", AUTO)]
    assert choices == choices[:1] * 4
    assert set(choices[0]) <= {"flat", "hierarchical"}
    assert seen_of(sums, "2x2", AUTO)[0]["line"].startswith("all-reduce: from 0.004 MB ")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (FLAT, ("flat", 3, "float32")),
        (HIERARCHICAL | {"leaders_per_node": 2}, ("hierarchical", 2, "float32")),
        # As many as the largest node has ranks.
        (HIERARCHICAL | {"leaders_per_node": 9}, ("hierarchical", 3, "float32")),
        (LEADER | {"wire": "bfloat16"}, ("leader", 3, "bfloat16")),
    ],
)
def test_between_gpus_every_kind_is_queued(monkeypatch, change, expected):
    made = []
    monkeypatch.setattr(choosing, "SideStream", lambda device: device)
    monkeypatch.setattr(choosing, "DeviceAllReduce", lambda *args: made.append(args))
    device = torch.device("cuda", 0)
    cluster = Cluster(World(rank=0, placement=(0, 0, 0, 1, 1)), device, MemoryStore())
    make_allreduce(cluster, AllReduceSettings(**change), 1.0)
    assert made == [(cluster, *expected, device)]


def test_after_a_rank_is_gone_every_sum_fails_where_it_is_waited_for():
    def act(cluster):
        way = DeviceAllReduce(cluster, "flat", 1, "float32")
        if cluster.world.is_first:
            return None
        lines = []
        for pending in [way.start(torch.ones(3)) for _ in range(2)]:
            assert pending.is_done()
            with pytest.raises(ExchangeError, match="exchange with other ranks failed: ") as caught:
                pending.wait()
            lines.append(str(caught.value))
        way.close()
        return lines

    _, lines = values(run_ranks(act, limit_s=3.0))
    assert lines[0] == lines[1]
    assert "\n" not in lines[0]


class ToldStreams:
    """In place of torch.cuda: what is queued on which stream, in words."""

    def __init__(self):
        self.told, self._now, self._num_marks = [], "main", 0
        told, streams = self.told, self

        class Event:
            def __init__(self, enable_timing):
                streams._num_marks += 1
                self.name = f"mark {streams._num_marks}"

            def record(self, stream):
                told.append(f"{stream}: {self.name}")

            def wait(self, stream):
                told.append(f"{stream}: wait for {self.name}")

        self.Event, self.Stream = Event, lambda device: "side"

    def current_stream(self, device):
        return self._now

    @contextmanager
    def stream(self, name):
        before, self._now = self._now, name
        yield
        self._now = before


def test_a_sum_is_queued_beside_and_only_who_needs_it_waits(monkeypatch):
    gpu = ToldStreams()
    monkeypatch.setattr(streams, "GPU", "cpu")
    monkeypatch.setattr(torch, "cuda", gpu)
    monkeypatch.setattr(SideStream, "uses", lambda self, tensor: None)
    monkeypatch.setattr(CrossSum, "start", lambda self, share: lambda: gpu.told.append("sum"))
    cluster = Cluster(World(rank=0, placement=(0, 0)), torch.device("cpu"), MemoryStore())
    way = DeviceAllReduce(cluster, "flat", 1, "float32")
    gpu.told.clear()
    pending = way.start(torch.ones(2))
    queued = ["main: mark 3", "side: wait for mark 3", "sum", "side: mark 4"]
    assert gpu.told == queued
    pending.wait()
    assert gpu.told == [*queued, "main: wait for mark 4"]


@needs_gpu
def test_the_host_waits_neither_to_start_a_sum_nor_for_it(gpu):
    way = DeviceAllReduce(gpu, "flat", 1, "float32")
    torch.cuda.synchronize()
    torch.cuda._sleep(SLEEP)
    buffer = torch.full((1000,), 3.0, device=gpu.device)
    pending = way.start(buffer)
    pending.wait()
    twice = buffer * 2.0
    assert not pending.is_done()
    torch.cuda.synchronize()
    assert pending.is_done()
    assert torch.equal(twice.cpu(), torch.full((1000,), 6.0))
    way.close()


@needs_gpu
def test_what_is_computed_meanwhile_does_not_wait_for_a_sum(gpu):
    device, side = gpu.device, SideStream(gpu.device)
    way = DeviceAllReduce(gpu, "flat", 1, "float32", side)
    buffer = torch.ones(1000, device=device)
    torch.cuda.synchronize()
    with side.after(Mark(device)):
        torch.cuda._sleep(SLEEP)
    pending = way.start(buffer)
    other = torch.ones(1000, device=device) + 1.0
    computed = Mark(device)
    wait_until(computed.is_reached)
    assert not pending.is_done()
    assert other.sum().item() == 2000.0
    pending.wait()
    assert buffer.sum().item() == 1000.0
    assert pending.is_done()
    way.close()


@needs_gpu
def test_a_sum_waits_for_its_mark_and_not_for_what_is_queued_since(gpu):
    device = gpu.device
    way = DeviceAllReduce(gpu, "flat", 1, "float32")
    starting = SideStream(device)
    buffer = torch.ones(1000, device=device)
    full = Mark(device)
    torch.cuda._sleep(SLEEP)
    computed = Mark(device)
    with starting.after(full):
        pending = way.start(buffer)
    wait_until(pending.is_done)
    assert not computed.is_reached()
    way.close()


@needs_gpu
def test_gradients_a_step_late_are_those_of_the_step_before(gpu):
    device = gpu.device
    network = nn.Linear(64, 64).to(device)
    parameters = list(network.parameters())
    way = DeviceAllReduce(gpu, "flat", 1, "float32")
    exchange = GradientExchange(parameters, way, lag=1, bucket_mb=1e-3)
    before = None
    for step in range(4):
        x = torch.full((8, 64), float(step), device=device)
        made = []

        def learn(x=x, made=made):
            made += torch.autograd.grad(network(x).square().sum(), parameters)

        ready = exchange.learn([learn])
        assert ready == (before is not None)
        if ready:
            for parameter, gradient in zip(parameters, before, strict=True):
                assert torch.equal(parameter.grad, gradient)
        before = [gradient.clone() for gradient in made]
    exchange.close()
    way.close()
