"""Layers on a globe: what they do at the seam is what they do anywhere else."""

import pytest
import torch
from torch import nn

from exastorm.networks.layers import (
    Convolution,
    Deconvolution,
    NormReLU,
    fit_to_stride,
    wrap_columns,
)


def fields(num_channels: int, num_rows: int, num_columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (2, num_channels, num_rows, num_columns)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_wrap_columns_brings_the_other_edge():
    x = torch.arange(4.0).reshape(1, 1, 1, 4)
    assert wrap_columns(x, 1, 2).flatten().tolist() == [3, 0, 1, 2, 3, 0, 1]
    assert wrap_columns(x, 0, 0).flatten().tolist() == [0, 1, 2, 3]


def test_wrap_columns_goes_round_more_than_once():
    x = torch.arange(3.0).reshape(1, 1, 1, 3)
    # Left of column 0 lie 2, 1, 0, 2; right of column 2 lie 0, 1, 2, 0.
    expected = [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert wrap_columns(x, 4, 4).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("layer", "shift_in", "shift_out"),
    [
        (Convolution(3, 4), 1, 1),
        (Convolution(3, 4, 7, stride=2), 2, 1),
        (Convolution(3, 4, dilation=5), 1, 1),
        (Convolution(3, 4, 1), 1, 1),
        (Deconvolution(3, 4), 1, 2),
        (NormReLU(3), 1, 1),
    ],
)
def test_rolling_the_input_rolls_the_output(layer, shift_in, shift_out):
    layer = layer.double()
    x = fields(3, 6, 12)
    rolled = layer(x.roll(shift_in, dims=-1))
    torch.testing.assert_close(rolled, layer(x).roll(shift_out, dims=-1), rtol=0, atol=1e-12)
    assert not torch.allclose(rolled, layer(x))


def test_a_convolution_reaches_across_the_seam_but_not_across_the_pole():
    layer = Convolution(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, 4, 8)
    x[0, 0, 0, 0] = 1.0
    y = layer(x)[0, 0]
    # The 3x3 neighborhood of (row 0, column 0): rows 0 and 1, columns 7, 0 and 1.
    assert y.sum() == 6
    assert y[:2, [7, 0, 1]].sum() == 6


@pytest.mark.parametrize("dilation", [1, 3])
def test_convolution_keeps_the_grid_and_stride_halves_it(dilation):
    assert Convolution(3, 5, dilation=dilation)(torch.zeros(1, 3, 8, 12)).shape == (1, 5, 8, 12)
    assert Convolution(3, 5, stride=2)(torch.zeros(1, 3, 8, 12)).shape == (1, 5, 4, 6)


def test_deconvolution_is_the_adjoint_of_the_strided_convolution():
    # <Conv x, y> = <x, Deconv y> for one weight: the definition of the transpose.
    down = Convolution(3, 4, stride=2, bias=False).double()
    up = Deconvolution(4, 3, bias=False).double()
    up.weight.data.copy_(down.weight.data)
    x, y = fields(3, 6, 8), fields(4, 3, 4)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


def test_norm_groups_of_eight_and_odd_widths_in_one():
    assert NormReLU(32).num_groups == 4
    assert NormReLU(12).num_groups == 1


def test_norm_relu_has_unit_spread_and_no_negatives():
    y = NormReLU(8).double()(5.0 + 3.0 * fields(8, 16, 16))
    assert y.min() == 0
    # The positive half of a standard normal: mean 1 / sqrt(2 pi) = 0.399, mean square 1/2.
    assert y.mean().item() == pytest.approx(0.399, abs=0.02)
    assert y.square().mean().item() == pytest.approx(0.5, abs=0.03)


def test_fit_to_stride_wraps_columns_and_repeats_rows():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    fitted = fit_to_stride(x, 4)
    assert fitted.shape == (1, 1, 4, 4)
    assert fitted[0, 0].tolist() == [[0, 1, 2, 0], [3, 4, 5, 3], [3, 4, 5, 3], [3, 4, 5, 3]]
    assert fit_to_stride(x, 1) is x
