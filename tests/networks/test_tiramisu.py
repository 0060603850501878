"""Tiramisu: the paper's layers, to the last parameter, and what the modern variant changes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.dropout import seed_dropout
from exastorm.networks.style import Style
from exastorm.networks.tiramisu import DenseBlock, Dropout, Sizes, Tiramisu, widen


def network(num_channels: int = 5, **settings) -> Tiramisu:
    torch.manual_seed(0)
    settings = NetworkSettings(name="tiramisu", **settings)
    built = build_network(settings, num_channels, num_classes=3, num_lon=48)
    assert isinstance(built, Tiramisu)
    return built.eval()


@pytest.mark.parametrize(
    ("num_channels", "filters", "num_parameters", "operations"),
    [(16, None, 7_504_835, 4.1878e12), (4, 48, 7_134_211, 3.7026e12)],
)
def test_the_variant_of_the_paper_is_the_network_of_the_paper(
    num_channels, filters, num_parameters, operations
):
    # Kurth et al.: 4.188e12 and 3.703e12 operations a training step and sample at 768x1152, which
    # is three times the forward pass. 70 tensors: 35 convolutions (first, last, 15 on the way
    # down, 10 on the way up, 4 between blocks each way), each with a bias.
    with torch.device("meta"):
        model = network(num_channels, variant="paper", preset="full", filters=filters)
        fields = torch.empty(1, num_channels, 768, 1152)
    assert sum(p.numel() for p in model.parameters()) == num_parameters
    assert len(list(model.parameters())) == 70
    with FlopCounterMode(display=False) as counter:
        model(fields)
    assert 3 * counter.get_total_flops() == pytest.approx(operations, rel=1e-3)


def test_a_dense_layer_sees_all_maps_before_it():
    # Kernels that only pass on the first map at the center: each new map is a copy of it.
    block = DenseBlock(2, 3, 1, Style(norm="none"), Dropout(0.0))
    for layer in block.layers:
        nn.init.zeros_(layer[0][0].weight)
        nn.init.zeros_(layer[0][0].bias)
        layer[0][0].weight.data[0, -1, 2, 2] = 1.0
    x = torch.rand(1, 2, 8, 8)
    maps = block(widen(x, block.margin))
    assert maps.shape == (1, 5, 8, 12)
    # Each layer copies the newest map it sees, so all are copies of the last input map.
    torch.testing.assert_close(maps[:, 2:], maps[:, 1:2].expand(1, 3, 8, 12))
    torch.testing.assert_close(maps[..., 2:-2][:, :2], x)


def test_a_block_wraps_as_its_convolutions_would():
    block = DenseBlock(3, 2, 4, Style(norm="none"), Dropout(0.0)).double()
    x = torch.randn(1, 3, 8, 12, dtype=torch.float64)
    maps = block(widen(x, 2))
    expected = x
    for layer in block.layers:
        convolution = layer[0][0]
        wrapped = nn.functional.pad(expected, (2, 2, 0, 0), mode="circular")
        new = nn.functional.conv2d(wrapped, convolution.weight, convolution.bias, padding=(2, 0))
        expected = torch.cat([expected, new.clamp(min=0)], dim=1)
    torch.testing.assert_close(maps[..., 2:-2], expected)
    torch.testing.assert_close(maps, nn.functional.pad(expected, (2, 2, 0, 0), mode="circular"))


def test_dropout_of_the_paper_works_in_evaluation_and_on_the_logits():
    model, x = network(variant="paper"), torch.randn(1, 5, 32, 48)
    logits = model(x)
    assert not torch.equal(model(x), logits)
    # A fifth of 3 x 32 x 48 = 4608 logits: spread sqrt(0.2 x 0.8 / 4608) = 0.006.
    assert (logits == 0).double().mean().item() == pytest.approx(0.2, abs=0.025)
    still = network(variant="paper", dropout=0.0)
    assert torch.equal(still(x), still(x))
    assert not (still(x) == 0).any()


def test_modern_dropout_works_in_training_alone():
    model, x = network(), torch.randn(1, 5, 32, 48)
    assert torch.equal(model(x), model(x))
    model.train()
    seed_dropout(1)
    first = model(x)
    assert not torch.equal(model(x), first)
    seed_dropout(1)
    assert torch.equal(model(x), first)
    # Not on the logits: hardly any is zero.
    assert (first == 0).double().mean() < 1e-3


def test_transposed_convolutions_of_the_paper_are_linear():
    flat, modern = network(variant="paper").up[0], network().up[0]
    x = torch.randn(1, 160, 3, 4)
    torch.testing.assert_close(flat(2 * x), 2 * flat(x))
    assert (flat(x) < 0).any()
    assert (modern(x) >= 0).all()


def test_filters_are_those_of_the_first_convolution():
    assert network(filters=24).first[0].weight.shape == (24, 5, 5, 5)
    assert network().first[0].weight.shape == (8, 5, 5, 5)


def test_any_number_of_levels():
    sizes = Sizes(filters=4, layers=(1, 2, 1), growth=(4, 8, 8))
    model = Tiramisu(3, 2, sizes)
    assert model.stride == 4
    assert model(torch.randn(1, 3, 8, 12)).shape == (1, 2, 8, 12)
