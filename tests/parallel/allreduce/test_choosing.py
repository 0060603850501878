"""Which way a buffer goes: the one that was fastest for its size, or that of before the restart."""

from types import SimpleNamespace

import pytest
import torch

from exastorm.parallel.allreduce import choosing
from exastorm.parallel.allreduce.choosing import ChosenAllReduce
from exastorm.parallel.allreduce.family import AllReduce, AllReduceSettings, Pending
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.world import World

SETTINGS = AllReduceSettings()

PLACEMENT = (0, 0, 1)

SOON = {"flat": (1.0, 5.0), "leader": (3.0, 0.5)}
"""Seconds of a sum, and for each MB of it. Of 4 and 64 kB flat takes 1.02 and 1.32 s, leader 3.002
and 3.032 s; of 1.024 MB 6.12 and 3.512 s; of 8.192 MB 41.96 and 7.096 s."""

CHOICE = {4_000: "flat", 64_000: "flat", 1_024_000: "leader", 8_192_000: "leader"}

LATE = {"flat": (3.0, 0.5), "leader": (1.0, 5.0)}
"""The other way round."""

OTHER = {4_000: "leader", 64_000: "leader", 1_024_000: "flat", 8_192_000: "flat"}


class MadeWay(AllReduce):
    """Sums nothing, and moves a clock."""

    def __init__(self, clock, seconds, seconds_per_mb):
        self._clock, self._seconds, self._seconds_per_mb = clock, seconds, seconds_per_mb
        self.started = []
        self.is_closed = False

    def start(self, buffer):
        size = 4 * len(buffer)
        self._clock.now += self._seconds + size / 1e6 * self._seconds_per_mb
        self.started.append(size)
        return Pending(Failure(), num_parts=0)

    def close(self):
        self.is_closed = True


@pytest.fixture
def make(monkeypatch):
    """Makes ways that take such times, and the choice among them."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(choosing, "time", clock)

    def made(seconds, placement=PLACEMENT, settings=SETTINGS):
        ways = {name: MadeWay(clock, *parts) for name, parts in seconds.items()}
        world = World(rank=0, placement=placement)
        cluster = Cluster(world, torch.device("cpu"), MemoryStore())
        return ChosenAllReduce(ways, cluster, settings), ways

    return made


def num_started(ways):
    return sum(len(way.started) for way in ways.values())


def test_a_buffer_goes_the_way_that_was_fastest_for_its_size(make):
    chosen, ways = make(SOON)
    chosen.choose()
    assert chosen.choice == CHOICE
    # Smaller than all tried goes as the smallest, between two as the smaller, beyond as the last.
    for size, name in [
        (400, "flat"),
        (1_023_996, "flat"),
        (1_024_000, "leader"),
        (10**8, "leader"),
    ]:
        chosen.start(torch.zeros(size // 4))
        assert ways[name].started[-1] == size
    assert chosen.to_line() == (
        "all-reduce: from 0.004 MB flat, from 0.064 MB flat, "
        "from 1.024 MB leader, from 8.192 MB leader"
    )
    chosen.close()
    assert all(way.is_closed for way in ways.values())


def test_ways_are_tried_once_and_not_before_they_are_needed(make):
    chosen, ways = make(SOON)
    assert num_started(ways) == 0
    chosen.start(torch.zeros(1))
    # Two ways, four sizes, three times each; the times of all ranks; and the buffer.
    assert num_started(ways) == 24 + 2
    chosen.start(torch.zeros(1))
    chosen.choose()
    assert num_started(ways) == 24 + 3


def test_a_recorded_choice_is_kept_to_though_another_is_faster_now(make):
    before, _ = make(SOON)
    before.choose()
    after, ways = make(LATE)
    after.load_state_dict(before.state_dict())
    after.choose()
    assert num_started(ways) == 0
    assert after.choice == CHOICE
    assert after.to_line() == f"{before.to_line()}, as before the restart"
    after.start(torch.zeros(256_000))
    assert ways["leader"].started == [1_024_000]
    assert after.state_dict() == before.state_dict()


def assert_chooses_anew(make, state, **options):
    chosen, _ = make(LATE, **options)
    chosen.load_state_dict(state)
    chosen.choose()
    assert chosen.choice == OTHER
    assert "restart" not in chosen.to_line()


@pytest.mark.parametrize(
    "change",
    [
        {"placement": (0, 1, 1)},  # as many ranks and nodes
        {"placement": (0, 0, 0)},
        {"placement": (0, 0, 1, 1)},
        {"settings": AllReduceSettings(wire="bfloat16")},
        {"settings": AllReduceSettings(leaders_per_node=1)},
    ],
    ids=str,
)
def test_with_other_ranks_or_settings_it_is_made_anew(make, change):
    before, _ = make(SOON)
    before.choose()
    assert_chooses_anew(make, before.state_dict(), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda"},
        {"choice": CHOICE | {4_000: "hierarchical"}},
        {"choice": CHOICE | {2_000: "flat"}},
        {"choice": {4_000: "flat"}},
        {"choice": {}},
    ],
    ids=str,
)
def test_one_of_other_devices_ways_or_sizes_is_not_used(make, change):
    before, _ = make(SOON)
    before.choose()
    assert_chooses_anew(make, before.state_dict() | change)
