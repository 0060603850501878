"""The guarded step: what is not finite touches nothing, and scaling and clipping are undone."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from exastorm.train.ema import WeightAverage
from exastorm.train.guard import Stepper
from exastorm.train.optimizer import OptimizerSettings, build_optimizer
from exastorm.train.precision import LossScaler

CPU = torch.device("cpu")
COMBINATIONS = [(n, m) for n in ("adam", "adamw", "sgd", "lamb") for m in ("none", "clip", "scale")]


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def make_stepper(network, *, precision="float32", branch=None, **options):
    settings = OptimizerSettings(**options)
    return Stepper(
        build_optimizer(network, settings),
        settings,
        LossScaler(precision, CPU),
        buffers=network.buffers(),
        branch=branch,
    )


def learn(network, stepper, step, *, loss_factor=1.0):
    """Gradients of a made-up loss, as the loop has them; returns the loss."""
    generator = torch.Generator().manual_seed(step)
    loss = loss_factor * network(torch.randn(2, 2, 6, 6, generator=generator)).square().mean()
    weights = list(network.parameters())
    gradients = torch.autograd.grad(stepper.scale(loss), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    return loss.detach()


def everything(network, stepper):
    """All that a step changes, but counts."""
    tensors = list(copy.deepcopy(network.state_dict()).values())
    for state in stepper.optimizer.state.values():
        tensors += [value.clone() for value in state.values()]
    return tensors


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("branch", [True, False])
@pytest.mark.parametrize("bad_value", [math.nan, math.inf])
@pytest.mark.parametrize(("name", "larc"), COMBINATIONS)
def test_a_bad_step_touches_nothing(name, larc, bad_value, branch):
    network = make_network()
    stepper = make_stepper(network, name=name, larc=larc, weight_decay=0.1, branch=branch)
    average = WeightAverage(network, 0.9)
    stepper.step(learn(network, stepper, 0), 0)
    average.update(stepper.skipped)
    before = everything(network, stepper), copy.deepcopy(average.state_dict())

    loss = learn(network, stepper, 1)
    network[0].weight.grad[0, 0, 0, 0] = bad_value
    stepper.step(loss, 1)
    average.update(stepper.skipped)
    assert bool(stepper.skipped)
    assert equal(everything(network, stepper), before[0])
    after = average.state_dict()
    assert after["num_updates"] == before[1]["num_updates"]
    assert equal(list(after["average"].values()), list(before[1]["average"].values()))

    stepper.step(learn(network, stepper, 2), 2)
    assert not bool(stepper.skipped)
    assert not equal(everything(network, stepper), before[0])
    assert all(torch.isfinite(tensor).all() for tensor in everything(network, stepper))


@pytest.mark.parametrize(("name", "larc"), COMBINATIONS)
def test_a_first_step_that_is_bad_leaves_no_trace(name, larc):
    # On the device the kernels run with moments that were just made.
    results = []
    for begins_badly in (False, True):
        network = make_network()
        stepper = make_stepper(network, name=name, larc=larc, branch=False)
        if begins_badly:
            learn(network, stepper, 0)
            stepper.step(torch.tensor(math.nan), 0)
        stepper.step(learn(network, stepper, 1), 1)
        results.append(everything(network, stepper))
    assert equal(*results)


class RefuseWaiting(TorchDispatchMode):
    """Fails where a value on the device is brought to the host."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(function), "the host waits for the device"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "larc"), COMBINATIONS)
def test_no_step_waits_for_the_device(name, larc):
    network = make_network()
    stepper = make_stepper(
        network,
        name=name,
        larc=larc,
        clip_norm=0.1,
        weight_decay=0.1,
        precision="float16",
        branch=False,
    )
    average = WeightAverage(network, 0.9)
    for step in range(2):
        loss = learn(network, stepper, step)
        with RefuseWaiting():
            stepper.set_rate(0.5)
            stepper.step(loss, step)
            average.update(stepper.skipped)
    with pytest.raises(AssertionError, match="the host waits"), RefuseWaiting():
        bool(stepper.skipped)


@pytest.mark.parametrize(("name", "larc"), COMBINATIONS)
def test_both_ways_to_skip_agree(name, larc):
    results = []
    for branch in (True, False):
        network = make_network()
        stepper = make_stepper(network, name=name, larc=larc, weight_decay=0.1, branch=branch)
        for step in range(4):
            loss = learn(network, stepper, step)
            stepper.step(loss if step != 2 else torch.tensor(math.inf), step)
        results.append([*everything(network, stepper), torch.tensor(stepper.check().num_total)])
    assert equal(*results)


def test_bad_steps_are_counted():
    network = make_network()
    stepper = make_stepper(network)
    found = []
    for step, bad in enumerate((False, True, True, False, True)):
        loss = learn(network, stepper, step)
        stepper.step(torch.tensor(math.nan) if bad else loss, step)
        counts = stepper.check()
        found.append((counts.num_total, counts.num_in_a_row, counts.last_step))
    # The longest row is that of steps 1 and 2, also when it is over.
    assert found == [(0, 0, -1), (1, 1, 1), (2, 2, 2), (2, 2, 2), (3, 2, 2)]
    assert counts.num_overflows == 0


def test_a_batch_without_weight_changes_nothing_and_is_not_bad():
    network = make_network()
    stepper = make_stepper(network)
    stepper.step(learn(network, stepper, 0), 0)
    before = everything(network, stepper)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    # Momentum alone would move the weights.
    stepper.step(torch.tensor(0.0), 1, torch.tensor(True))
    assert equal(everything(network, stepper)[:3], before[:3])
    assert stepper.check().num_total == 0


def test_the_scale_of_another_precision_is_left_alone():
    for old, new, expected in (
        ("float16", "float32", 1.0),
        ("float32", "float16", 2.0**16),
        ("float16", "float16", 2.0**15),
    ):
        before, after = make_stepper(make_network(), precision=old), None
        if old == "float16":
            before.scaler.factor.fill_(2.0**15)
        after = make_stepper(make_network(), precision=new)
        after.load_state_dict(before.state_dict())
        assert float(after.scaler.factor) == expected


def test_an_overflow_of_the_scale_is_not_a_bad_step():
    network = make_network()
    stepper = make_stepper(network, precision="float16")
    before = everything(network, stepper)
    loss = learn(network, stepper, 0)
    network[0].weight.grad.fill_(math.inf)
    stepper.step(loss, 0)
    counts = stepper.check()
    assert equal(everything(network, stepper)[:3], before[:3])
    assert (counts.num_total, counts.num_in_a_row, counts.num_overflows) == (0, 0, 1)
    assert float(stepper.scaler.factor) == 2.0**15


def test_a_bad_loss_is_not_blamed_on_the_scale():
    network = make_network()
    stepper = make_stepper(network, precision="float16")
    learn(network, stepper, 0)
    stepper.step(torch.tensor(math.nan), 0)
    assert stepper.check().num_total == 1
    assert float(stepper.scaler.factor) == 2.0**16


def test_gradients_that_overflow_at_a_scale_of_one_are_bad():
    network = make_network()
    stepper = make_stepper(network, precision="float16")
    stepper.scaler.factor.fill_(1.0)
    loss = learn(network, stepper, 0)
    network[0].weight.grad.fill_(math.inf)
    stepper.step(loss, 0)
    assert stepper.check().num_total == 1


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize(("name", "larc"), COMBINATIONS)
def test_the_loss_scale_cancels(name, larc, clip_norm):
    # Scales are powers of two, so all but the clipping is exact.
    results = []
    for precision in ("float32", "float16"):
        network = make_network()
        stepper = make_stepper(
            network, precision=precision, name=name, larc=larc, clip_norm=clip_norm
        )
        for step in range(3):
            stepper.step(learn(network, stepper, step), step)
        results.append([weight.detach().clone() for weight in network.parameters()])
    for weight, other in zip(*results, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_together():
    weights = [nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))]
    settings = OptimizerSettings(name="sgd", momentum=0.0, learning_rate=1.0, clip_norm=1.0)
    stepper = Stepper(build_optimizer(weights, settings), settings)
    weights[0].grad, weights[1].grad = torch.full((1, 1), 3.0), torch.full((1, 1), 4.0)
    stepper.step(torch.tensor(0.0), 0)
    # The norm is 5: steps 3/5 and 4/5.
    assert [weight.item() for weight in weights] == pytest.approx([-0.6, -0.8], rel=1e-5)
    weights[0].grad, weights[1].grad = torch.full((1, 1), 0.3), torch.full((1, 1), 0.4)
    stepper.step(torch.tensor(0.0), 1)
    # The norm is 0.5: as they are.
    assert [weight.item() for weight in weights] == pytest.approx([-0.9, -1.2], rel=1e-5)


def test_gradients_whose_squares_are_not_finite_are_bad():
    # Adam's second moment of them would be infinite, and these weights would never move again.
    weight = nn.Parameter(torch.zeros(2, 8))
    settings = OptimizerSettings(learning_rate=0.5)
    stepper = Stepper(build_optimizer([weight], settings), settings)
    weight.grad = torch.full((2, 8), -1e30)
    stepper.step(torch.tensor(0.0), 0)
    assert stepper.check().num_total == 1
    # 16 squares of 1e18 add up to 1.6e37, less than float32's largest, 3.4e38.
    weight.grad = torch.full((2, 8), -1e18)
    stepper.step(torch.tensor(0.0), 1)
    assert stepper.check().num_total == 1


def test_gradients_laid_out_otherwise_step_as_they_should():
    # torch's fused kernels on a CPU would pair wrong elements.
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = make_network()
        stepper = make_stepper(network)
        loss = learn(network, stepper, 0)
        weight = network[0].weight
        weight.grad = weight.grad.contiguous(memory_format=layout)
        stepper.step(loss, 0)
        results.append(weight.detach().clone())
    assert torch.equal(*results)


def test_statistics_of_batch_norm_survive_a_bad_sample():
    network = make_network()
    stepper = make_stepper(network)
    stepper.step(learn(network, stepper, 0), 0)
    good = network[1].running_mean.clone()
    network(torch.full((1, 2, 6, 6), math.nan))
    assert torch.isnan(network[1].running_mean).all()
    stepper.step(torch.tensor(math.nan), 1)
    assert torch.equal(network[1].running_mean, good)


def test_statistics_of_batch_norm_survive_a_bad_sample_with_lag():
    # The sample that was seen last is bad; the gradients are those of a good one before it.
    network = make_network()
    stepper = make_stepper(network)
    stepper.step(learn(network, stepper, 0), 0)
    statistics, weight = network[1].running_mean.clone(), network[0].weight.detach().clone()
    loss = learn(network, stepper, 1)
    network[1].running_mean.copy_(statistics)
    network(torch.full((1, 2, 6, 6), math.nan))
    stepper.step(loss, 0)
    assert torch.equal(network[1].running_mean, statistics)
    assert not torch.equal(network[0].weight, weight)
    assert stepper.check().num_total == 0


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_going_on_from_a_saved_state_is_exact(precision):
    network = make_network()
    stepper = make_stepper(network, precision=precision)
    for step in range(3):
        loss = learn(network, stepper, step)
        stepper.step(loss if step != 1 else torch.tensor(math.nan), step)
    resumed = make_network()
    resumed.load_state_dict(network.state_dict())
    other = make_stepper(resumed, precision=precision)
    other.load_state_dict(copy.deepcopy(stepper.state_dict()))
    assert other.check() == stepper.check()
    for step in range(3, 6):
        for each, its_stepper in ((network, stepper), (resumed, other)):
            loss = learn(each, its_stepper, step)
            its_stepper.step(loss if step != 4 else torch.tensor(math.nan), step)
    assert equal(everything(network, stepper), everything(resumed, other))
    assert other.check() == stepper.check()


def test_the_rate_is_a_share_of_the_largest():
    stepper = make_stepper(make_network(), learning_rate=0.4)
    stepper.set_rate(0.5)
    assert stepper.rate == pytest.approx(0.2)


def test_parameters_without_gradient_are_left_alone():
    network = make_network()
    stepper = make_stepper(network, name="lamb")
    loss = learn(network, stepper, 0)
    network[2].weight.grad = None
    before = network[2].weight.detach().clone()
    stepper.step(loss, 0)
    assert torch.equal(network[2].weight, before)
