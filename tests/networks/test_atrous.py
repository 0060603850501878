"""Weights' gradients as products of matrices are those of torch's convolution."""

import pytest
import torch
from torch.nn import functional

from exastorm.networks.atrous import convolve_atrous
from exastorm.networks.layers import Convolution

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def random(*shape, layout=torch.contiguous_format, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype).to(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
# Wrapped columns are there already; on a flat map zeros lie beyond all edges. A rate may exceed
# the rows there are.
@pytest.mark.parametrize(
    ("padding", "rate", "num_columns"), [((8, 0), 8, 40), ((8, 8), 8, 24), ((15, 15), 15, 31)]
)
def test_values_and_gradients_are_those_of_torch(padding, rate, num_columns, layout):
    x = random(2, 5, 12, num_columns, layout=layout).requires_grad_()
    weight = random(7, 5, 3, 3).requires_grad_()
    expected = functional.conv2d(x, weight, None, 1, padding, rate)
    got = convolve_atrous(x, weight, padding, rate)
    assert torch.equal(got, expected)
    gradient = torch.randn_like(expected)
    of_got = torch.autograd.grad(got, (x, weight), gradient)
    of_expected = torch.autograd.grad(expected, (x, weight), gradient)
    for one, other in zip(of_got, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_half_precision_is_autocast_as_convolutions_are():
    x, weight = random(1, 4, 9, 20, dtype=torch.float32), random(3, 4, 3, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = functional.conv2d(x, weight, None, 1, (8, 8), 8)
        got = convolve_atrous(x, weight, (8, 8), 8)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


@needs_gpu
@pytest.mark.parametrize("rate", [4, 12])
def test_a_layer_on_a_gpu_learns_what_it_does_on_a_cpu(rate):
    layer = Convolution(6, 5, dilation=rate, bias=False).double()
    x, gradient = random(2, 6, 24, 36), random(2, 5, 24, 36)
    (expected,) = torch.autograd.grad(layer(x), layer.weight, gradient)
    layer.cuda()
    (got,) = torch.autograd.grad(layer(x.cuda()), layer.weight, gradient.cuda())
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-10)
