import pytest

from exastorm.parallel.control.messages import AllDone, Done, Failure, Ready, Release
from exastorm.parallel.control.seat import Seat
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.tree import Tree


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seat(clock):
    """Rank 1 of seven in a tree of radix 2: below 0, above 2 and 3."""
    return Seat(1, Tree(num_ranks=7, radix=2), ControlSettings(radix=2, batch_s=1.0), clock)


def test_neighbors(seat):
    assert (seat.parent, seat.children, seat.is_root) == (0, (2, 3), False)


def test_what_is_said_to_a_neighbor_keeps_its_order(seat):
    # The protocol counts on it: step 4 is over before step 5 is.
    seat.queue_ready(3, 1, True)
    seat.queue_ready(3, 2, False)
    seat.send_up(Done(4))
    seat.queue_ready(5, 0, True)
    seat.queue_released(3, 7, True)
    seat.send_down(AllDone(4))
    seat.queue_released(5, 8, False)
    mail = seat.take()
    assert mail[0] == [Ready(3, (1, 2), False), Done(4), Ready(5, (0,), True)]
    assert mail[2] == mail[3] == [Release(3, (7,), True), AllDone(4), Release(5, (8,), False)]
    assert seat.take() == {}


def test_ready_waits_for_its_time_unless_something_else_leaves(seat, clock):
    seat.queue_ready(0, 0, True)
    assert seat.take() == {0: [Ready(0, (0,), True)]}
    seat.queue_ready(0, 1, True)
    assert seat.take() == {}
    assert seat.ready_due() == 1.0  # batch_s after the one before
    clock.now = 1.0
    seat.queue_ready(0, 2, True)
    assert seat.take() == {0: [Ready(0, (1, 2), True)]}
    assert seat.ready_due() is None
    seat.queue_ready(0, 3, True)
    seat.send_up(Done(7))
    assert seat.take() == {0: [Ready(0, (3,), True), Done(7)]}


def test_a_failure_is_the_last_that_is_said(seat):
    seat.queue_ready(0, 0, True)
    seat.send_down(AllDone(4))
    seat.fail("rank 9 died", (9,), heard_from=2)
    seat.fail("another", (8,))
    failure = Failure("rank 9 died", (9,))
    assert seat.take() == {0: [failure], 3: [failure]}
    assert seat.failure == failure
