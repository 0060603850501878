"""Gradients in buckets, at once and a step late, beside a plain loop; here on one rank.

Sums over more ranks are in test_allreduce.py; what is tested here is which gradients are summed,
when, and where they end up.
"""

import pytest
import torch
from torch import nn

from exastorm.parallel.allreduce.family import AllReduce, Pending
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.gradients import GradientExchange


class Twins(AllReduce):
    """The sum over two ranks that have the same gradients: twice the own."""

    def __init__(self):
        self.sizes = []

    def start(self, buffer):
        self.sizes.append(len(buffer))
        buffer.mul_(2.0)
        return Pending(Failure(), 0)

    def close(self):
        pass


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))


def gradients_of(network, x):
    parameters = list(network.parameters())
    return torch.autograd.grad(network(x).square().sum(), parameters)


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 4, generator=generator) for _ in range(count)]


def plain_loop(steps, lag):
    """Weights after SGD on twice the gradients, of the step itself or of the one before."""
    network = make_network()
    parameters = list(network.parameters())
    before = None
    for x in batches(steps):
        found = gradients_of(network, x)
        used = before if lag else found
        before = found
        if used is not None:
            with torch.no_grad():
                for parameter, gradient in zip(parameters, used, strict=True):
                    parameter -= 0.01 * 2.0 * gradient
    return parameters


def exchange_loop(steps, lag, bucket_mb=25.0, num_parts=1, stop_at=None):
    network = make_network()
    parameters = list(network.parameters())
    exchange = GradientExchange(parameters, Twins(), lag=lag, bucket_mb=bucket_mb)
    for number, x in enumerate(batches(steps)):
        if number == stop_at:
            state = exchange.state_dict()
            state = {"step": state["step"], "flying": [b.clone() for b in state["flying"]]}
            exchange.close()
            exchange = GradientExchange(parameters, Twins(), lag=lag, bucket_mb=bucket_mb)
            exchange.load_state_dict(state)
        parts = [lambda part=part: gradients_of(network, part) for part in x.chunk(num_parts)]
        if exchange.learn(parts):
            with torch.no_grad():
                for parameter in parameters:
                    parameter -= 0.01 * parameter.grad
    exchange.close()
    return parameters


def assert_same(ours, theirs, **tolerance):
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **tolerance)


@pytest.mark.parametrize("lag", [0, 1])
# 8 x 4 + 8 + 3 x 8 = 64 weights are 256 bytes: in one bucket, or in several.
@pytest.mark.parametrize("bucket_mb", [25.0, 1e-4, 1e-9])
def test_weights_are_those_of_a_plain_loop(lag, bucket_mb):
    assert_same(exchange_loop(5, lag, bucket_mb), plain_loop(5, lag), rtol=0, atol=0)


def test_lag_changes_the_course():
    assert not torch.equal(exchange_loop(5, 1)[0], exchange_loop(5, 0)[0])


@pytest.mark.parametrize("lag", [0, 1])
def test_parts_of_a_batch_add_up(lag):
    # The same sums in another order: equal but for rounding.
    assert_same(exchange_loop(5, lag, num_parts=3), plain_loop(5, lag), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("stop_at", [0, 1, 3])
def test_gradients_in_flight_are_part_of_the_state(lag, stop_at):
    resumed = exchange_loop(5, lag, stop_at=stop_at)
    assert_same(resumed, exchange_loop(5, lag), rtol=0, atol=0)


def test_first_step_with_lag_has_no_gradients():
    network = make_network()
    exchange = GradientExchange(list(network.parameters()), Twins(), lag=1)
    (x,) = batches(1)
    assert not exchange.learn([lambda: gradients_of(network, x)])
    assert exchange.learn([lambda: gradients_of(network, x)])


def test_buckets_run_from_the_last_parameter_and_are_full():
    network = make_network()
    twins = Twins()
    # 24 numbers of the last layer are 96 bytes, the bias 32 and the first layer 128: a bucket is
    # closed at 96 bytes or more.
    exchange = GradientExchange(list(network.parameters()), twins, bucket_mb=96e-6)
    assert (exchange.num_buckets, exchange.num_bytes) == (2, 256)
    exchange.learn([lambda: gradients_of(network, batches(1)[0])])
    assert twins.sizes == [24, 40]


def test_parameters_that_were_not_used_have_zeros():
    network = make_network()
    parameters = list(network.parameters())
    exchange = GradientExchange(parameters, Twins(), bucket_mb=1e-9)
    x = batches(1)[0]
    exchange.learn([lambda: gradients_of(network, x)])
    assert parameters[0].grad.abs().sum() > 0
    exchange.learn([lambda: torch.autograd.grad(network[2](torch.ones(8)).sum(), [parameters[2]])])
    assert parameters[0].grad.abs().sum() == 0
    # The sum of three outputs of ones: each weight's gradient is 1, twice.
    assert torch.equal(parameters[2].grad, torch.full((3, 8), 2.0))


@pytest.mark.parametrize("lag", [0, 1])
def test_gradients_that_are_there_already_go_the_same_way(lag):
    network = make_network()
    parameters = list(network.parameters())
    exchange = GradientExchange(parameters, Twins(), lag=lag)
    for x in batches(5):
        if exchange.exchange(gradients_of(network, x)):
            with torch.no_grad():
                for parameter in parameters:
                    parameter -= 0.01 * parameter.grad
    assert_same(parameters, plain_loop(5, lag), rtol=0, atol=0)


@pytest.mark.parametrize("lag", [0, 1])
def test_extra_numbers_are_summed_with_the_gradients_of_their_step(lag):
    network = make_network()
    exchange = GradientExchange(list(network.parameters()), Twins(), lag=lag, num_extra=2)
    seen = []
    for step, x in enumerate(batches(3)):
        extra = [torch.tensor(float(step)), torch.tensor(10.0)]
        if exchange.learn([lambda x=x: gradients_of(network, x)], lambda extra=extra: extra):
            seen.append(exchange.extra.tolist())
    # Twice each, a step late with lag 1, which so never hands out the last.
    assert seen == [[0.0, 20.0], [2.0, 20.0], [4.0, 20.0]][: 3 - lag]


def test_gradients_are_divided_as_they_come():
    network = make_network()
    parameters = list(network.parameters())
    exchange = GradientExchange(parameters, Twins())
    (x,) = batches(1)
    exchange.divisor = torch.tensor(8.0)
    exchange.learn([lambda part=part: gradients_of(network, part) for part in x.chunk(2)])
    quarters = [0.25 * gradient for gradient in gradients_of(network, x)]
    # Twice an eighth; the parts are the same numbers added in another order.
    assert_same([p.grad for p in parameters], quarters, rtol=1e-5, atol=1e-6)


def test_gradients_outside_of_a_step_change_nothing():
    network = make_network()
    twins = Twins()
    exchange = GradientExchange(list(network.parameters()), twins)
    gradients_of(network, batches(1)[0])
    assert twins.sizes == []
    exchange.learn([lambda: gradients_of(network, batches(1)[0])])
    assert twins.sizes == [64]


def test_a_gradient_lies_in_memory_as_its_weight():
    network = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    exchange = GradientExchange(list(network.parameters()), Twins())
    x = torch.randn(1, 4, 6, 6)
    exchange.learn([lambda: gradients_of(network, x)])
    assert network.weight.grad.stride() == network.weight.stride()
    (expected, _) = gradients_of(network, x)
    torch.testing.assert_close(network.weight.grad, 2.0 * expected)
