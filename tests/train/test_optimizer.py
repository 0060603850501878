"""Every optimizer against torch's or its published formula, and a state that goes on exactly."""

import itertools

import pytest
import torch
from torch import nn

from exastorm.train.guard import Stepper
from exastorm.train.optimizer import OptimizerSettings, build_optimizer, set_rate

NAMES = ("adam", "adamw", "sgd", "lamb")
LARCS = ("none", "clip", "scale")


def make_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 3, 1))


def learn(network, step, factor=1.0):
    """Set the gradients of a made-up loss."""
    generator = torch.Generator().manual_seed(step)
    fields = torch.randn(2, 2, 6, 6, generator=generator)
    loss = factor * network(fields).square().mean()
    for weight, gradient in zip(
        network.parameters(), torch.autograd.grad(loss, list(network.parameters())), strict=True
    ):
        weight.grad = gradient
    return loss.detach()


def take_steps(network, stepper, steps):
    for step in steps:
        stepper.set_rate(1.0 / (1 + step))
        stepper.step(learn(network, step), step)


def weights_of(network):
    return [weight.detach().clone() for weight in network.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=2e-3, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=2e-3, momentum=0.9, weight_decay=0.1)),
    ],
)
def test_steps_are_those_of_torch(name, reference):
    # Only the layers: biases and norms decay in torch's.
    network, twin = make_network(), make_network()
    layers = [weight for weight in network.parameters() if weight.dim() > 1]
    optimizer = build_optimizer(layers, OptimizerSettings(name=name, weight_decay=0.1))
    expected = reference([weight for weight in twin.parameters() if weight.dim() > 1])
    for step in range(5):
        learn(network, step)
        learn(twin, step)
        optimizer.step()
        expected.step()
    for weight, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_clip_that_never_binds_is_the_inner_optimizer(name):
    # The directions come from torch's kernels on zeros; so weight decay and momentum must match.
    free = OptimizerSettings(name=name, weight_decay=0.1)
    bound = OptimizerSettings(name=name, weight_decay=0.1, larc="clip", trust=1e9)
    network, twin = make_network(), make_network()
    optimizers = [build_optimizer(network, free), build_optimizer(twin, bound)]
    assert type(optimizers[0]) is not type(optimizers[1])
    for step in range(5):
        learn(network, step)
        learn(twin, step)
        for optimizer in optimizers:
            optimizer.step()
    for weight, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-7)


def test_the_defaults_take_the_first_step_of_adam():
    # Without its epsilon Adam's first step is lr x g / |g|, whatever the gradient's size.
    layer = nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    layer.weight.grad = torch.full((1, 1), 1e-3)
    build_optimizer(layer, OptimizerSettings()).step()
    assert before - layer.weight.item() == pytest.approx(2e-3, rel=1e-4)


@pytest.mark.parametrize("larc", LARCS)
@pytest.mark.parametrize("name", NAMES)
def test_biases_and_norms_neither_decay_nor_have_a_rate_of_their_own(name, larc):
    network, twin = make_network(), make_network()
    plain = OptimizerSettings(name="adamw" if name == "lamb" else name)
    steered = OptimizerSettings(name=name, larc=larc, weight_decay=0.5)
    optimizers = [build_optimizer(network, plain), build_optimizer(twin, steered)]
    for module in (network, twin):
        learn(module, 0)
    for optimizer in optimizers:
        optimizer.step()
    for weight, other in zip(network.parameters(), twin.parameters(), strict=True):
        close = torch.allclose(weight, other, rtol=1e-5, atol=1e-8)
        assert close == (weight.dim() < 2)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("adam", "learning_rate", 1e-3),
        ("adam", "beta1", 0.5),
        ("adam", "beta2", 0.5),
        ("adam", "epsilon", 1.0),
        ("sgd", "momentum", 0.0),
        ("adam", "weight_decay", 0.1),
        ("adamw", "weight_decay", 0.1),
        ("lamb", "weight_decay", 0.1),
        ("sgd", "weight_decay", 0.1),
        ("adam", "name", "sgd"),
        ("adam", "larc", "clip"),
        ("adam", "larc", "scale"),
        ("adam", "clip_norm", 1e-9),
    ],
)
def test_every_option_changes_the_weights(name, option, value):
    results = []
    for options in ({}, {option: value}):
        network = make_network()
        settings = OptimizerSettings(**{"name": name} | options)
        take_steps(network, Stepper(build_optimizer(network, settings), settings), range(3))
        results.append(weights_of(network))
    assert not equal(*results)


@pytest.mark.parametrize(
    ("larc", "options"),
    [
        ("clip", ({"trust": 1e-3}, {"trust": 2e-3})),
        ("scale", ({"trust": 1e-3}, {"trust": 2e-3}, {"relative_step": 3e-3})),
    ],
)
def test_trust_and_relative_step_change_the_weights(larc, options):
    results = []
    for each in options:
        network = make_network()
        optimizer = build_optimizer(network, OptimizerSettings(larc=larc, **each))
        learn(network, 0)
        optimizer.step()
        results.append(weights_of(network))
    assert not any(equal(a, b) for a, b in itertools.combinations(results, 2))


@pytest.mark.parametrize(("larc", "clip_norm"), [(m, c) for m in LARCS for c in (None, 0.01)])
@pytest.mark.parametrize("name", NAMES)
def test_going_on_from_a_saved_state_is_exact(name, larc, clip_norm, tmp_path):
    settings = OptimizerSettings(name=name, larc=larc, clip_norm=clip_norm, weight_decay=0.01)
    network = make_network()
    stepper = Stepper(build_optimizer(network, settings), settings)
    take_steps(network, stepper, range(3))
    torch.save([network.state_dict(), stepper.state_dict()], tmp_path / "state")
    take_steps(network, stepper, range(3, 6))

    weights, state = torch.load(tmp_path / "state", weights_only=True)
    resumed = make_network(seed=1)
    other = Stepper(build_optimizer(resumed, settings), settings)
    resumed.load_state_dict(weights)
    other.load_state_dict(state)
    take_steps(resumed, other, range(3, 6))
    assert equal(weights_of(network), weights_of(resumed))


@pytest.mark.parametrize("larc", LARCS)
@pytest.mark.parametrize("name", NAMES)
def test_rates_in_tensors_take_the_same_steps(name, larc):
    results = []
    for capturable in (False, True):
        network = make_network()
        settings = OptimizerSettings(name=name, larc=larc)
        optimizer = build_optimizer(network, settings, capturable=capturable)
        rate = optimizer.param_groups[0]["lr"]
        assert isinstance(rate, torch.Tensor) == capturable
        stepper = Stepper(optimizer, settings)
        take_steps(network, stepper, range(3))
        stepper.load_state_dict(stepper.state_dict())
        if capturable:
            # A captured graph reads the rate from where it was.
            assert optimizer.param_groups[0]["lr"] is rate
        results.append(weights_of(network))
    for weight, other in zip(*results, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-7)


def test_rates_are_shares_of_the_largest():
    settings = OptimizerSettings(larc="scale", learning_rate=0.4, trust=0.01)
    optimizer = build_optimizer(make_network(), settings)
    set_rate(optimizer, 0.25)
    # Layers: 0.4 x 0.01 x 0.25; biases and norms: 0.4 x 0.25.
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001, 0.1])


def test_a_network_without_biases_has_one_group():
    assert len(build_optimizer(nn.Linear(2, 2, bias=False), OptimizerSettings()).param_groups) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adagrad"}, "name must be one of adam, adamw, sgd, lamb, got 'adagrad'"),
        ({"larc": "yes"}, "larc must be one of none, clip, scale, got 'yes'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"trust": -1.0}, "trust must be positive"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"beta1": 1.0}, "beta1 must be at least 0 and below 1, got 1.0"),
        ({"beta2": -0.1}, "beta2 must be at least 0"),
        ({"momentum": 1.0}, "momentum must be at least 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"relative_step": 1e-3}, "relative_step must be unset where larc is not scale, got 0.001"),
        ({"relative_step": 0.0, "larc": "scale"}, "relative_step must be positive"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**options)
