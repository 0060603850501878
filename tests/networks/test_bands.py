import pytest
import torch
from torch.nn import functional

from exastorm.networks import bands
from exastorm.networks.layers import Convolution


@pytest.mark.parametrize("columns", ["wrap", "zero"])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("band_rows", [1, 4, 100])
def test_bands_have_the_gradients_of_the_whole(monkeypatch, columns, kernel_size, band_rows):
    torch.manual_seed(0)
    layer = Convolution(3, 4, kernel_size, columns=columns).double()
    x = torch.randn(2, 3, 11, 8, dtype=torch.float64, requires_grad=True)
    wanted = (x, layer.weight, layer.bias)
    gradient = torch.randn(2, 4, 11, 8, dtype=torch.float64)
    whole = layer(x)
    expected = torch.autograd.grad(whole, wanted, gradient)
    monkeypatch.setattr(bands, "LARGE_BYTES", 0)
    monkeypatch.setattr(bands, "BAND_BYTES", 8 * 2 * 3 * 8 * band_rows)
    in_bands = layer(x)
    assert "Bands" in type(in_bands.grad_fn).__name__
    torch.testing.assert_close(in_bands, whole, rtol=1e-12, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(in_bands, wanted, gradient), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("large_bytes", [0, 2**26])
def test_several_maps_are_those_joined(monkeypatch, large_bytes):
    monkeypatch.setattr(bands, "LARGE_BYTES", large_bytes)
    monkeypatch.setattr(bands, "BAND_BYTES", 8 * 5 * 6 * 2)
    layer = Convolution(5, 4).double()
    sizes = [(1, 3, 7, 6), (1, 2, 7, 6)]
    maps = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    joined = torch.cat(maps, dim=1).detach().requires_grad_()
    expected = layer(joined)
    (whole,) = torch.autograd.grad(expected.square().sum(), joined)
    result = layer(*maps)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    parts = torch.autograd.grad(result.square().sum(), maps)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-12)


def test_only_what_is_wanted_is_computed(monkeypatch):
    monkeypatch.setattr(bands, "LARGE_BYTES", 0)
    layer = Convolution(3, 4)
    fields = torch.randn(1, 3, 8, 8)
    layer(fields).sum().backward()
    assert fields.grad is None
    # Each output is a sum of biases and weighted inputs: a bias is in all 64 of its channel.
    assert torch.equal(layer.bias.grad, torch.full((4,), 64.0))
    layer.weight.requires_grad_(False)
    fields.requires_grad_()
    layer.weight.grad = None
    layer(fields).sum().backward()
    assert fields.grad is not None
    assert layer.weight.grad is None


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}, {"kernel_size": 1}])
def test_other_convolutions_stay_whole(monkeypatch, options):
    monkeypatch.setattr(bands, "LARGE_BYTES", 0)
    layer = Convolution(3, 4, **options)
    result = layer(torch.randn(1, 3, 8, 8, requires_grad=True))
    assert "Bands" not in type(result.grad_fn).__name__


def test_bands_are_for_training_with_large_maps_in_single_precision():
    x = torch.empty(1, 1, 2**12, 2**12)  # 2^26 bytes, never touched
    assert bands.takes_bands([x])
    assert not bands.takes_bands([x[..., 1:]])
    with torch.no_grad():
        assert not bands.takes_bands([x])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not bands.takes_bands([x])
    assert not bands.takes_bands([torch.empty(1, 1, 2**12, 2**12, device="meta")])


def test_one_point_kernels_are_the_same_sum_on_one_thread():
    layer = Convolution(5, 6, 1)
    x = torch.randn(1, 5, 7, 8)
    expected = functional.conv2d(x.double(), layer.weight.double(), layer.bias.double())
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)
