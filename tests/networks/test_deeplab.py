"""DeepLabv3+: the paper's layers, on a round globe."""

import pytest
import torch
from torch import nn

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.deeplab import ASPP_RATES, PRESETS, DeepLab, scaled_rate


def network(num_lon: int = 48, **settings) -> DeepLab:
    torch.manual_seed(0)
    built = build_network(
        NetworkSettings(**settings), num_channels=5, num_classes=3, num_lon=num_lon
    )
    assert isinstance(built, DeepLab)
    return built.eval()


def fields(num_rows: int, num_columns: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, num_rows, num_columns, generator=generator, dtype=dtype)


@pytest.mark.parametrize("preset", ["compact", "half"])
@pytest.mark.parametrize("columns", [8, 24])
def test_rolling_the_globe_rolls_the_logits(preset, columns):
    model = network(num_lon=48, preset=preset).double()
    x = fields(24, 48)
    with torch.no_grad():
        expected = model(x).roll(columns, dims=-1)
        got = model(x.roll(columns, dims=-1))
    assert (got - expected).abs().max() / expected.abs().max() < 1e-9


def test_rolling_by_less_than_the_stride_does_not():
    # So the test above is not one that a constant would pass.
    model = network().double()
    x = fields(24, 48)
    with torch.no_grad():
        assert (model(x.roll(3, dims=-1)) - model(x).roll(3, dims=-1)).abs().max() > 1e-6


def test_north_and_south_are_told_apart():
    model = network().double()
    x = fields(24, 48)
    with torch.no_grad():
        assert (model(x.flip(-2)) - model(x).flip(-2)).abs().max() > 1e-6


@pytest.mark.parametrize(("num_rows", "num_columns"), [(24, 48), (19, 36), (23, 47), (9, 8)])
def test_logits_are_on_the_grid_of_the_fields(num_rows, num_columns):
    model = network(num_lon=num_columns)
    with torch.no_grad():
        logits = model(fields(num_rows, num_columns, torch.float32))
    assert logits.shape == (2, 3, num_rows, num_columns)
    assert logits.isfinite().all()


def test_a_sample_does_not_see_the_rest_of_its_batch():
    model = network().double()
    x = fields(24, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-10, atol=1e-12)


def test_full_has_the_weights_of_the_paper():
    # Kurth et al.'s network has 43,669,251 parameters, of which biases are: root 64, projections
    # 256 + 512 + 1024 + 2048, last 1x1 of the units 3 x 256 + 4 x 512 + 6 x 1024 + 3 x 2048,
    # deconvolutions 3 x 256, input skip 64 + 128, last 3x3 2 x 256, logits 3: 20,483 together.
    with torch.device("meta"):
        model = DeepLab(num_channels=16, num_classes=3, num_lon=1152, preset="full")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert sum(m.weight.numel() for m in convolutions) == 43_669_251 - 20_483


def test_presets_differ_in_size():
    sizes = {}
    for preset in PRESETS:
        with torch.device("meta"):
            model = DeepLab(5, 3, 1152, preset)
        sizes[preset] = sum(p.numel() for p in model.parameters())
    assert sizes["compact"] < sizes["half"] / 4
    assert sizes["half"] < sizes["full"] / 3


def test_rates_scale_with_the_grid():
    assert [scaled_rate(r, 1152) for r in ASPP_RATES] == [12, 24, 36]
    assert [scaled_rate(r, 288) for r in ASPP_RATES] == [3, 6, 9]
    assert [scaled_rate(r, 144) for r in ASPP_RATES] == [2, 3, 5]  # 1.5, 3, 4.5, halves up
    assert scaled_rate(12, 24) == 1
    rates = [m.dilation for m in network(num_lon=288).pyramid.branches]
    assert rates == [(1, 1), (3, 3), (6, 6), (9, 9)]


def test_bias_shifts_the_logits_of_each_class():
    model = network().double()
    x = fields(16, 48)
    with torch.no_grad():
        before = model(x)
        model.add_to_logits([0.0, 1.5, -2.0])
        shift = model(x) - before
    torch.testing.assert_close(shift.mean(dim=(0, 2, 3)), torch.tensor([0.0, 1.5, -2.0]).double())
    assert shift.std(dim=(0, 2, 3)).max() < 1e-9


def test_it_learns_a_field_it_is_shown():
    torch.manual_seed(0)
    model = network().train()
    x = fields(16, 48, torch.float32)
    labels = (x[:, 0] > 0.8).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("option", "value"), [("name", "unet"), ("preset", "tiny")])
def test_unknown_networks_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, got '{value}'"):
        NetworkSettings(**{option: value})
