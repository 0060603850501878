"""What a node reads next, of its own and of others."""

import pytest

from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.staging import duties
from exastorm.parallel.staging.claims import Board
from exastorm.parallel.staging.duties import Duties
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.owners import plan_staging
from exastorm.parallel.staging.view import View

FILES = tuple(StagedFile(str(place), 100) for place in range(9))


class Clock:
    """Time as the test has it."""

    now = 0.0

    def __call__(self):
        return self.now


class Node:
    """A node of three that all keep all files."""

    plan = plan_staging(FILES, 3)

    def __init__(self, node, store, clock):
        self.board = Board(store, "staging", node, 3, clock)
        self.view = View(FILES, self.plan, clock)
        self.needed = set(range(9))
        self.own = self.plan.read_by(node).tolist()
        self.duties = Duties(FILES, node, 30.0, self.board, self.view, self.needed)

    def begin(self, num_files):
        """Read so many of its own."""
        self.duties.take_on(self.own)
        return list(self.duties.own(num_files))

    def hear(self, **words):
        """Hear a page."""
        return self.view.take([words])


def made_nodes():
    store, clock = MemoryStore(), Clock()
    return [Node(node, store, clock) for node in range(3)], clock


def test_own_files_are_begun_in_order_and_as_many_as_asked_for():
    (first, *_), _ = made_nodes()
    assert first.begin(2) == first.own[:2]
    assert not first.duties.is_over
    assert list(first.duties.own(2)) == first.own[2:]
    assert first.duties.is_over


def test_what_others_have_or_nobody_needs_is_not_read():
    (first, *_), _ = made_nodes()
    assert first.hear(node=1, has=[[first.own[0], 0, 100]]) == [first.own[0]]
    first.needed.discard(first.own[1])
    assert first.begin(9) == first.own[2:]


def test_the_end_of_who_has_most_left_is_stolen_and_not_read_twice():
    (first, second, third), _ = made_nodes()
    second.begin(1)
    first.begin(9)
    first.hear(node=1, has=[[second.own[0], 0, 100]])
    # Node 1 has two left to begin, node 2 three.
    stolen = list(first.duties.stolen(set()))
    assert stolen == third.own[1:]
    assert third.begin(9) == third.own[:1]


def test_nothing_is_stolen_before_the_own_part_is_begun():
    (first, *_), _ = made_nodes()
    first.begin(1)
    assert list(first.duties.stolen(set())) == []


def test_looking_takes_a_small_part_of_the_time(monkeypatch):
    (first, *_), clock = made_nodes()
    first.begin(9)
    num_looks = []

    def look(under_way):
        num_looks.append(1)
        clock.now += 0.1  # As it takes among 63,000 files.
        return []

    monkeypatch.setattr(duties.time, "monotonic", clock)
    monkeypatch.setattr(first.duties, "_worth_stealing", look)
    while clock.now < 20.0:
        assert list(first.duties.stolen(set())) == []
        clock.now += 0.01
    assert len(num_looks) == pytest.approx(20.0 * duties.LOOKING_SHARE / 0.1, abs=2)


def test_what_stays_begun_is_claimed_again_by_one():
    nodes, clock = made_nodes()
    first, second, third = nodes
    for node in nodes:
        node.begin(9)
        have = first.own + third.own
        node.hear(node=0, has=[[file, 0, 100] for file in have])

    def thieves():
        for node in (first, third):
            node.duties._stole_at = float("-inf")
        return [list(node.duties.stolen(set())) for node in (first, third)]

    # First each finds that node 1 has begun all; two at a time.
    assert thieves() == thieves() == [[], []]
    clock.now = 20.0
    for node in (first, third):
        node.hear(node=1, read=50)
    clock.now = 49.0
    # It read something 29 s ago.
    assert thieves() == [[], []]
    clock.now = 51.0
    assert thieves() == [[second.own[0]], []]
    # Nobody else reads it as long as who took it may.
    assert third.view.is_stuck(second.own[0], 30.0) is False
