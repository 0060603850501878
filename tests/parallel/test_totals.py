"""Small sums and texts over ranks."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from tests.parallel.made_gpu import needs_gpu, own_group
from tests.parallel.made_ranks import run_ranks, values

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import ExchangeError
from exastorm.parallel.totals import Totals


def test_sums_are_over_all_ranks():
    def act(cluster):
        totals, rank = Totals(cluster), cluster.world.rank
        mine = torch.tensor(1.0 + rank)
        finish = totals.start(mine)
        counts, scores = torch.tensor([10**15 + rank, 1]), torch.tensor([0.5 * rank])
        # While the first is under way, others begin and end on connections of their own.
        totals.sum([counts, scores])
        return finish().item(), finish().item(), mine.item(), counts.tolist(), scores.item()

    for rank, (total, again, mine, counts, score) in enumerate(values(run_ranks(act, 3))):
        assert total == again == 6.0  # 1 + 2 + 3
        assert mine == 1.0 + rank  # what was given is as it was
        assert counts == [3 * 10**15 + 3, 3]  # exact: whole numbers of 64 bits
        assert score == 1.5


def test_several_sums_are_under_way():
    def act(cluster):
        totals = Totals(cluster)
        finishes = [totals.start(torch.tensor(float(n))) for n in range(5)]
        return [finish().item() for finish in reversed(finishes)]

    assert values(run_ranks(act)) == [[8.0, 6.0, 4.0, 2.0, 0.0]] * 2


def test_threads_may_ask_for_a_sum_together():
    def act(cluster):
        finish = Totals(cluster).start(torch.tensor(2.0))
        with ThreadPoolExecutor(4) as threads:
            return [total.item() for total in threads.map(lambda _: finish(), range(4))]

    assert values(run_ranks(act)) == [[4.0] * 4] * 2


def test_all_get_what_the_first_has():
    def act(cluster):
        rank = cluster.world.rank
        tensors = [torch.full((2, 2), rank + 5.0, requires_grad=True), torch.tensor(rank)]
        Totals(cluster).share_from_first(tensors)
        return [tensor.tolist() for tensor in tensors]

    assert values(run_ranks(act, 3)) == [[[[5.0, 5.0], [5.0, 5.0]], 0]] * 3


def test_texts_come_rank_by_rank():
    def act(cluster):
        totals, rank = Totals(cluster), cluster.world.rank
        first = totals.gather([f"{rank}{letter}" for letter in "ab"[:rank]])
        return first, totals.gather([]), totals.gather(["ü\n"])

    # Rank 0 has no text, rank 1 has one, rank 2 two.
    assert values(run_ranks(act, 3)) == [(["1a", "2a", "2b"], [], ["ü\n"] * 3)] * 3


def test_texts_may_be_left_for_the_first():
    def act(cluster):
        totals, rank = Totals(cluster), cluster.world.rank
        heard = [totals.left()] if rank == 0 else []  # waits for nobody
        totals.sum([torch.zeros(1)])
        for number in range(rank):
            totals.leave(f"{rank}{number}")
        totals.sum([torch.zeros(1)])
        heard += [totals.left(), totals.left()] if rank == 0 else []
        totals.sum([torch.zeros(1)])
        if rank == 1:
            totals.leave("late")
        totals.sum([torch.zeros(1)])
        return [*heard, totals.left()] if rank == 0 else None

    before, then, again, last = values(run_ranks(act, 3))[0]
    assert (before, sorted(then), again, last) == ([], ["10", "20", "21"], [], ["late"])


@pytest.mark.parametrize("way", ["start", "sum"])
def test_time_waited_is_counted_on_those_who_wait(way):
    about_to_wait = threading.Event()

    def act(cluster):
        totals = Totals(cluster)
        if cluster.world.is_first:
            about_to_wait.set()
        else:
            assert about_to_wait.wait(60)
            time.sleep(0.5)
        if way == "sum":
            totals.sum([torch.zeros(1)])
        else:
            finish = totals.start(torch.tensor(1.0))
            finish()
            waited_s = totals.waited_s
            finish()
            assert totals.waited_s == waited_s  # it is there already
        return totals.waited_s

    first_s, second_s = values(run_ranks(act))
    # The first waits while the second sleeps; half of that is left for a busy machine.
    assert first_s > 0.25
    assert second_s < first_s


def test_a_rank_that_does_not_come_is_told_in_one_line():
    def act(cluster):
        totals = Totals(cluster)
        if cluster.world.is_first:
            return None
        errors = []
        for exchange in (lambda: totals.sum([torch.zeros(1)]), totals.start(torch.tensor(1.0))):
            with pytest.raises(ExchangeError, match="exchange with other ranks failed: ") as caught:
                exchange()
            errors.append(str(caught.value))
        return errors

    _, errors = values(run_ranks(act, limit_s=1.0))
    assert not any("\n" in line for line in errors)


def test_a_rank_alone_has_the_same_verbs():
    totals, tensor = Totals(Cluster.alone()), torch.tensor([3.0])
    assert totals.start(tensor)() is tensor
    totals.sum([tensor])
    totals.share_from_first([tensor])
    assert tensor.item() == 3.0
    assert totals.gather(["a", "b"]) == ["a", "b"]
    totals.leave("c")
    assert (totals.left(), totals.left()) == (["c"], [])
    assert totals.waited_s == 0.0
    assert not dist.is_initialized()


@needs_gpu
def test_zeros_of_a_rank_that_counted_nothing_may_be_elsewhere():
    with own_group() as cluster:
        totals = Totals(cluster)
        tensors = [torch.tensor([3.0]), torch.tensor([4.0], device=cluster.device)]
        totals.sum(tensors)
        finish = totals.start(tensors[1])
        assert finish().item() == 4.0
        assert [t.item() for t in tensors] == [3.0, 4.0]
        assert [t.device.type for t in tensors] == ["cpu", "cuda"]
