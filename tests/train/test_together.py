"""What ranks do together: here threads of the test, which learn a small layer."""

import threading
import time

import pytest
import torch
from tests.parallel.made_ranks import LIMIT_S, run_ranks, values
from torch import nn

from exastorm.parallel.allreduce.family import AllReduceSettings
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ExchangeError
from exastorm.parallel.fingerprints import fingerprint_of
from exastorm.samples.batch import Batch
from exastorm.train.together import ExchangeSettings, Together

PEACE = ControlSettings(stall_s=100.0, hang_s=200.0, connect_s=LIMIT_S)

FLAT = AllReduceSettings(kind="flat")


def made_network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def together_of(cluster, network, **settings):
    exchange = ExchangeSettings(**{"allreduce": FLAT, **settings})
    return Together(cluster, network, exchange, PEACE, LIMIT_S)


def made_batch(num_samples, weight):
    """Of 2 x 2 points, each of which weighs so much."""
    size = (num_samples, 2, 2)
    label = torch.zeros(size, dtype=torch.int64)
    return Batch(torch.zeros(num_samples, 1, 2, 2), label, torch.full(size, weight))


def learn(together, network, x, read_s=0.0, learn_s=0.0):
    """One step, in the order of the training loop; returns the gradients of the first layer."""
    time.sleep(read_s)
    whole = together.whole_of(made_batch(1, 1.0))

    def part():
        time.sleep(learn_s)
        whole.total_weight()
        loss = (network[0](x)).sum()
        torch.autograd.grad(loss, list(network[0].parameters()))

    if not together.exchange.learn([part], lambda: [torch.tensor(1.0), torch.tensor(1.0)]):
        return None
    return [parameter.grad.clone() for parameter in network[0].parameters()]


def test_ranks_begin_with_the_weights_of_the_first():
    networks = [made_network(seed) for seed in range(3)]
    # Statistics of norms are counted in whole numbers, also those.
    networks[0][1].num_batches_tracked += 7

    def act(cluster):
        with together_of(cluster, networks[cluster.world.rank]):
            pass

    values(run_ranks(act, 3))
    first = made_network(0).state_dict()
    first["1.num_batches_tracked"] += 7
    for network in networks:
        assert all(torch.equal(tensor, first[n]) for n, tensor in network.state_dict().items())


def test_a_batch_knows_the_whole():
    def act(cluster):
        with together_of(cluster, made_network(0)) as together:
            whole = together.whole_of(made_batch(2, 0.5 + cluster.world.rank))
            return whole.total_weight().item(), whole.num_samples

    # 2 samples of 4 points that weigh 0.5, and 2 that weigh 1.5: 8 x 0.5 + 8 x 1.5.
    assert values(run_ranks(act)) == [(16.0, 4)] * 2


@pytest.mark.parametrize("order", ["fixed", "agreed"])
@pytest.mark.parametrize("bucket_mb", [25.0, 1e-6])
def test_gradients_are_the_sum_over_ranks(order, bucket_mb):
    def act(cluster):
        network, rank = made_network(0), cluster.world.rank
        x = torch.tensor([[1.0 + rank, 10.0]])
        with together_of(cluster, network, order=order, bucket_mb=bucket_mb) as together:
            gradients = [learn(together, network, x) for _ in range(5)]
            assert together.exchange.extra.tolist() == [2.0, 2.0]  # loss and weight of both
        return gradients

    # The gradient of the sum of outputs by a weight is its input: 1 + 2 and 10 + 10 for each of the
    # three outputs; by a bias it is 1, on each rank.
    for gradients in values(run_ranks(act)):
        for weight, bias in gradients:
            assert weight.tolist() == [[3.0, 20.0]] * 3
            assert bias.tolist() == [2.0] * 3


def test_with_lag_they_are_those_of_the_step_before():
    def act(cluster):
        network, found = made_network(0), []
        with together_of(cluster, network, lag=1) as together:
            for step in range(3):
                x = torch.full((1, 2), float(step))
                found.append(learn(together, network, x))
                if step == 1:
                    state = together.state_dict()
                    flying = [tensor.clone() for tensor in state["flying"]]
        return found[0], found[1][0], found[2][0], flying[0]

    for none, first, second, flying in values(run_ranks(act)):
        assert none is None
        assert first.abs().sum() == 0  # inputs of 0
        assert second.tolist() == flying.tolist() == [[2.0, 2.0]] * 3  # 1 on each of two ranks


def test_gradients_in_flight_go_on_on_another_number_of_ranks():
    network = made_network(0)
    with together_of(Cluster.alone(), network, lag=1) as together:
        assert learn(together, network, torch.full((1, 2), 5.0)) is None
        state = together.state_dict()
        state["flying"] = [tensor.clone() for tensor in state["flying"]]

    def act(cluster):
        network = made_network(0)
        with together_of(cluster, network, lag=1) as together:
            together.load_state_dict(state)
            return learn(together, network, torch.zeros(1, 2))[0]

    assert [g.tolist() for g in values(run_ranks(act))] == [[[5.0, 5.0]] * 3] * 2


def test_what_one_wants_all_hear_at_the_same_step():
    def act(cluster):
        heard, rank = [], cluster.world.rank
        with together_of(cluster, made_network(0)) as together:
            for step in range(1, 5):
                # Each rank has a clock of its own.
                clock = 0.1 * step + 0.01 * rank
                stop = (step, rank) == (2, 1)
                heard.append(together.agree(step, stop=stop, clock=clock))
        return heard

    # That of the first rank, one step before.
    expected = [(False, None), (False, 0.1), (True, 0.2), (False, 0.1 * 3)]
    assert values(run_ranks(act)) == [expected] * 2


def test_weights_that_drift_apart_are_found_and_named():
    def act(cluster):
        network = made_network(0)
        with together_of(cluster, network, check_interval=4) as together:
            for step in range(1, 10):
                if (step, cluster.world.rank) == (2, 1):
                    with torch.no_grad():
                        # The last bit of one number.
                        bits = network[1].weight.view(torch.int32)
                        bits[1] += 1
                together.agree(step, stop=False, clock=0.0)

    # Step 2 is not looked at, step 4 is, and its outcome is heard at step 5.
    for error in run_ranks(act):
        assert isinstance(error, ExchangeError)
        assert "got others on rank 1 than on rank 0 in 1.weight after step 4" in str(error)


def test_any_bit_changes_the_fingerprint():
    tensors = [torch.zeros(3), torch.tensor(5)]
    before = fingerprint_of(tensors)
    assert before == fingerprint_of([torch.zeros(3), torch.tensor(5)])
    assert len(before) == 2
    assert fingerprint_of([torch.tensor([0.0, -0.0, 0.0]), tensors[1]])[0] != before[0]
    assert fingerprint_of([tensors[0], torch.tensor(5 + 2**40)])[1] != before[1]


def test_weights_that_drift_apart_in_the_last_step_are_found_at_the_end():
    def act(cluster):
        network = made_network(0)
        with together_of(cluster, network, check_interval=4) as together:
            for step in range(1, 5):
                if (step, cluster.world.rank) == (4, 1):
                    with torch.no_grad():
                        network[1].weight.view(torch.int32)[1] += 1
                together.agree(step, stop=False, clock=0.0)

    for error in run_ranks(act):
        assert isinstance(error, ExchangeError)
        assert str(error).endswith("got others on rank 1 than on rank 0 in 1.weight after step 4")


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("slow", ["read_s", "learn_s"])
def test_a_slow_rank_is_named_and_not_those_who_wait_for_it(slow, lag):
    num_steps = 6

    def act(cluster):
        network, rank = made_network(0), cluster.world.rank
        slowness = {slow: 0.5} if rank == 1 else {}
        with together_of(cluster, network, lag=lag) as together:
            for step in range(1, num_steps + 1):
                learn(together, network, torch.ones(1, 2), **slowness)
                together.agree(step, stop=False, clock=0.0)
        return together.stragglers()

    first, second, third = values(run_ranks(act, 3))
    worst = first[0]
    assert worst["rank"] == 1
    assert worst["num_steps"] == num_steps
    # A machine that is busy may hold another rank up for half a second, but not step after step.
    assert worst["num_late"] >= num_steps - 1
    assert worst["most_late_s"] >= worst["mean_late_s"] > 0.25
    assert all(row["num_late"] <= num_steps - 2 for row in first[1:])
    assert second == third == []  # the first rank tells


def test_the_first_rank_knows_what_others_found():
    at_once = threading.Barrier(3)

    def act(cluster):
        rank, seen = cluster.world.rank, []
        found = ["old", f"agreed {rank}"] if rank else []
        with together_of(cluster, made_network(0)) as together:
            together.find = lambda: found
            together.recall(["old"])
            for step in (1, 2):
                together.agree(step, stop=False, clock=0.0)
            # All have heard of step 1, before which all have told.
            seen.append(together.found())
            at_once.wait(LIMIT_S)
            found.append(f"scored {rank}")
            together.sum(torch.zeros(1))
            seen.append(together.found())
            at_once.wait(LIMIT_S)
            found.append(f"at last {rank}")
        num_left = cluster.store.add("totals/1/left", 0)
        return *seen, together.found(), num_left

    first, second, third = values(run_ranks(act, 3))
    agreed = {"old", "agreed 1", "agreed 2"}
    scored = agreed | {"scored 0", "scored 1", "scored 2"}
    at_last = scored | {"at last 0", "at last 1", "at last 2"}
    assert first[:3] == tuple(tuple(sorted(part)) for part in (agreed, scored, at_last))
    # Two ranks told three things each, once; and nothing of what all know from before.
    assert first[3] == 6
    # The others know of their own.
    assert second[2] == ("agreed 1", "at last 1", "old", "scored 1")
    assert third[0] == ("agreed 2", "old")


def test_sums_and_texts_of_all_ranks():
    def act(cluster):
        rank = cluster.world.rank
        with together_of(cluster, made_network(0)) as together:
            count, score = torch.tensor([1, rank]), torch.tensor(0.25)
            together.sum(count, score)
            assert together.is_first == (rank == 0)
            return count.tolist(), score.item(), together.gather([f"sample {rank}"])

    assert values(run_ranks(act)) == [([2, 1], 0.5, ["sample 0", "sample 1"])] * 2


def test_an_error_on_one_rank_ends_the_others():
    def act(cluster):
        with together_of(cluster, made_network(0)) as together:
            if not cluster.world.is_first:
                raise ArithmeticError("too large")
            for step in range(1, 1000):
                together.agree(step, stop=False, clock=0.0)

    first, second = run_ranks(act)
    assert isinstance(second, ArithmeticError)
    assert isinstance(first, ExchangeError)
    assert str(first) == "rank 1 failed: ArithmeticError: too large"


def test_a_rank_alone_pays_for_nothing():
    network = made_network(0)
    with together_of(Cluster.alone(), network) as together:
        assert together.exchange is None
        assert together.state_dict() is None
        together.load_state_dict(None)
        assert together.agree(1, stop=True, clock=0.25) == (True, 0.25)
        assert together.stragglers() == []
        together.find = lambda: ["found"]
        assert together.found() == ("found",)
        assert together.gather(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lag": 2}, "lag must be 0 or 1, got 2"),
        ({"order": "any"}, "order must be fixed or agreed, got 'any'"),
        ({"bucket_mb": 0.0}, "bucket_mb must be positive, got 0.0"),
        ({"check_interval": 0}, "check_interval must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ExchangeSettings(**change)
