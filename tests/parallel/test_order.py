"""In which order sums start: fixed, or as ranks agree that fill buckets in orders of their own."""

import random
import threading
from contextlib import suppress

import pytest
from tests.parallel.made_ranks import LIMIT_S, run_ranks, values

from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ControlError
from exastorm.parallel.order import AgreedOrder, FixedOrder
from exastorm.parallel.watch import Watch

NUM_BUCKETS = 4

PEACE = ControlSettings(stall_s=100.0, hang_s=200.0, connect_s=LIMIT_S, batch_s=0.0)


def test_fixed_goes_from_the_first_to_the_last():
    started = []
    order = FixedOrder(NUM_BUCKETS, lambda step, bucket: started.append((step, bucket)))
    seen = []
    for bucket in (2, 0, 3, 1):
        order.submit(0, bucket)
        seen.append(len(started))
    # 2 waits for 0 and 1; 0 goes at once; 3 waits; with 1 all go.
    assert seen == [0, 1, 1, 4]
    for bucket in (3, 2, 1, 0):
        order.submit(1, bucket)
    order.close()
    assert started == [(step, bucket) for step in (0, 1) for bucket in range(NUM_BUCKETS)]


class Rank:
    """What a rank starts, under an agreed order, and how many have been started on all."""

    def __init__(self, watch):
        self.started, self.errors = [], []
        self._change = threading.Condition()
        self.order = AgreedOrder(watch.control, self._start, self.errors.append)

    def _start(self, step, bucket):
        with self._change:
            self.started.append((step, bucket))
            self._change.notify_all()

    def wait_for(self, count):
        with self._change:
            assert self._change.wait_for(lambda: len(self.started) >= count, LIMIT_S)


def test_ranks_of_different_orders_agree_on_one():
    # Shuffled anew in each step, so that no order is ever cached.
    def act(cluster):
        chance = random.Random(cluster.world.rank)
        with Watch(cluster, PEACE, NUM_BUCKETS) as watch:
            rank = Rank(watch)
            for step in range(8):
                for bucket in chance.sample(range(NUM_BUCKETS), NUM_BUCKETS):
                    rank.order.submit(step, bucket)
                rank.wait_for(NUM_BUCKETS * (step + 1))
            rank.order.close()
        return rank.started

    first, *others = values(run_ranks(act, 3))
    assert others == [first, first]
    for step in range(8):
        part = first[NUM_BUCKETS * step : NUM_BUCKETS * (step + 1)]
        assert sorted(part) == [(step, bucket) for bucket in range(NUM_BUCKETS)]


def test_a_bucket_waits_until_all_ranks_have_it():
    first_has_all, seen = threading.Event(), {}

    def act(cluster):
        with Watch(cluster, PEACE, NUM_BUCKETS) as watch:
            rank = Rank(watch)
            if cluster.world.is_first:
                for bucket in range(NUM_BUCKETS):
                    rank.order.submit(0, bucket)
                first_has_all.set()
            else:
                assert first_has_all.wait(LIMIT_S)
                rank.order.submit(0, 2)
                rank.wait_for(1)
                seen["after one"] = list(rank.started)
                for bucket in (3, 1, 0):
                    rank.order.submit(0, bucket)
            rank.wait_for(NUM_BUCKETS)
            rank.order.close()
        return rank.started

    first, second = values(run_ranks(act))
    # Rank 0 had all, rank 1 only number 2.
    assert seen["after one"] == [(0, 2)]
    assert first == second
    assert sorted(first) == [(0, bucket) for bucket in range(NUM_BUCKETS)]


def test_an_order_that_is_kept_is_not_asked_for_any_more():
    settings = ControlSettings(
        stall_s=100.0, hang_s=200.0, connect_s=LIMIT_S, batch_s=0.0, confirm_steps=1
    )
    num_steps = 12

    def act(cluster):
        sent = []
        with Watch(cluster, settings, NUM_BUCKETS) as watch:
            rank = Rank(watch)
            for step in range(num_steps):
                before = watch.control.traffic()[0]
                for bucket in (1, 0, 3, 2):
                    rank.order.submit(step, bucket)
                rank.wait_for(NUM_BUCKETS * (step + 1))
                watch.agree(step, 0)
                sent.append(watch.control.traffic()[0] - before)
            rank.order.close()
        return rank.started, sent

    (first, _), (second, sent) = values(run_ranks(act))
    assert first == second
    # The last steps go as both ranks went, not as numbered.
    assert first[-NUM_BUCKETS:] == [(num_steps - 1, bucket) for bucket in (1, 0, 3, 2)]
    # Then rank 1 says that all went as cached, and votes: two packets at most, where it was five.
    assert max(sent[-3:]) <= 2


def test_why_no_more_sums_start_is_told():
    def act(cluster):
        with suppress(OSError), Watch(cluster, PEACE, NUM_BUCKETS) as watch:
            rank = Rank(watch)
            rank.order.submit(0, 0)
            if not cluster.world.is_first:
                raise OSError("no space left")
            rank.order.close()  # returns, since its thread has ended with the error
        return rank.errors

    first, _ = values(run_ranks(act))
    (error,) = first
    assert isinstance(error, ControlError)
    assert str(error) == "rank 1 failed: OSError: no space left"


@pytest.mark.parametrize("num_steps", [0, 3])
def test_a_rank_alone_needs_nobody(num_steps):
    def act(cluster):
        with Watch(cluster, PEACE, NUM_BUCKETS) as watch:
            rank = Rank(watch)
            for step in range(num_steps):
                for bucket in (2, 0, 1, 3):
                    rank.order.submit(step, bucket)
            rank.wait_for(NUM_BUCKETS * num_steps)
            rank.order.close()
        return rank.started

    (started,) = values(run_ranks(act, 1))
    assert len(started) == NUM_BUCKETS * num_steps
