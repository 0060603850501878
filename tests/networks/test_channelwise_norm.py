"""Group norm channel by channel is group norm, and leaves features laid out as they are."""

import pytest
import torch
from torch import nn

from exastorm.networks.channelwise_norm import normalize_by_channel

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def features(layout, mean=0.0):
    generator = torch.Generator().manual_seed(5)
    x = mean + torch.randn((2, 24, 6, 8), generator=generator, dtype=torch.float64)
    return x.to(memory_format=layout).requires_grad_()


def norm(num_groups):
    layer = nn.GroupNorm(num_groups, 24).double()
    for weight in layer.parameters():
        nn.init.normal_(weight)
    return layer


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_groups", [1, 3, 24])
def test_values_and_gradients_are_those_of_torch(num_groups, layout):
    layer, x = norm(num_groups), features(layout)
    expected = layer(x)
    got = normalize_by_channel(x, num_groups, layer.weight, layer.bias, layer.eps)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    gradient = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    for one, other in zip(
        torch.autograd.grad(got, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_and_their_gradients_stay_laid_out_as_they_are(layout):
    layer, x = norm(3), features(layout)
    got = normalize_by_channel(x, 3, layer.weight, layer.bias, layer.eps)
    assert got.is_contiguous(memory_format=layout)
    (gradient,) = torch.autograd.grad(got, x, torch.randn_like(got))
    assert gradient.is_contiguous(memory_format=layout)


def test_half_precision_is_normalized_in_float32():
    layer = norm(3).float()
    x = features(torch.channels_last, mean=100.0).detach()
    half = x.to(torch.bfloat16)
    got = normalize_by_channel(half, 3, layer.weight, layer.bias, layer.eps)
    assert got.dtype == torch.float32
    # Of what bfloat16 holds of values near 100, nothing more is lost. Variances are about 1, so
    # that float32 (2^-24 of 100) leaves 6e-6, times weights up to 3.
    expected = layer.double()(half.double()).float()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
