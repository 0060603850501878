"""Both networks in both variants: what nature and the settings demand of all of them."""

import pytest
import torch
from torch import nn

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.dropout import seed_dropout
from exastorm.networks.network import SegmentationNetwork
from exastorm.networks.tiramisu import Sizes, Tiramisu

NAMES = ("deeplabv3plus", "tiramisu")
BOTH = [{"name": name, "variant": variant} for name in NAMES for variant in ("modern", "paper")]


def network(num_lon: int = 48, num_channels: int = 5, **settings) -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(NetworkSettings(**settings), num_channels, 3, num_lon).eval()


def fields(num_rows: int, num_columns: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, num_rows, num_columns, generator=generator, dtype=dtype)


def roll_error(model: nn.Module, x: torch.Tensor, columns: int) -> float:
    """How far the logits of rolled fields are from rolled logits, over the largest logit."""
    with torch.no_grad():
        expected = model(x).roll(columns, dims=-1)
        got = model(x.roll(columns, dims=-1))
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(32, 64), (16, 16), (19, 48), (33, 96)])
def test_rolling_the_globe_rolls_the_logits(name, norm, num_rows, num_columns):
    model = network(num_columns, name=name, norm=norm, activation="silu").double()
    x = fields(num_rows, num_columns)
    assert roll_error(model, x, model.stride) < 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", ["half", "full"])
def test_rolling_rolls_the_logits_of_large_presets(name, preset):
    model = network(name=name, preset=preset).double()
    assert roll_error(model, fields(16, 48)[:1], 16) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_rolling_rolls_the_logits_while_it_learns(name):
    model = network(name=name, norm="batch", dropout=0.0).double().train()
    assert roll_error(model, fields(32, 64), 16) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rolling_rolls_the_logits_of_the_grid_of_the_paper(name):
    model = network(1152, name=name).double()
    assert roll_error(model, fields(768, 1152)[:1], 37 * model.stride) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_rolling_by_less_than_the_stride_does_not(name):
    # So the tests above are not some that a constant would pass.
    model = network(name=name).double()
    assert roll_error(model, fields(32, 48), model.stride // 2) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_the_flat_map_of_the_paper_does_not_roll(name):
    model = network(name=name, variant="paper", dropout=0.0).double()
    assert roll_error(model, fields(32, 48), 16) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_globe_mirrors_the_logits_of_mirrored_kernels(name):
    # With kernels that are the same both ways in longitude, grid points at which all strides are
    # centered stay where they are: column 0, and so column c goes to -c.
    model = network(name=name).double()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data = (layer.weight + layer.weight.flip(-1)) / 2
    x = fields(16, 48)

    def mirror(x: torch.Tensor) -> torch.Tensor:
        return x.flip(-1).roll(1, dims=-1)

    with torch.no_grad():
        expected, got = mirror(model(x)), model(mirror(x))
    assert (got - expected).abs().max() / expected.abs().max() < 1e-9


@pytest.mark.parametrize("settings", BOTH)
@pytest.mark.parametrize(("num_rows", "num_columns"), [(32, 48), (19, 36), (9, 7)])
def test_logits_are_on_the_grid_of_the_fields(settings, num_rows, num_columns):
    model = network(num_columns, **settings)
    with torch.no_grad():
        logits = model(fields(num_rows, num_columns, torch.float32))
    assert logits.shape == (2, 3, num_rows, num_columns)
    assert logits.isfinite().all()
    assert logits.std() > 0.01


@pytest.mark.parametrize("settings", BOTH)
def test_a_sample_does_not_see_the_rest_of_its_batch(settings):
    model = network(**settings, dropout=0.0).double()
    x = fields(16, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("settings", BOTH)
def test_bias_shifts_the_logits_of_each_class(settings):
    model = network(**settings, dropout=0.0).double()
    x = fields(16, 48)
    with torch.no_grad():
        before = model(x)
        model.add_to_logits([0.0, 1.5, -2.0])
        shift = model(x) - before
    torch.testing.assert_close(shift.mean(dim=(0, 2, 3)), torch.tensor([0.0, 1.5, -2.0]).double())
    assert shift.std(dim=(0, 2, 3)).max() < 1e-9


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    seed_dropout(7)
    return list(torch.autograd.grad(model(x).square().mean(), list(model.parameters())))


@pytest.mark.parametrize(
    "settings",
    [*BOTH, {"name": "tiramisu", "norm": "batch"}, {"name": "deeplabv3plus", "norm": "batch"}],
)
def test_recomputing_gives_the_same_gradients_to_the_bit(settings):
    model = network(**settings, dropout=0.3).train()
    x = fields(16, 48, torch.float32)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    expected = gradients(model, x)
    after = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(start)
    model.recompute = True
    got = gradients(model, x)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    # Running statistics of batch norm count the batch once.
    assert all(torch.equal(v, after[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_masks_after_recomputing_go_on_as_without(name):
    model, x = network(name=name, dropout=0.3).train(), fields(16, 48, torch.float32)
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        gradients(model, x)
        found.append(model(x))
    assert torch.equal(*found)


@pytest.mark.parametrize("name", NAMES)
def test_recomputing_keeps_less(name):
    model, x = network(name=name).train(), fields(32, 48, torch.float32)
    kept = []
    for recompute in (False, True):
        model.recompute = recompute
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel() * t.element_size()) or t, lambda t: t
        ):
            model(x)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("settings", BOTH)
def test_it_learns_a_field_it_is_shown(settings):
    model = network(**settings, dropout=0.0).train()
    x = fields(16, 32, torch.float32)
    labels = (x[:, 0] > 0.8).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_recomputing_compiled_gives_the_same_gradients():
    torch.manual_seed(0)
    model = Tiramisu(5, 3, Sizes(filters=4, layers=(1, 1), growth=(4, 4)), dropout=0.3).train()
    x = fields(8, 8, torch.float32)
    expected = gradients(model, x)
    model.recompute = True
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    seed_dropout(7)
    got = torch.autograd.grad(compiled(x).square().mean(), list(model.parameters()))
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"name": name} for name in NAMES])
def test_it_traces(settings):
    model, x = network(**settings), fields(16, 48, torch.float32)
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"name": "deeplabv3plus"}, {"name": "tiramisu"}),
        ({"name": "tiramisu"}, {"name": "tiramisu", "filters": 24}),
        *(
            ({"name": name}, {"name": name, **change})
            for name in NAMES
            for change in (
                {"variant": "paper"},
                {"preset": "half"},
                {"norm": "batch"},
                {"activation": "silu"},
                {"dropout": 0.4},
            )
        ),
    ],
)
def test_every_option_changes_something(one, other):
    x, found = fields(16, 48, torch.float32), []
    for settings in (one, other):
        seed_dropout(0)
        found.append(network(**settings).train()(x))
    assert not torch.allclose(*found)


@pytest.mark.parametrize("name", NAMES)
def test_presets_differ_in_size(name):
    sizes = {}
    for preset in ("compact", "half", "full"):
        with torch.device("meta"):
            model = network(name=name, preset=preset)
        sizes[preset] = sum(p.numel() for p in model.parameters())
    assert sizes["compact"] < sizes["full"]
    assert sizes["half"] < sizes["full"] / 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "unet"}, "name must be one of .*, got 'unet'"),
        ({"variant": "other"}, "variant must be one of .*, got 'other'"),
        ({"preset": "tiny"}, "preset must be one of .*, got 'tiny'"),
        ({"norm": "layer"}, "norm must be one of .*, got 'layer'"),
        ({"activation": "tanh"}, "activation must be one of .*, got 'tanh'"),
        ({"dropout": 1.0}, "dropout must be from 0 to 0.99, got 1.0"),
        ({"name": "tiramisu", "filters": 0}, "filters must be at least 1, got 0"),
        ({"filters": 48}, "filters must be empty but for tiramisu, got 48"),
        ({"variant": "paper", "norm": "batch"}, "norm must be left out of the paper variant"),
        ({"variant": "paper", "activation": "silu"}, "activation must be relu in the paper"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NetworkSettings(**settings)
