"""What nodes tell one another: in one order for all, and with few requests."""

from collections import Counter

import pytest

from exastorm.errors import ExchangeError
from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.staging.claims import Board


class Clock:
    """Time as the test has it."""

    now = 0.0

    def __call__(self):
        return self.now


def counted(name):
    """A request that is counted."""

    def act(self, *words):
        self.counts[name] += 1
        return getattr(MemoryStore, name)(self, *words)

    return act


class CountingStore(MemoryStore):
    """Counts requests."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    add, set, check, get, multi_get = map(counted, ("add", "set", "check", "get", "multi_get"))


def made_boards(num_nodes, store=None, clock=None):
    store, clock = store or MemoryStore(), clock or Clock()
    return [Board(store, "staging/1", node, num_nodes, clock) for node in range(num_nodes)]


def test_all_hear_all_pages_in_one_order():
    boards = made_boards(3)
    boards[2].write({"has": [1]})
    boards[0].write({"has": [2]})
    first = [board.hear(at_once=True) for board in boards]
    assert first == [[{"has": [1], "node": 2}, {"has": [2], "node": 0}]] * 3
    boards[1].write({"has": [3]})
    assert [board.hear(at_once=True) for board in boards] == [[{"has": [3], "node": 1}]] * 3
    assert [board.hear(at_once=True) for board in boards] == [[]] * 3


def test_nobody_waits_for_a_page_that_was_drawn_and_not_written():
    store = MemoryStore()
    boards = made_boards(2, store)
    number = store.add("staging/1/pages", 1)
    boards[1].write({"has": [1]})
    assert [page["has"] for page in boards[0].hear(at_once=True)] == [[1]]
    assert [page["has"] for page in boards[1].hear(at_once=True)] == [[1]]
    store.set(f"staging/1/page/{number}", '{"has":[0],"node":1}')
    assert [page["has"] for page in boards[0].hear(at_once=True)] == [[0]]
    assert [page["has"] for page in boards[1].hear(at_once=True)] == [[0]]


def test_a_claim_is_given_once():
    boards = made_boards(3)
    assert [board.claim("7") for board in boards] == [True, False, False]
    assert boards[2].claim("8")


def test_boards_of_other_places_are_apart():
    store = MemoryStore()
    one, other = Board(store, "staging/1", 0, 1), Board(store, "staging/2", 0, 1)
    one.write({})
    assert other.hear(at_once=True) == []
    assert one.claim("1")
    assert other.claim("1")


def test_requests_are_as_few_as_stated():
    store, num_nodes = CountingStore(), 8
    boards = made_boards(num_nodes, store)
    for board in boards:
        board.write({"has": [1]})
    # Two for each page.
    assert store.counts == {"add": num_nodes, "set": num_nodes}
    store.counts.clear()
    for board in boards:
        board.hear(at_once=True)
    # The first reads the number of pages, whether they are there, and all in one; and publishes.
    # Each looks for a digest, gets it, and looks for the next.
    assert store.counts == {
        "add": 1,
        "multi_get": 1,
        "set": 1,
        "get": num_nodes,
        "check": 1 + 2 * num_nodes,
    }


def test_many_nodes_ask_and_write_less_often():
    clock = Clock()
    few, many = Board(MemoryStore(), "", 1, 4, clock), Board(MemoryStore(), "", 1, 1024, clock)
    # 5,000 questions and 2,000 pages each second by all together.
    assert (many.look_every_s, many.write_every_s) == pytest.approx((0.2048, 0.512))
    assert few.look_every_s == few.write_every_s == 0.05
    few.write({})
    assert not few.may_write
    clock.now = 0.06
    assert few.may_write


def test_looking_too_soon_asks_nothing():
    store, clock = CountingStore(), Clock()
    board = Board(store, "", 1, 2, clock)
    board.hear()
    num_asked = store.counts.total()
    assert board.hear() == []
    assert store.counts.total() == num_asked
    clock.now = 0.06
    board.hear()
    assert store.counts.total() == num_asked + 1


def test_a_store_that_is_gone_is_told_in_one_line():
    class Gone(MemoryStore):
        def add(self, key, value):
            raise RuntimeError("[c10d] Broken pipe\nException raised from ...")

    board = Board(Gone(), "", 0, 1)
    for ask in (lambda: board.claim("1"), lambda: board.write({}), board.hear):
        with pytest.raises(ExchangeError, match=r"failed: Broken pipe$"):
            ask()
