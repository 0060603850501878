"""DeepLabv3+: the paper's layers, to the last parameter, and what the modern variant changes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.deeplab import ASPP_RATES, DeepLab, scaled_rate


def network(num_lon: int = 48, **settings) -> DeepLab:
    torch.manual_seed(0)
    built = build_network(
        NetworkSettings(**settings), num_channels=5, num_classes=3, num_lon=num_lon
    )
    assert isinstance(built, DeepLab)
    return built.eval()


def on_meta(**settings) -> nn.Module:
    with torch.device("meta"):
        return build_network(NetworkSettings(**settings), 16, 3, num_lon=1152)


def fields(num_rows: int, num_columns: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, num_rows, num_columns, generator=generator, dtype=dtype)


def test_north_and_south_are_told_apart():
    model = network().double()
    x = fields(24, 48)
    with torch.no_grad():
        assert (model(x.flip(-2)) - model(x).flip(-2)).abs().max() > 1e-6


def test_full_has_the_weights_of_the_paper():
    # Kurth et al.'s network has 43,669,251 parameters, of which biases are: root 64, projections
    # 256 + 512 + 1024 + 2048, last 1x1 of the units 3 x 256 + 4 x 512 + 6 x 1024 + 3 x 2048,
    # deconvolutions 3 x 256, input skip 64 + 128, last 3x3 2 x 256, logits 3: 20,483 together.
    model = on_meta(preset="full")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert sum(m.weight.numel() for m in convolutions) == 43_669_251 - 20_483


def test_the_variant_of_the_paper_is_the_network_of_the_paper():
    # Kurth et al.'s network without batch norm: 43,669,251 parameters in 99 tensors, and at
    # 768x1152 three times the dense forward operations are 13.0242e12 (the paper's 14.41e12 also
    # count the zeros that pad its atrous convolutions).
    model = on_meta(variant="paper", preset="full")
    assert sum(p.numel() for p in model.parameters()) == 43_669_251
    assert len(list(model.parameters())) == 99
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 16, 768, 1152, device="meta"))
    assert 3 * counter.get_total_flops() == pytest.approx(13.0242e12, rel=1e-3)


def test_the_variant_of_the_paper_halves_in_place_of_norms():
    model = network(variant="paper")
    assert not [m for m in model.modules() if isinstance(m, nn.GroupNorm | nn.BatchNorm2d)]
    unit = model.encoder.blocks[0][1]
    x = torch.randn(1, 64, 4, 4)
    # No ReLU where the batch norm before it is gone, and one where it follows a convolution.
    torch.testing.assert_close(unit.activate(x), 0.5 * x)
    reduced = unit.reduce[0](0.5 * x)
    torch.testing.assert_close(unit.reduce(0.5 * x), (0.5 * reduced).clamp(min=0))


def test_the_tail_of_the_paper_is_linear():
    # From the features at stride 4 on: doubling them doubles what they add to the logits.
    decoder = network(variant="paper").decoder.double()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 64, 4, 6, generator=generator, dtype=torch.float64)
    skip = torch.zeros(1, 8, 16, 24, dtype=torch.float64)

    def tail(x):
        return decoder.head[1](decoder._join(decoder.to_whole(decoder.to_half(x)), skip))

    nothing, one, two = tail(0 * x[:1]), tail(x[:1]), tail(2 * x[:1])
    torch.testing.assert_close(two - nothing, 2 * (one - nothing))
    assert (one - nothing).abs().max() > 1e-3


def test_the_modern_tail_is_not_linear():
    decoder = network().decoder.double()
    x = torch.randn(1, 64, 4, 6, dtype=torch.float64)
    assert not torch.allclose(decoder.to_half(2 * x), 2 * decoder.to_half(x))


def test_rates_scale_with_the_grid():
    assert [scaled_rate(r, 1152) for r in ASPP_RATES] == [12, 24, 36]
    assert [scaled_rate(r, 288) for r in ASPP_RATES] == [3, 6, 9]
    assert [scaled_rate(r, 144) for r in ASPP_RATES] == [2, 3, 5]  # 1.5, 3, 4.5, halves up
    assert scaled_rate(12, 24) == 1
    rates = [m.dilation for m in network(num_lon=288).pyramid.branches]
    assert rates == [(1, 1), (3, 3), (6, 6), (9, 9)]
    rates = [m.dilation for m in network(num_lon=288, variant="paper").pyramid.branches]
    assert rates == [(1, 1), (12, 12), (24, 24), (36, 36)]


def test_dropout_works_on_what_the_pyramid_found():
    x = fields(16, 48, torch.float32)
    plain, dropping = network().train(), network(dropout=0.5).train()
    dropping.load_state_dict(plain.state_dict())
    assert torch.equal(plain(x), plain(x))
    assert not torch.equal(dropping(x), plain(x))
    assert torch.equal(dropping.eval()(x), plain.eval()(x))
