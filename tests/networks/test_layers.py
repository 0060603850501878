"""Layers on a globe: what they do at the seam is what they do anywhere else."""

import pytest
import torch
from torch import nn

from exastorm.networks.initial import he_normal, he_uniform, initialize, slim_normal
from exastorm.networks.layers import Convolution, Deconvolution, fit_to_stride, pool, wrap_columns
from exastorm.networks.style import BatchNorm, GroupNorm, Scale, Style, repeating


def fields(num_channels: int, num_rows: int, num_columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (2, num_channels, num_rows, num_columns)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_wrap_columns_brings_the_other_edge():
    x = torch.arange(4.0).reshape(1, 1, 1, 4)
    assert wrap_columns(x, 1, 2).flatten().tolist() == [3, 0, 1, 2, 3, 0, 1]
    assert wrap_columns(x, 0, 0).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("left", "right"), [(1, 2), (0, 1), (3, 0), (4, 4), (0, 0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_a_column_is_the_sum_over_its_repeats(left, right, layout):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    gradient = torch.randn(2, 3, 5, 4 + left + right, dtype=torch.float64)
    gradient = gradient.contiguous(memory_format=layout)
    wrap_columns(x, left, right).backward(gradient)
    expected = torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    for column in range(-left, 4 + right):
        expected[..., column % 4] += gradient[..., column + left]
    torch.testing.assert_close(x.grad, expected, rtol=1e-14, atol=1e-14)
    assert x.grad.is_contiguous(memory_format=layout)


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
        (GroupNorm(3), 1, 1),
        (BatchNorm(3), 1, 1),
        (lambda x: pool(x, wraps=True), 2, 1),
    ],
)
def test_rolling_the_input_rolls_the_output(layer, shift_in, shift_out):
    layer = layer.double() if isinstance(layer, nn.Module) else layer
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


def test_given_columns_are_those_that_would_be_wrapped():
    whole, given = Convolution(3, 4, 5).double(), Convolution(3, 4, 5, columns="given").double()
    given.load_state_dict(whole.state_dict())
    x = fields(3, 6, 12)
    torch.testing.assert_close(given(wrap_columns(x, 2, 2)), whole(x), rtol=0, atol=0)


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's documented rule: what must be added, the smaller half first."""
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def test_the_flat_map_pools_as_tensorflow_does():
    # 3x3 windows of stride 2 on 8 rows need (4 - 1) 2 + 3 - 8 = 1 row more: below the last.
    assert same_padding(8, 3, 2) == (0, 1)
    x = -fields(2, 8, 12).abs()  # below zero, so that zeros beyond the edge would show
    padded = nn.functional.pad(x, (0, 1, 0, 1), value=float("-inf"))
    expected = padded.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(-1, -2))
    assert torch.equal(pool(x, wraps=False), expected)
    assert not torch.equal(pool(x, wraps=True), expected)


def test_the_flat_deconvolution_is_the_adjoint_of_a_same_convolution():
    # TensorFlow defines its transposed convolution so; "same" pads 8 rows by 0 above, 1 below.
    up = Deconvolution(4, 3, wraps=False, bias=False).double()
    x, y = fields(3, 8, 12), fields(4, 4, 6)
    down = nn.functional.conv2d(nn.functional.pad(x, (0, 1, 0, 1)), up.weight, stride=2)
    assert up(y).shape == x.shape
    torch.testing.assert_close((down * y).sum(), (x * up(y)).sum())


def test_the_flat_convolution_has_zeros_beyond_all_edges():
    flat = Convolution(3, 4, 7, stride=2, columns="zero").double()
    x = fields(3, 8, 12)
    expected = nn.functional.conv2d(
        nn.functional.pad(x, (3, 3, 3, 3)), flat.weight, flat.bias, stride=2
    )
    torch.testing.assert_close(flat(x), expected, rtol=0, atol=1e-13)


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
    assert GroupNorm(32).num_groups == 4
    assert GroupNorm(12).num_groups == 1


def test_norm_and_relu_have_unit_spread_and_no_negatives():
    y = GroupNorm(8).double()(5.0 + 3.0 * fields(8, 16, 16))
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


def test_styles_say_what_follows_a_convolution():
    x = torch.tensor([-2.0, 2.0]).reshape(1, 2, 1, 1)
    # Halves: -1 and 1; SiLU of 2 is 2 / (1 + exp(-2)) = 1.7616.
    assert Style(norm="half").normalize(2)(x).flatten().tolist() == [0, 1]
    assert Style(norm="half", activation="none").normalize(2)(x).flatten().tolist() == [-1, 1]
    assert Style(norm="none", activation="none").normalize(2)(x) is x
    silu = Style(norm="none", activation="silu").normalize(2)(x)
    assert silu.flatten()[1].item() == pytest.approx(1.7616, abs=1e-4)
    assert x.flatten().tolist() == [-2, 2]
    assert Style(norm="none").normalize(2)(x).flatten().tolist() == [0, 2]


@pytest.mark.parametrize(("norm", "bias"), [("group", 0), ("batch", 0), ("half", 0), ("none", 1)])
def test_a_convolution_has_a_bias_where_no_norm_follows(norm, bias):
    style = Style(norm=norm)
    for layers in (style.normalized_convolution(3, 8), style.normalized_deconvolution(3, 8)):
        assert (layers[0].bias is not None) == bool(bias)


def test_scale_leaves_its_input_alone():
    x = fields(3, 2, 2)
    before = x.clone()
    Scale(0.5, "relu")(x)
    assert torch.equal(x, before)


def test_batch_norm_counts_a_batch_once():
    layer, x = BatchNorm(3).double(), fields(3, 6, 12)
    first = layer(x)
    statistics = {k: v.clone() for k, v in layer.state_dict().items()}
    with repeating():
        assert torch.equal(layer(x), first)
    assert all(torch.equal(v, statistics[k]) for k, v in layer.state_dict().items())
    assert layer(x).shape == x.shape
    assert int(layer.num_batches_tracked) == 2


@pytest.mark.parametrize("law", [he_normal, he_uniform, slim_normal])
def test_fresh_weights_have_the_variance_of_he(law):
    torch.manual_seed(0)
    layer = Convolution(64, 64)
    initialize(layer, law)
    # 2 / fan-in; a normal distribution cut at two deviations keeps 0.774 of its variance
    # (1 - 4 phi(2) / 0.9545 = 0.7737), and 1.3 x 0.774 = 1.006.
    assert layer.weight.var().item() * 64 * 9 == pytest.approx(2.0, rel=0.03)
    assert not layer.bias.any()


def test_fresh_weights_are_cut_where_their_law_says():
    torch.manual_seed(0)
    layer, fan_in = Convolution(64, 64), 64 * 9
    initialize(layer, he_uniform)
    assert layer.weight.abs().max().item() == pytest.approx((6 / fan_in) ** 0.5, rel=1e-3)
    initialize(layer, slim_normal)
    assert layer.weight.abs().max().item() == pytest.approx(2 * (2.6 / fan_in) ** 0.5, rel=1e-2)
    initialize(layer, he_normal)
    assert layer.weight.abs().max().item() > 3.5 * (2 / fan_in) ** 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_group_norm_on_a_gpu_is_that_on_a_cpu(layout):
    norm, x = GroupNorm(16).double(), fields(16, 6, 8)
    expected = norm(x)
    got = norm.cuda()(x.cuda().to(memory_format=layout))
    assert got.is_contiguous(memory_format=layout)
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-12)
